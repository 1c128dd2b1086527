import { Worker } from 'node:worker_threads';
import { HelperBell, HelperChannel } from '../filter/helper-channel.js';
import type { HelperSetup } from '../filter/helpers.js';

const HELPER_THREAD = new URL('../sidecore/helper-thread.js', import.meta.url);

/** The thread of filters' helpers: started with the first of them, and again if it dies. */
export class HelperThread {
  readonly bell = new HelperBell();
  readonly #setups = new Set<HelperSetup>();
  #worker: Worker | undefined;
  #stopping = false;

  /** Has a helper made for a filter. */
  add(setup: HelperSetup): void {
    this.#forgetClosed();
    this.#setups.add(setup);
    if (this.#worker === undefined) this.#start();
    else this.#worker.postMessage(setup);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#worker?.terminate();
  }

  #start(): void {
    const worker = new Worker(HELPER_THREAD, { name: 'filter-helpers', workerData: this.bell.buffer });
    // What it has died of is told by the filters whose jobs it had taken: they are answered that it failed.
    worker.on('error', () => {});
    worker.on('exit', () => {
      if (this.#stopping) return;
      this.#forgetClosed();
      this.#start();
    });
    this.#worker = worker;
    for (const setup of this.#setups) worker.postMessage(setup);
  }

  #forgetClosed(): void {
    for (const setup of this.#setups) if (new HelperChannel(setup.channel).closed) this.#setups.delete(setup);
  }
}
