import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { Core } from './core.js';

/** A filter keeps a sidecore from everything else. */
export interface Stall {
  /** Index of the core. */
  readonly core: number;
  /** What its state said: `CoreState.filter` and `beat`. */
  readonly filter: number;
  readonly beat: number;
  /** For how long. */
  readonly ms: number;
}

/** How the watchdog's thread is set up. */
export interface WatchdogSetup {
  /** Memory of each core's `CoreState`. */
  readonly states: readonly SharedArrayBuffer[];
  /** How long a filter that keeps a core may keep others waiting. */
  readonly stallMs: number;
  /** One word: it ends when that is not zero any more. */
  readonly control: SharedArrayBuffer;
  /** Carries `Stall`s. */
  readonly port: MessagePort;
}

/**
 * Watches from a thread of its own whether filters keep sidecores for too long, and has the threads of those that are kept ended.
 * It looks every millisecond, so it is there only where there are filters.
 */
export class Watchdog {
  readonly #control = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;

  constructor(cores: readonly Core[], stallMs: number) {
    const { port1, port2 } = new MessageChannel();
    const states = cores.map(({ state }) => state.buffer);
    const setup: WatchdogSetup = { states, stallMs, control: this.#control.buffer as SharedArrayBuffer, port: port2 };
    this.#worker = new Worker(new URL('./watchdog-thread.js', import.meta.url), {
      name: 'watchdog',
      workerData: setup,
      transferList: [port2],
    });
    this.#worker.unref();
    port1.on('message', (stall: Stall) => cores[stall.core]?.endStalled(stall));
    port1.unref();
  }

  async stop(): Promise<void> {
    Atomics.store(this.#control, 0, 1);
    Atomics.notify(this.#control, 0);
    await this.#worker.terminate();
  }
}
