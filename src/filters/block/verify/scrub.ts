import type { BlockFilterContext, IoBuffer } from '../../../filter/contract.js';
import { SECTOR_BYTES, Status } from '../../../filter/index.js';
import { viewSigned32 } from '../../../host/memory-view.js';
import { COPY_PIECE_BYTES, FILTER_BLOCK_BYTES } from '../../limits.js';
import { type Checker, Found } from './checker.js';
import { Figure, type VerifyState, Word } from './state.js';

const LOOK_NS = 50e6;
const PIECE_BLOCKS = COPY_PIECE_BYTES / FILTER_BLOCK_BYTES;

/** Reads all of a disk, not too fast, and checks it; at work on the sidecore of its first queue when an operator wants it. */
export class Scrub {
  readonly #context: BlockFilterContext;
  readonly #state: VerifyState;
  readonly #checker: Checker;
  readonly #buffer: IoBuffer;
  readonly #words: Int32Array;
  readonly #tag: number;
  readonly #unreadable;
  #isReading = false;
  #asked: number;
  #first = 0;
  #count = 0;
  #generations = 0;
  readonly #next = new Float64Array(1);

  constructor(context: BlockFilterContext, state: VerifyState, checker: Checker, tag: number) {
    this.#context = context;
    this.#state = state;
    this.#checker = checker;
    this.#buffer = context.buffers(1, COPY_PIECE_BYTES).take()!;
    this.#words = viewSigned32(this.#buffer.address, COPY_PIECE_BYTES);
    this.#tag = tag;
    this.#unreadable = context.counter('unreadable_pieces');
    this.#asked = state.words[Word.ASKED]!;
    context.wakeAt(0);
  }

  tick(): void {
    const now = this.#context.now[0]!;
    const isOn = Atomics.load(this.#state.words, Word.SCRUBBING) === 1;
    if (isOn && !this.#isReading && now >= this.#next[0]!) this.#read();
    this.#context.wakeAt(isOn ? Math.max(now, Math.min(this.#next[0]!, now + LOOK_NS)) : now + LOOK_NS);
  }

  #read(): void {
    const { words, figures, blocks } = this.#state;
    this.#asked = Atomics.load(words, Word.ASKED);
    const sizeBytes = this.#context.below.sizeBytes;
    this.#first = figures[Figure.AT]!;
    this.#count = Math.min(PIECE_BLOCKS, blocks - this.#first);
    const at = this.#first * FILTER_BLOCK_BYTES;
    const length = Math.min(this.#count * FILTER_BLOCK_BYTES, sizeBytes - at);
    this.#buffer.bytes.fill(0, length, this.#count * FILTER_BLOCK_BYTES);
    this.#generations = this.#state.generations(this.#first, this.#count);
    this.#isReading = true;
    this.#context.below.read(this.#buffer, at / SECTOR_BYTES, length, this.#tag);
  }

  done(status: number): void {
    const { words, figures, blocks } = this.#state;
    this.#isReading = false;
    // It was told to begin anew meanwhile.
    if (Atomics.load(words, Word.ASKED) !== this.#asked) return;
    if (status === Status.OK) {
      const found = this.#checker.check(this.#words, this.#first, this.#count, this.#generations);
      // Somebody writes there: again, in the next turn.
      if (found === Found.OVERTAKEN) return;
      if (found === Found.DAMAGED) figures[Figure.FOUND]!++;
    } else {
      this.#unreadable.add(1);
      figures[Figure.FOUND]!++;
    }
    const now = this.#context.now[0]!;
    const ns = (this.#count * FILTER_BLOCK_BYTES * 1e9) / figures[Figure.RATE]!;
    this.#next[0] = Math.max(this.#next[0]!, now - LOOK_NS) + ns;
    figures[Figure.AT] = this.#first + this.#count;
    if (figures[Figure.AT]! < blocks) return this.#context.wakeAt(this.#next[0]!);
    Atomics.store(words, Word.SCRUBBING, 0);
    figures[Figure.ENDED] = Date.now();
    const count = figures[Figure.FOUND]!;
    this.#context.log(`all was read: ${count === 0 ? 'nothing is damaged' : `damage in ${count} places of 64 KiB`}`);
  }
}
