import { Worker } from 'node:worker_threads';
import { SidecoreError } from '../errors.js';
import { LoadCounters } from '../guest/load-counters.js';
import { type Counts, countsOf } from './figures.js';
import { type LoadMessage, type LoadSetup, Step } from './load-messages.js';

type Message<E extends LoadMessage['event']> = Extract<LoadMessage, { event: E }>;

/** The built-in guests under load, all driven by one thread; this side watches. */
export class Guests {
  readonly #counters: readonly LoadCounters[];
  readonly #talk: LoadCounters;
  readonly #step = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;
  readonly #ended: Promise<never>;
  readonly #heard = new Map<LoadMessage['event'], LoadMessage>();
  #onMessage = (): void => {};

  constructor(setup: Omit<LoadSetup, 'counters' | 'talkCounters' | 'step'>) {
    const talkCounters = new SharedArrayBuffer(LoadCounters.BYTES);
    this.#talk = new LoadCounters(talkCounters);
    const counters = setup.sockets.map(() => new SharedArrayBuffer(LoadCounters.BYTES));
    this.#counters = counters.map((memory) => new LoadCounters(memory));
    this.#worker = new Worker(new URL('./load-thread.js', import.meta.url), {
      name: 'guests',
      workerData: {
        ...setup,
        counters,
        talkCounters,
        step: this.#step.buffer as SharedArrayBuffer,
      } satisfies LoadSetup,
    });
    this.#worker.on('message', (message: LoadMessage) => {
      this.#heard.set(message.event, message);
      this.#onMessage();
    });
    this.#ended = new Promise((_, reject) => {
      this.#worker.once('error', reject);
      this.#worker.once('exit', () => reject(new Error('the thread of the guests ended too early')));
    });
    this.#ended.catch(() => {});
  }

  /** Starts the measurement, which waits for this once all is warm. */
  measure(): void {
    this.#goOn(Step.MEASURE);
  }

  /** Disconnects the guests, which wait for this once they have finished. */
  leave(): void {
    this.#goOn(Step.LEAVE);
  }

  #goOn(step: number): void {
    Atomics.store(this.#step, 0, step);
    Atomics.notify(this.#step, 0);
  }

  /** Waits until the thread has said this. Throws what it failed of. One waiter at a time. */
  said<E extends LoadMessage['event']>(event: E): Promise<Message<E>> {
    const answer = new Promise<Message<E>>((resolve, reject) => {
      this.#onMessage = () => {
        const failed = this.#heard.get('failed') as Message<'failed'> | undefined;
        if (failed !== undefined) reject(new SidecoreError(failed.code, failed.message, failed.remedy));
        const message = this.#heard.get(event) as Message<E> | undefined;
        if (message !== undefined) resolve(message);
      };
      this.#onMessage();
    });
    return Promise.race([answer, this.#ended]);
  }

  /** What each guest has counted so far. */
  counts(): Counts[] {
    return this.#counters.map(countsOf);
  }

  /** What the two that talk have counted so far. */
  talkCounts(): Counts {
    return countsOf(this.#talk);
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
