import { assert } from '../../errors.js';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_TRAILER_BYTES,
  BlockType,
  OPTION_HEADER_BYTES,
  Option,
  padded,
  STATISTICS_FIXED_BYTES,
} from './pcapng.js';

const NOTHING = Buffer.alloc(0);

/** What the last block of a capture says of it. */
export interface StatisticsRead {
  dropped: number;
  /** Why it ended, if nobody asked for that. */
  comment: string | undefined;
}

/**
 * Cuts a stream of pcapng as `pcapng.ts` makes it into whole blocks, so that what was written is a good file whenever the stream
 * ends; and takes notes of them.
 */
export class BlockCutter {
  /** Packets so far. */
  packets = 0;
  /** Undefined until the capture has ended. */
  statistics: StatisticsRead | undefined;
  #rest: Buffer = NOTHING;

  /** Takes the next bytes of the stream. Returns the blocks that are whole by now. */
  push(bytes: Buffer): Buffer {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (at + BLOCK_HEADER_BYTES <= all.length) {
      const length = all.readUInt32LE(at + 4);
      assert(length >= BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES && length % 4 === 0, 'the daemon sends whole blocks');
      if (at + length > all.length) break;
      this.#note(all.subarray(at, at + length));
      at += length;
    }
    this.#rest = at === all.length ? NOTHING : all.subarray(at);
    return all.subarray(0, at);
  }

  #note(block: Buffer): void {
    const type = block.readUInt32LE(0);
    if (type === BlockType.ENHANCED_PACKET) this.packets++;
    if (type === BlockType.INTERFACE_STATISTICS) this.statistics = readStatistics(block);
  }
}

function readStatistics(block: Buffer): StatisticsRead {
  const statistics: StatisticsRead = { dropped: 0, comment: undefined };
  for (let at = BLOCK_HEADER_BYTES + STATISTICS_FIXED_BYTES; ; ) {
    const code = block.readUInt16LE(at);
    const length = block.readUInt16LE(at + 2);
    const value = block.subarray(at + OPTION_HEADER_BYTES, at + OPTION_HEADER_BYTES + length);
    if (code === Option.END) return statistics;
    if (code === Option.ISB_IFDROP) statistics.dropped = Number(value.readBigUInt64LE());
    if (code === Option.COMMENT) statistics.comment = value.toString();
    at += OPTION_HEADER_BYTES + padded(length);
  }
}
