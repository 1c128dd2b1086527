import type { BlockFilterContext, IoBuffer, IoTarget } from '../../../filter/contract.js';
import { SECTOR_BYTES, Status } from '../../../filter/index.js';
import { COPY_PIECE_BYTES, MIRROR_RETRY_MS, MIRROR_RETRY_MS_MAX } from '../../limits.js';
import type { BlockLocks } from '../parts/block-locks.js';
import { blockOf, blocksIn } from '../parts/guard-user.js';
import { Figure, type MirrorState, Word } from './state.js';

/** What it is about, and the tags of its operations. */
const Step = { IDLE: 0, READ: 1, WRITE: 2, FLUSH: 3 } as const;

/** Pause between two looks whether there is something to do, and between two rounds of letting regions go, ns. */
const LOOK_NS = 50e6;
const SWEEP_NS = 2e9;
/** Regions let go of in one turn, and words of the bitmap looked at: some tens of microseconds. */
const SWEEP_REGIONS = 256;
const LOOK_WORDS = 16_384;

const ZEROS = Buffer.alloc(COPY_PIECE_BYTES);

/**
 * Copies stale regions from the first half to the second, one at a time and not too fast, each while nobody else writes to it; and lets
 * regions be no longer written. At work on the sidecore of a disk's first queue.
 */
export class Resync {
  readonly #context: BlockFilterContext;
  readonly #state: MirrorState;
  readonly #locks: BlockLocks;
  readonly #second: IoTarget;
  readonly #buffer: IoBuffer;
  readonly #tag: number;
  readonly #nsPerByte: number;
  readonly #copied;
  #step: number = Step.IDLE;
  #region = 0;
  #cursor = 0;
  /** Where the region's piece is, and where the region ends, sectors. */
  #sector = 0;
  #end = 0;
  /** Something was copied since all was equal for the last time. */
  #some = false;
  #asked: number;
  /** When the next copy may begin, and the next round of letting go. */
  readonly #next = new Float64Array(2);

  constructor(context: BlockFilterContext, state: MirrorState, locks: BlockLocks, tag: number, bytesPerSecond: number) {
    this.#context = context;
    this.#state = state;
    this.#locks = locks;
    this.#second = context.disk('to');
    this.#buffer = context.buffers(1, COPY_PIECE_BYTES).take()!;
    this.#tag = tag;
    this.#nsPerByte = 1e9 / bytesPerSecond;
    this.#copied = context.counter('resynced_bytes');
    this.#asked = state.words[Word.ASKED]!;
    context.wakeAt(0);
  }

  get settled(): boolean {
    return this.#step === Step.IDLE;
  }

  tick(): void {
    const now = this.#context.now[0]!;
    if (this.#step === Step.IDLE) this.#look(now);
    if (now >= this.#next[1]!) this.#sweep(now);
    this.#context.wakeAt(Math.max(now, this.#step === Step.IDLE ? this.#wakeNs(now) : now + LOOK_NS));
  }

  #wakeNs(now: number): number {
    const { words } = this.#state;
    const hasWork = words[Word.STALE] !== 0 && words[Word.PAUSED] === 0 && words[Word.DEGRADED] === 0;
    return Math.min(hasWork ? this.#next[0]! : now + LOOK_NS, now + LOOK_NS);
  }

  /** Begins the next copy, if it is time. */
  #look(now: number): void {
    const { words, figures, regions } = this.#state;
    if (Atomics.exchange(words, Word.FAILED, 0) === 1) this.#putOff(now);
    if (Atomics.load(words, Word.ASKED) !== this.#asked) {
      this.#asked = Atomics.load(words, Word.ASKED);
      figures[Figure.RETRY_AT] = 0;
      this.#next[0] = 0;
    }
    if (Atomics.load(words, Word.PAUSED) === 1 || now < this.#next[0]!) return;
    const isDegraded = this.#state.isDegraded;
    if (isDegraded && now < figures[Figure.RETRY_AT]!) return;
    if (Atomics.load(words, Word.STALE) === 0) {
      if (isDegraded || this.#some) this.#flush();
      return;
    }
    const found = regions.nextStale(this.#cursor, LOOK_WORDS);
    if (found < 0) {
      this.#cursor = -1 - found;
      return;
    }
    this.#begin(found);
  }

  #begin(region: number): void {
    const { regionBytes } = this.#state.regions;
    const sectors = regionBytes / SECTOR_BYTES;
    this.#region = region;
    this.#sector = region * sectors;
    this.#end = Math.min(this.#sector + sectors, this.#context.below.sizeBytes / SECTOR_BYTES);
    // Somebody writes to it: the next turn.
    if (!this.#take(region)) return;
    this.#read();
  }

  #take(region: number): boolean {
    const sectors = this.#state.regions.regionBytes / SECTOR_BYTES;
    return this.#locks.take(blockOf(region * sectors), blocksIn(region * sectors, sectors));
  }

  #release(region: number): void {
    const sectors = this.#state.regions.regionBytes / SECTOR_BYTES;
    this.#locks.release(blockOf(region * sectors), blocksIn(region * sectors, sectors));
  }

  /** Bytes of the piece. */
  #length(): number {
    return Math.min(COPY_PIECE_BYTES, (this.#end - this.#sector) * SECTOR_BYTES);
  }

  #read(): void {
    this.#step = Step.READ;
    this.#context.below.read(this.#buffer, this.#sector, this.#length(), this.#tag);
  }

  #flush(): void {
    this.#step = Step.FLUSH;
    this.#second.flush(this.#tag);
  }

  done(status: number): void {
    const isGood = status === Status.OK;
    switch (this.#step) {
      case Step.READ:
        return isGood ? this.#write() : this.#unreadable();
      case Step.WRITE:
        return isGood ? this.#written() : this.#failed();
      default:
        return isGood ? this.#isSynced() : this.#failed();
    }
  }

  /** Where there is nothing but zeros the second half gets none to store. */
  #write(): void {
    this.#step = Step.WRITE;
    const length = this.#length();
    const isZero = this.#buffer.bytes.compare(ZEROS, 0, length, 0, length) === 0;
    if (isZero) this.#second.writeZeroes(this.#sector, length / SECTOR_BYTES, true, this.#tag);
    else this.#second.write(this.#buffer, this.#sector, length, this.#tag);
  }

  #written(): void {
    const length = this.#length();
    this.#state.figures[Figure.COPIED]! += length;
    this.#copied.add(length);
    this.#next[0] = Math.max(this.#next[0]!, this.#context.now[0]! - LOOK_NS) + length * this.#nsPerByte;
    this.#sector += length / SECTOR_BYTES;
    if (this.#sector < this.#end) return this.#read();
    this.#step = Step.IDLE;
    this.#some = true;
    this.#cursor = this.#region;
    this.#state.regions.clear(this.#region);
    this.#release(this.#region);
    this.#works();
    this.#context.wakeAt(this.#next[0]!);
  }

  /** The second half takes what it gets. */
  #works(): void {
    if (Atomics.exchange(this.#state.words, Word.DEGRADED, 0) === 1) this.#context.log('the second half works again');
  }

  #isSynced(): void {
    this.#step = Step.IDLE;
    this.#some = false;
    this.#state.figures[Figure.PAUSE_MS] = 0;
    this.#works();
    if (Atomics.load(this.#state.words, Word.STALE) === 0) this.#context.log('both halves are equal');
  }

  /** The first half cannot be read there: it stays as it is, and another is tried. */
  #unreadable(): void {
    this.#step = Step.IDLE;
    this.#release(this.#region);
    this.#cursor = (this.#region + 1) % this.#state.regions.count;
    this.#next[0] = this.#context.now[0]! + MIRROR_RETRY_MS * 1e6;
    this.#context.log(`the first half cannot be read at sector ${this.#sector}: it is not copied`);
  }

  #failed(): void {
    const step = this.#step;
    this.#step = Step.IDLE;
    if (step === Step.FLUSH) this.#state.regions.markAllStale();
    else this.#release(this.#region);
    this.#context.counter('second_errors').add(1);
    if (this.#state.degrade()) this.#context.log('the second half has failed while it was copied to');
  }

  /** The second half has failed: it is left alone for a while. */
  #putOff(now: number): void {
    const { figures } = this.#state;
    const pause = Math.min(MIRROR_RETRY_MS_MAX, Math.max(MIRROR_RETRY_MS, 2 * figures[Figure.PAUSE_MS]!));
    figures[Figure.PAUSE_MS] = pause;
    figures[Figure.RETRY_AT] = now + pause * 1e6;
  }

  #sweep(now: number): void {
    const isWhole = this.#state.regions.sweep(
      (region) => this.#take(region),
      (region) => this.#release(region),
      SWEEP_REGIONS,
    );
    this.#next[1] = isWhole ? now + SWEEP_NS : now;
  }

  close(): void {
    if (this.#step === Step.READ || this.#step === Step.WRITE) this.#release(this.#region);
    this.#step = Step.IDLE;
  }
}
