import { Worker } from 'node:worker_threads';
import { HelperBell, HelperChannel } from '../filter/helper-channel.js';
import type { HelperSetup } from '../filter/helpers.js';

const HELPER_THREAD = new URL('../sidecore/helper-thread.js', import.meta.url);
/** Pause before it is started again, ms: after its first death, and at most; each is twice as long as the one before. */
const RESTART_MS = 100;
const RESTART_MS_MAX = 5000;
/** One that has lived so long is started again as if it had never died, ms. */
const HEALTHY_MS = 10_000;

/** The thread of filters' helpers: started with the first of them, and again if it dies. */
export class HelperThread {
  readonly bell = new HelperBell();
  readonly #died: (reason: string) => void;
  readonly #thread: URL;
  readonly #setups = new Set<HelperSetup>();
  #worker: Worker | undefined;
  #startedAt = 0;
  #pauseMs = RESTART_MS;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;

  /**
   * @param died - is told of what it has died
   * @param thread - what it runs, if not helpers
   */
  constructor(died: (reason: string) => void, thread = HELPER_THREAD) {
    this.#died = died;
    this.#thread = thread;
  }

  /** Has a helper made for a filter. */
  add(setup: HelperSetup): void {
    this.#forgetClosed();
    this.#setups.add(setup);
    if (this.#worker !== undefined) this.#worker.postMessage(setup);
    else if (this.#timer === undefined && !this.#stopping) this.#start();
  }

  /** The sidecore that had these made has ended. */
  close(setups: Iterable<HelperSetup>): void {
    for (const setup of setups) new HelperChannel(setup.channel).close();
    this.bell.ring();
    this.#forgetClosed();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    await this.#worker?.terminate();
  }

  #start(): void {
    this.#timer = undefined;
    const worker = new Worker(this.#thread, { name: 'filter-helpers', workerData: this.bell.buffer });
    let reason = '';
    worker.on('error', (error) => {
      // Anything may be thrown there.
      reason = (error as Error | undefined)?.stack ?? String(error);
    });
    worker.on('exit', (code) => {
      this.#worker = undefined;
      if (!this.#stopping) this.#restart(reason || `it ended with code ${code}`);
    });
    this.#worker = worker;
    this.#startedAt = performance.now();
    for (const setup of this.#setups) worker.postMessage(setup);
  }

  #restart(reason: string): void {
    this.#died(reason);
    if (performance.now() - this.#startedAt >= HEALTHY_MS) this.#pauseMs = RESTART_MS;
    this.#forgetClosed();
    this.#timer = setTimeout(() => this.#start(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, RESTART_MS_MAX);
  }

  #forgetClosed(): void {
    for (const setup of this.#setups) if (new HelperChannel(setup.channel).closed) this.#setups.delete(setup);
  }
}
