import { Script } from 'node:vm';

/** Where the script finds what it calls. */
const CALL = Symbol.for('sidecore.bounded-call');
const script = new Script(`globalThis[Symbol.for('${CALL.description}')]()`, { filename: 'bounded-call' });

/** Calls a function that may not end by itself. Throws what it throws, or that it took longer than `msMax`. */
export function boundedCall<T>(call: () => T, msMax: number): T {
  const place = globalThis as { [CALL]?: (() => T) | undefined };
  place[CALL] = call;
  try {
    return script.runInThisContext({ timeout: msMax, displayErrors: false }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new Error(`it has not ended after ${msMax / 1000} s`);
  } finally {
    place[CALL] = undefined;
  }
}
