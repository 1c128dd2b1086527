import { type GuestMemory, Translation } from '../guest-memory/guest-memory.js';
import type { Chain } from './chain.js';
import type { ChainLog } from './chain-log.js';
import { IndirectTable } from './indirect-table.js';
import { DESC_ID_FLAGS, DESC_LENGTH } from './packed-format.js';
import { DESCRIPTOR_BYTES, DESCRIPTOR_WORDS, DescriptorFlag } from './ring-layout.js';
import { Pop } from './virtqueue.js';

const { WRITE, INDIRECT } = DescriptorFlag;

/** Reads the chains of a packed ring from their copies in its log: what was copied cannot be changed by the driver any more. */
export class LoggedChains {
  readonly #log: ChainLog;
  readonly #memory: GuestMemory;
  readonly #table: IndirectTable | undefined;

  /** @param indirect - whether indirect tables were negotiated */
  constructor(log: ChainLog, memory: GuestMemory, indirect: boolean) {
    this.#log = log;
    this.#memory = memory;
    this.#table = indirect ? new IndirectTable(memory) : undefined;
  }

  /** Reads a chain that is in flight, or the one indirect table that it is. Returns its id or a fault. */
  read(id: number, chain: Chain): number {
    const log = this.#log;
    chain.clear();
    chain.head = id;
    let cell = log.firstCell(id);
    for (let left = log.chainLength(id); left > 0; left--) {
      const flagsNext = log.cellFlagsNext(cell);
      const length = log.cellLength(cell);
      if ((flagsNext & INDIRECT) !== 0) {
        // A list has descriptors of one kind only. VIRTIO 1.3, 2.8.5
        if (this.#table === undefined || log.chainLength(id) > 1) return Pop.INDIRECT_INVALID;
        const result = this.#readTable(this.#table, chain, log.cellLow(cell), log.cellHigh(cell), length);
        return result < 0 ? result : id;
      }
      const result = this.#element(chain, log.cellLow(cell), log.cellHigh(cell), length, flagsNext & WRITE);
      if (result < 0) return result;
      cell = flagsNext >>> 16;
    }
    return id;
  }

  /** Reads all descriptors of a table. Only their WRITE flag means something. VIRTIO 1.3, 2.8.7 */
  #readTable(table: IndirectTable, chain: Chain, low: number, high: number, length: number): number {
    const opened = table.open(low, high, length);
    if (opened < 0) return opened;
    const count = length / DESCRIPTOR_BYTES;
    const words = table.words;
    for (let i = 0, word = table.firstWord; i < count; i++, word += DESCRIPTOR_WORDS) {
      if (i === table.count) return Pop.SEGMENTS_EXCEEDED;
      const flags = words[word + DESC_ID_FLAGS]! >>> 16;
      const result = this.#element(chain, words[word]!, words[word + 1]!, words[word + DESC_LENGTH]!, flags & WRITE);
      if (result < 0) return result;
    }
    return 0;
  }

  /** Adds one descriptor to a chain: zero or a fault. */
  #element(chain: Chain, low: number, high: number, length: number, write: number): number {
    if (write !== 0) {
      chain.writableBytes += length;
    } else {
      if (chain.writableBytes > 0) return Pop.DIRECTION_INVALID;
      chain.readableBytes += length;
    }
    chain.descriptors++;
    if (length > 0) {
      const result = this.#memory.translate(low, high, length, chain.segments);
      if (result !== Translation.OK) return result === Translation.FULL ? Pop.SEGMENTS_EXCEEDED : Pop.ADDRESS_INVALID;
    }
    if (write === 0) chain.readableCount = chain.segments.count;
    return 0;
  }
}
