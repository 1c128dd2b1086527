/** Ctrl-C and its like: what was asked to end, ends; what was made, is removed. */

/** Status of a process that a signal has ended, as shells count. */
const STATUS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Thrown where the work was interrupted. */
export class Interrupted extends Error {
  readonly status: number;

  constructor(status: number) {
    super('interrupted');
    this.status = status;
  }
}

/**
 * Runs `body` with a signal that aborts at the first SIGINT, SIGTERM or SIGHUP. A second one ends the process at once; then
 * only what was given to `onExit` is done.
 */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    const status = STATUS[name as keyof typeof STATUS];
    if (controller.signal.aborted) process.exit(status);
    controller.abort(new Interrupted(status));
  };
  const names = Object.keys(STATUS) as NodeJS.Signals[];
  for (const name of names) process.on(name, onSignal);
  try {
    return await body(controller.signal);
  } catch (error) {
    // What fails once an end was asked for fails because of it: a daemon that has not come up, say.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const name of names) process.off(name, onSignal);
  }
}

/** The promise, or an error as soon as the signal aborts. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Does something when the process ends, however it does, unless that was done before. Synchronous. */
export class OnExit {
  readonly #clean: () => void;

  constructor(clean: () => void) {
    this.#clean = clean;
    process.on('exit', clean);
  }

  /** Does it now. */
  now(): void {
    process.off('exit', this.#clean);
    this.#clean();
  }

  /** Leaves it. */
  cancel(): void {
    process.off('exit', this.#clean);
  }
}
