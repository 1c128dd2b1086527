import type { BlockFilterContext, BufferPool, IoBuffer } from '../../../filter/contract.js';
import { SECTOR_BYTES, Status } from '../../../filter/index.js';

const PIECE_BYTES = 65_536;
const NO_BIT = -1;

/** Tags of operations. */
const Tag = { LAST_SECTOR: 1, WRITE: 2 } as const;

/**
 * Writes that are stored otherwise than the guest sent them: only the first bytes, or with a bit turned. One after the other, piece by
 * piece, through a buffer of their own: a guest's memory stays as it is.
 */
export class WrongWrites {
  readonly #context: BlockFilterContext;
  readonly #pool: BufferPool;
  readonly #buffer: IoBuffer;
  /** Waiting, in their order; the first is at work. */
  readonly #tokens: Float64Array;
  readonly #bytes: Float64Array;
  readonly #bit: Float64Array;
  readonly #status: Uint8Array;
  #head = 0;
  #count = 0;
  #atWork = false;
  /** Of the first: how far it is, and how long the piece at work is, bytes. */
  #at = 0;
  #length = 0;

  constructor(context: BlockFilterContext) {
    const { slots } = context;
    this.#context = context;
    this.#pool = context.buffers(1, PIECE_BYTES);
    this.#buffer = this.#pool.take()!;
    this.#tokens = new Float64Array(slots);
    this.#bytes = new Float64Array(slots);
    this.#bit = new Float64Array(slots);
    this.#status = new Uint8Array(slots);
  }

  /** Stores the first bytes of a write and no more, then ends it with a status. */
  tear(token: number, bytes: number, status: number): void {
    this.#push(token, bytes, NO_BIT, status);
  }

  /** Stores it with one bit turned, counted from its first. */
  corrupt(token: number, bytes: number, bit: number): void {
    this.#push(token, bytes, bit, Status.OK);
  }

  /** An operation has ended. */
  done(tag: number, status: number): void {
    if (status !== Status.OK) return this.#end(status);
    if (tag === Tag.LAST_SECTOR) return this.#write();
    this.#at += this.#length;
    this.#next();
  }

  #push(token: number, bytes: number, bit: number, status: number): void {
    const at = (this.#head + this.#count) % this.#tokens.length;
    this.#tokens[at] = token;
    this.#bytes[at] = bytes;
    this.#bit[at] = bit;
    this.#status[at] = status;
    this.#count++;
    // It is not kept before `submit` has returned.
    this.#context.wakeAt(0);
  }

  /** Begins with the first, if it is not at work. */
  tick(): void {
    if (this.#atWork || this.#count === 0) return;
    this.#atWork = true;
    this.#at = 0;
    this.#next();
  }

  /** The next piece of the first. */
  #next(): void {
    const left = this.#bytes[this.#head]! - this.#at;
    if (left <= 0) return this.#end(this.#status[this.#head]!);
    this.#length = Math.min(PIECE_BYTES, left);
    const cut = this.#length % SECTOR_BYTES;
    if (cut === 0) return this.#write();
    // A sector of which only a part is new: the rest stays as it was.
    const whole = this.#length - cut;
    const { sector } = this.#context.requestOf(this.#tokens[this.#head]!);
    const at = sector + (this.#at + whole) / SECTOR_BYTES;
    this.#context.below.read(this.#buffer, at, SECTOR_BYTES, Tag.LAST_SECTOR, whole);
  }

  #write(): void {
    const request = this.#context.requestOf(this.#tokens[this.#head]!);
    const { bytes } = this.#buffer;
    request.copyTo(this.#at, bytes, 0, this.#length);
    const bit = this.#bit[this.#head]! - 8 * this.#at;
    if (bit >= 0 && bit < 8 * this.#length) bytes[bit >>> 3] = bytes[bit >>> 3]! ^ (1 << (bit & 7));
    const length = Math.ceil(this.#length / SECTOR_BYTES) * SECTOR_BYTES;
    const sector = request.sector + this.#at / SECTOR_BYTES;
    this.#context.below.write(this.#buffer, sector, length, Tag.WRITE, 0, request.durable);
  }

  #end(status: number): void {
    const token = this.#tokens[this.#head]!;
    this.#head = (this.#head + 1) % this.#tokens.length;
    this.#count--;
    this.#atWork = false;
    if (this.#count > 0) this.#context.wakeAt(0);
    this.#context.finish(token, status);
  }
}
