import type { Counter, HelperPort } from '../../../filter/index.js';
import { COMMITTED } from './commit.js';
import { Word } from './layout.js';

/**
 * Requests of one queue that wait until all that stores have is durable. The helper is asked once for all that have come together; those
 * that come meanwhile wait for its next answer.
 */
export class CommitQueue {
  readonly #words: Int32Array;
  readonly #helper: HelperPort;
  readonly #commits: Counter;
  readonly #ended: (slot: number, good: boolean) => void;
  /** Slots of those whose answer will come, and of those for whom nothing was asked yet. */
  #asked: number[] = [];
  #waiting: number[] = [];
  #busy = false;

  /** @param ended - called for each request, by its slot, with whether all is durable */
  constructor(words: Int32Array, helper: HelperPort, commits: Counter, ended: (slot: number, good: boolean) => void) {
    this.#words = words;
    this.#helper = helper;
    this.#commits = commits;
    this.#ended = ended;
  }

  /** Nothing has to be made durable, and nothing has failed to be. */
  get isIdle(): boolean {
    const words = this.#words;
    return (
      Atomics.load(words, Word.CHANGES) === Atomics.load(words, Word.COMMITTED) &&
      Atomics.load(words, Word.BROKEN) === 0
    );
  }

  /** The request is kept. */
  add(slot: number): void {
    this.#waiting.push(slot);
  }

  /** To be called once a turn. */
  turn(): void {
    if (this.#busy || this.#waiting.length === 0) return;
    const asked = this.#asked;
    this.#asked = this.#waiting;
    this.#waiting = asked;
    this.#busy = true;
    this.#commits.add(1);
    this.#helper.ask(0, undefined, 0);
  }

  /** The helper has answered. */
  answered(result: number): void {
    this.#busy = false;
    const asked = this.#asked;
    for (let i = 0; i < asked.length; i++) this.#ended(asked[i]!, result === COMMITTED);
    asked.length = 0;
  }
}
