import type { BlockFilterContext } from '../../../filter/contract.js';
import { SECTOR_BYTES } from '../../../filter/index.js';
import { FILTER_BLOCK_BYTES } from '../../limits.js';
import type { BlockLocks } from '../parts/block-locks.js';
import { BAD, checksum, UNKNOWN } from './checksum.js';
import type { VerifyState } from './state.js';

const BLOCK_WORDS = FILTER_BLOCK_BYTES / 4;
const BLOCK_SECTORS = FILTER_BLOCK_BYTES / SECTOR_BYTES;

/** What came of checking blocks; a write that began or ended meanwhile says nothing of them. */
export const Found = { GOOD: 0, DAMAGED: 1, OVERTAKEN: 2 } as const;

/** Holds blocks that were read against their checksums, and learns those that are not known. */
export class Checker {
  readonly #context: BlockFilterContext;
  readonly #state: VerifyState;
  readonly #locks: BlockLocks;
  readonly #mismatches;
  readonly #learned;
  readonly #checked;

  constructor(context: BlockFilterContext, state: VerifyState, locks: BlockLocks) {
    this.#context = context;
    this.#state = state;
    this.#locks = locks;
    this.#mismatches = context.counter('mismatches');
    this.#learned = context.counter('learned_blocks');
    this.#checked = context.counter('checked_blocks');
  }

  /**
   * Checks blocks, which begin with `words`.
   *
   * @param generations - of these blocks, from before they were read
   */
  check(words: Int32Array, first: number, count: number, generations: number): number {
    const state = this.#state;
    if (state.generations(first, count) !== generations) return Found.OVERTAKEN;
    let isKnown = true;
    let damaged = 0;
    for (let i = 0; i < count; i++) {
      const known = state.sum(first + i);
      if (known === UNKNOWN) isKnown = false;
      else if (checksum(words, i * BLOCK_WORDS) !== known) damaged++;
    }
    // A write changes the generation before the checksum: this tells whether the one goes with the other.
    if (damaged > 0 && state.generations(first, count) !== generations) return Found.OVERTAKEN;
    this.#checked.add(count);
    if (!isKnown) this.#learn(words, first, count, generations);
    if (damaged === 0) return Found.GOOD;
    for (let i = 0; i < count; i++) {
      const known = state.sum(first + i);
      if (known !== UNKNOWN && checksum(words, i * BLOCK_WORDS) !== known) this.noteDamage(first + i, known);
    }
    return Found.DAMAGED;
  }

  count(blocks: number): void {
    this.#checked.add(blocks);
  }

  /** Counts a damaged block, and tells of it. */
  noteDamage(block: number, known: number): void {
    const sector = block * BLOCK_SECTORS;
    this.#mismatches.add(1);
    this.#state.noteDamage(sector);
    const why = known === BAD ? 'had been damaged before a part of it was written' : 'is not what was written';
    this.#context.log(`the block at sector ${sector} ${why}`);
  }

  /** Only if nobody writes to the blocks now, or has since they were read. */
  #learn(words: Int32Array, first: number, count: number, generations: number): void {
    const state = this.#state;
    if (!this.#locks.take(first, count)) return;
    if (state.generations(first, count) === generations) {
      let learned = 0;
      for (let i = 0; i < count; i++) {
        if (state.sum(first + i) !== UNKNOWN) continue;
        state.set(first + i, checksum(words, i * BLOCK_WORDS));
        learned++;
      }
      this.#learned.add(learned);
    }
    this.#locks.release(first, count);
  }
}
