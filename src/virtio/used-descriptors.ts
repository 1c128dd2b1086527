import type { ChainLog } from './chain-log.js';
import {
  AVAIL,
  AVAIL_USED,
  DESC_FLAGS16,
  DESC_ID_FLAGS,
  DESC_ID16,
  DESC_LENGTH,
  DESCRIPTOR_WORDS16,
  packedAfter,
  packedDistance,
  packedSlot,
  USED,
} from './packed-format.js';
import { DESCRIPTOR_WORDS, DescriptorFlag } from './ring-layout.js';

const { WRITE } = DescriptorFlag;

/** The descriptors by which a packed ring's device gives chains back. VIRTIO 1.3, 2.8.1 and 2.8.5 */
export class UsedDescriptors {
  readonly #ring16: Uint16Array;
  readonly #ring32: Uint32Array;
  readonly #log: ChainLog;
  readonly #size: number;

  /** @param ring16 - the descriptor ring, and the same in 32-bit words */
  constructor(ring16: Uint16Array, ring32: Uint32Array, log: ChainLog) {
    this.#ring16 = ring16;
    this.#ring32 = ring32;
    this.#log = log;
    this.#size = ring32.length / DESCRIPTOR_WORDS;
  }

  /**
   * Writes those of the first `count` chains that the log notes to be given back; the flags of the first, which show them all, at
   * last.
   */
  write(from: number, count: number): void {
    const log = this.#log;
    const ring32 = this.#ring32;
    const ring16 = this.#ring16;
    const size = this.#size;
    let position = from;
    let firstFlags = 0;
    for (let i = 0; i < count; i++) {
      const id = log.returnedHead(i);
      const written = log.returnedBytes(i);
      const slot = packedSlot(position, size);
      const flags = (position < size ? AVAIL_USED : 0) | (written > 0 ? WRITE : 0);
      ring32[slot * DESCRIPTOR_WORDS + DESC_LENGTH] = written;
      if (i === 0) {
        ring16[slot * DESCRIPTOR_WORDS16 + DESC_ID16] = id;
        firstFlags = flags;
      } else {
        ring32[slot * DESCRIPTOR_WORDS + DESC_ID_FLAGS] = id | (flags << 16);
      }
      position = packedAfter(position, log.chainLength(id), size);
    }
    // Release, and a full barrier before the driver's event structure is read: it may be writing that now.
    Atomics.store(ring16, packedSlot(from, size) * DESCRIPTOR_WORDS16 + DESC_FLAGS16, firstFlags);
  }

  /**
   * Brings to its end what the thread before us was publishing. Whether the driver can see it shows in the first descriptor: it is
   * not the one any more that the driver made available in that lap.
   */
  finish(): void {
    const log = this.#log;
    const size = this.#size;
    const { settled, intended } = log;
    if (settled === intended) return;
    const descriptors = packedDistance(settled, intended, size);
    let count = 0;
    for (let sum = 0; sum < descriptors && count < size; count++) sum += log.chainLength(log.returnedHead(count));
    const flags = Atomics.load(this.#ring16, packedSlot(settled, size) * DESCRIPTOR_WORDS16 + DESC_FLAGS16);
    const unseen = (flags & AVAIL_USED) === (settled < size ? AVAIL : USED);
    if (unseen) this.write(settled, count);
    for (let i = 0; i < count; i++) log.finish(log.returnedHead(i));
    log.settle(intended);
  }

  /**
   * Whether a descriptor has been used in the lap that begins at `position`. Only a device does that, so the ring cannot stand there:
   * its front end has lost where it stands, and old descriptors would be taken for new ones.
   */
  anyFrom(position: number): boolean {
    const size = this.#size;
    for (let i = 0; i < size; i++) {
      const at = packedAfter(position, i, size);
      const flags = this.#ring16[packedSlot(at, size) * DESCRIPTOR_WORDS16 + DESC_FLAGS16]!;
      if ((flags & AVAIL_USED) === (at < size ? AVAIL_USED : 0)) return true;
    }
    return false;
  }
}
