import { copyPiece } from '../guest-memory/copy.js';
import { HEAD_BYTES } from './frame.js';
import { BURST_FRAMES, FrameBurst } from './frame-burst.js';
import { StagingMemory } from './staging-memory.js';

/** Longest frame that is staged, bytes: one of an MTU of 1500, with tags. Longer ones go by themselves. */
const FRAME_BYTES_STAGED_MAX = 2040;
/** Room for frames that are staged together, bytes. */
const STAGED_BYTES_MAX = BURST_FRAMES * (FRAME_BYTES_STAGED_MAX + 8);

/** Copies of frames of a burst in private memory, close together: what filters look at is what is delivered, whatever their sender does meanwhile. */
export class StagedBurst {
  readonly burst: FrameBurst;
  readonly #staging = new StagingMemory(STAGED_BYTES_MAX);

  constructor() {
    this.burst = new FrameBurst(this.#staging, 0, undefined, true);
  }

  /**
   * Copies frames of a burst, from one on and up to `to`; they are those of `burst` then, from the first on. Returns where it has stopped:
   * at one that is too long, or there is no room for.
   */
  fill(source: FrameBurst, from: number, to: number): number {
    const { burst } = this;
    const { chains, head } = source;
    const staging = this.#staging;
    const words = staging.words[0]!;
    const { offset: offsets, length: lengths } = burst.chains;
    const toHead = burst.head;
    burst.port = source.port;
    burst.pair = source.pair;
    let end = 0;
    for (let i = from; i < to; i++) {
      const length = chains.length[i]!;
      const at = chains.offset[i]!;
      // Alike in both, so that 64-bit words can be copied.
      const start = end + ((at & 3) === 0 ? at & 4 : 4);
      if (length > FRAME_BYTES_STAGED_MAX || start + length > STAGED_BYTES_MAX) return i;
      const first = 4 * i;
      const place = 4 * (i - from);
      const word = start >>> 2;
      words[word] = toHead[place] = head[first]!;
      words[word + 1] = toHead[place + 1] = head[first + 1]!;
      words[word + 2] = toHead[place + 2] = head[first + 2]!;
      words[word + 3] = toHead[place + 3] = head[first + 3]!;
      offsets[i - from] = start;
      lengths[i - from] = length;
      const rest = length - HEAD_BYTES;
      copyPiece(source.memory, chains.window[i]!, at + HEAD_BYTES, staging, 0, start + HEAD_BYTES, rest);
      end = (start + length + 7) & ~7;
    }
    return to;
  }
}
