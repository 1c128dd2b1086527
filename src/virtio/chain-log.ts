import { InflightLog } from './inflight-log.js';
import { packedBase, packedDistance } from './packed-format.js';
import { DESCRIPTOR_WORDS } from './ring-layout.js';

/** Words of a chain that was given back: its head, the bytes written to it. */
const RETURN_WORDS = 2;
/** Words per entry of the ring, besides those of `InflightLog`: a chain, one given back, a descriptor. */
const ENTRY_WORDS = 1 + RETURN_WORDS + DESCRIPTOR_WORDS;

/**
 * The in-flight log of a packed ring, where the device's used descriptors overwrite the driver's: it keeps copies of the
 * descriptors of what is in flight, and of what is being given back, whom and with what. So a thread that takes over can do
 * both again. Heads are buffer ids; positions are those of `packedPosition`.
 *
 * A chain's copies are *cells*, linked like split descriptors (flags, and the next cell in the upper half). Which cells are
 * free is the serving thread's own knowledge; the next thread finds it out from the chains in flight.
 */
export class ChainLog extends InflightLog {
  /** Word: where the settled position will be when what is being published is settled; the same if there is nothing. */
  readonly #intended: number;
  /** First word of: each head's first cell with the length of its chain in the upper half; chains given back; cells. */
  readonly #chains: number;
  readonly #returns: number;
  readonly #cells: number;

  static override wordsFor(queueSize: number): number {
    return InflightLog.wordsFor(queueSize) + 1 + ENTRY_WORDS * queueSize;
  }

  constructor(words: Int32Array, size = (words.length - InflightLog.wordsFor(0) - 1) / (ENTRY_WORDS + 1)) {
    super(words, size);
    this.#intended = InflightLog.wordsFor(size);
    this.#chains = this.#intended + 1;
    this.#returns = this.#chains + size;
    this.#cells = this.#returns + RETURN_WORDS * size;
  }

  override reset(nextAvail: number, used: number): void {
    super.reset(nextAvail, used);
    this.words[this.#intended] = used;
  }

  /** Writes a free cell. */
  setCell(cell: number, low: number, high: number, length: number, flagsNext: number): void {
    const word = this.#cells + cell * DESCRIPTOR_WORDS;
    this.words[word] = low;
    this.words[word + 1] = high;
    this.words[word + 2] = length;
    this.words[word + 3] = flagsNext;
  }

  cellLow(cell: number): number {
    return this.words[this.#cells + cell * DESCRIPTOR_WORDS]! >>> 0;
  }

  cellHigh(cell: number): number {
    return this.words[this.#cells + cell * DESCRIPTOR_WORDS + 1]! >>> 0;
  }

  cellLength(cell: number): number {
    return this.words[this.#cells + cell * DESCRIPTOR_WORDS + 2]! >>> 0;
  }

  /** Flags, and the next cell in the upper half. */
  cellFlagsNext(cell: number): number {
    return this.words[this.#cells + cell * DESCRIPTOR_WORDS + 3]!;
  }

  /** Notes that a chain, whose cells are written, is in flight; false if its head was already. */
  takeChain(head: number, firstCell: number, cellCount: number): boolean {
    if (this.has(head)) return false;
    this.words[this.#chains + head] = firstCell | (cellCount << 16);
    return this.take(head);
  }

  firstCell(head: number): number {
    return this.words[this.#chains + head]! & 0xffff;
  }

  /** Descriptors of a chain that is in flight, or was last under this head. */
  chainLength(head: number): number {
    return this.words[this.#chains + head]! >>> 16;
  }

  /** Notes what is to be published next, in its order. */
  setReturn(index: number, head: number, writtenBytes: number): void {
    const word = this.#returns + RETURN_WORDS * index;
    this.words[word] = head;
    this.words[word + 1] = writtenBytes;
  }

  returnedHead(index: number): number {
    return this.words[this.#returns + RETURN_WORDS * index]!;
  }

  returnedBytes(index: number): number {
    return this.words[this.#returns + RETURN_WORDS * index + 1]! >>> 0;
  }

  /** Notes that publication begins of all that was noted for it, which will bring the ring to this position. */
  intend(used: number): void {
    this.words[this.#intended] = used;
  }

  get intended(): number {
    return this.words[this.#intended]!;
  }

  /** Descriptors of all chains in flight. */
  inFlightDescriptors(): number {
    return this.inFlight().reduce((sum, head) => sum + this.chainLength(head), 0);
  }

  override base(): number {
    const used = this.settled;
    const avail = (used + this.lost + this.inFlightDescriptors()) % (2 * this.size);
    return packedBase(avail, used, this.size);
  }

  protected override distance(from: number, to: number): number {
    return packedDistance(from, to, this.size);
  }

  /** Lists the cells that none of these chains has; returns how many. */
  freeCells(heads: readonly number[], into: Uint16Array): number {
    const taken = new Uint8Array(into.length);
    for (const head of heads) {
      let cell = this.firstCell(head);
      for (let left = this.chainLength(head); left > 0; left--) {
        taken[cell] = 1;
        cell = this.cellFlagsNext(cell) >>> 16;
      }
    }
    let count = 0;
    for (let cell = 0; cell < into.length; cell++) if (taken[cell] === 0) into[count++] = cell;
    return count;
  }
}
