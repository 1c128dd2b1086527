import { copyBytes, copyPiece } from '../guest-memory/copy.js';
import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { RX_BUFFERS_MAX, RX_DESCRIPTORS_MAX } from '../limits.js';
import { Burst } from '../virtio/burst.js';
import type { CallLine } from '../virtio/call-line.js';
import { Chain } from '../virtio/chain.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import { NET_HEADER_BYTES } from './features.js';
import { type Frame, HEAD_BYTES, PREFIX_BYTES_MAX } from './frame.js';
import { BURST_FRAMES, type FrameBurst } from './frame-burst.js';
import { writeNetHeader } from './net-header.js';

/** The last word of a header of which num_buffers is one. VIRTIO 1.3, 5.1.6 */
const ONE_BUFFER = 1 << 16;

/**
 * The ring in which a guest offers buffers for what it receives. Nothing is looked for in it: frames are put into it when they
 * come, from the turn of whoever sends them.
 */
export class NetRxQueue implements DeviceQueue {
  readonly passive = true;
  readonly inFlight = 0;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  /** Its queue pair. */
  readonly pair: number;
  closed = false;
  /** The driver has kicked it: its buffers may be used. */
  ready = false;
  /** The driver has put a buffer into it. */
  #inUse = false;
  readonly #memory: GuestMemory;
  readonly #host: QueueHost;
  readonly #calls: CallLine;
  readonly #headerBytes: number;
  /** Frames may be spread over several buffers. */
  readonly #mergeable: boolean;
  readonly #counters: Float64Array;
  /** Buffers that were taken, the first `#kept` of them for frames to come: what there was did not suffice for one that came. */
  readonly #chains: Chain[] = [new Chain()];
  #kept = 0;
  readonly #buffers = new Burst(BURST_FRAMES);
  /** Header and private part of the frame that is being put. */
  readonly #head: Buffer = Buffer.alloc(NET_HEADER_BYTES + PREFIX_BYTES_MAX);
  readonly servedBytes = 0;
  readonly #onClose: () => void;
  #dirty = false;

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    host: QueueHost;
    calls: CallLine;
    pair: number;
    headerBytes: number;
    mergeable: boolean;
    onClose: (queue: NetRxQueue) => void;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.pair = parts.pair;
    this.#memory = parts.memory;
    this.#host = parts.host;
    this.#calls = parts.calls;
    this.#headerBytes = parts.headerBytes;
    this.#mergeable = parts.mergeable;
    this.#onClose = () => parts.onClose(this);
    this.#counters = parts.state.counters;
  }

  /** The driver has offered buffers here at some time: there is somebody who looks at them. */
  get inUse(): boolean {
    if (!this.#inUse) this.#inUse = this.ready && this.ring.waiting() > 0;
    return this.#inUse;
  }

  /** Nothing is ever looked for in it. */
  pending(): number {
    return 0;
  }

  serve(): number {
    return 0;
  }

  /** The driver offers nothing that a frame could be put into. */
  get isEmpty(): boolean {
    return this.#kept === 0 && this.ring.waiting() === 0;
  }

  /** Copies a frame into the driver's buffers; false if there is no room for it, or the driver has broken the ring. */
  put(frame: Frame): boolean {
    const needed = this.#headerBytes + frame.byteLength;
    const count = this.#take(needed);
    if (count === 0) return false;
    this.#fill(frame, count, needed);
    this.#note(1, frame.byteLength);
    return true;
  }

  /**
   * Copies frames of a burst, each into one buffer, as long as the next buffers are in one piece, large enough and aligned.
   * Returns how many.
   */
  putBurst(burst: FrameBurst, from: number, to: number): number {
    if (this.#headerBytes !== NET_HEADER_BYTES || this.#kept > 0) return 0;
    const buffers = this.#buffers;
    const { offset: offsets, length: rooms, window: windows, written } = buffers;
    const { head } = burst;
    const { length: lengths } = burst.chains;
    const taken = this.ring.popBurst(buffers, to - from, true);
    const memory = this.#memory.words;
    let count = 0;
    let bytes = 0;
    // The headers first: by the time that frames are copied, the buffers' first lines have come from the driver's cache.
    for (; count < taken; count++) {
      const length = lengths[from + count]!;
      const needed = NET_HEADER_BYTES + length;
      const at = offsets[count]!;
      if (rooms[count]! < needed || (at & 3) !== 0) break;
      const words = memory[windows[count]!]!;
      const word = at >>> 2;
      words[word] = 0;
      words[word + 1] = 0;
      words[word + 2] = ONE_BUFFER;
      words[word + 3] = head[4 * (from + count)]!;
      written[count] = needed;
      bytes += length;
    }
    for (let i = 0; i < count; i++) this.#copy(burst, from + i, lengths[from + i]!, windows[i]!, offsets[i]!);
    for (let i = taken; i > count; i--) this.ring.unpop(buffers.head[i - 1]!);
    if (count > 0) {
      this.ring.pushBurst(buffers, 0, count);
      this.#note(count, bytes);
    }
    return count;
  }

  /** Copies one frame of a burst, behind a header that asks for nothing. */
  #copy(burst: FrameBurst, index: number, length: number, target: number, at: number): void {
    const { chains, head, memory } = burst;
    const words = this.#memory.words[target]!;
    const word = at >>> 2;
    const first = 4 * index;
    words[word + 4] = head[first + 1]!;
    words[word + 5] = head[first + 2]!;
    words[word + 6] = head[first + 3]!;
    const source = chains.window[index]!;
    const from = chains.offset[index]! + HEAD_BYTES;
    const rest = length - HEAD_BYTES;
    copyPiece(memory, source, from, this.#memory, target, at + NET_HEADER_BYTES + HEAD_BYTES, rest);
  }

  #note(frames: number, bytes: number): void {
    this.#counters[QueueCounter.REQUESTS]! += frames;
    this.#counters[QueueCounter.BYTES_READ]! += bytes;
    if (this.#dirty) return;
    this.#dirty = true;
    this.#host.markDirty(this);
  }

  publish(): void {
    this.#dirty = false;
    // What has come is waited for. A driver that gets much polls once it was called.
    this.#calls.publish(false);
  }

  /**
   * Frames that a dead sidecore was copying are lost; the buffers that it had taken are used for the next. It may have died between
   * a publication and its call.
   */
  retakeUnfinished(): void {
    const { unfinished } = this.ring;
    for (let i = unfinished.length; i > 0; i--) this.ring.unpop(unfinished[i - 1]!);
    this.#calls.call();
  }

  start(): void {
    this.ready = true;
  }

  quiesce(): boolean {
    return true;
  }

  close(): void {
    this.#giveUp();
    this.#onClose();
  }

  /** Takes buffers for so many bytes: how many; or zero, and those that are too few are kept, so that they are looked at once. */
  #take(needed: number): number {
    let room = 0;
    let descriptors = 0;
    let count = 0;
    while (room < needed) {
      if (count === this.#kept && (descriptors >= RX_DESCRIPTORS_MAX || !this.#takeOne())) return 0;
      const chain = this.#chains[count++]!;
      room += chain.writableBytes;
      descriptors += chain.descriptors;
    }
    return count;
  }

  /** Takes one more buffer; false if there is none, a frame may not be in as many, or the driver has broken the ring. */
  #takeOne(): boolean {
    const chain = this.#chain(this.#kept);
    if (chain === undefined || (this.#kept > 0 && !this.#mergeable)) return false;
    const head = this.ring.pop(chain);
    if (head >= 0) {
      this.#kept++;
      return true;
    }
    if (head !== Pop.EMPTY) {
      this.#giveUp();
      this.#fail(head);
    }
    return false;
  }

  /** The first so many are used. */
  #used(count: number): void {
    const chains = this.#chains;
    this.#kept -= count;
    for (let i = 0; i < this.#kept; i++) {
      const used = chains[i]!;
      chains[i] = chains[i + count]!;
      chains[i + count] = used;
    }
  }

  /** Buffers that are kept are the driver's again. */
  #giveUp(): void {
    while (this.#kept > 0) this.ring.unpop(this.#chains[--this.#kept]!.head);
  }

  #chain(index: number): Chain | undefined {
    if (index < this.#chains.length) return this.#chains[index];
    if (index >= RX_BUFFERS_MAX) return undefined;
    const chain = new Chain();
    this.#chains.push(chain);
    return chain;
  }

  /** Writes header and frame into the chains taken, and gives these back. */
  #fill(frame: Frame, count: number, needed: number): void {
    const { segments, memory: from } = frame;
    const head = this.#writeHead(frame, count);
    let source = -1;
    let sourceBytes: Buffer = this.#head;
    let sourceAt = 0;
    let sourceLeft = head;
    let left = needed;
    for (let i = 0; i < count; i++) {
      const chain = this.#chains[i]!;
      const target = chain.segments;
      let written = 0;
      for (let j = chain.readableCount; j < target.count && left > 0; j++) {
        const memory = this.#memory.bytes[target.window[j]!]!;
        let at = target.offset[j]!;
        let room = Math.min(target.length[j]!, left);
        written += room;
        left -= room;
        while (room > 0) {
          if (sourceLeft === 0) {
            source = source < 0 ? frame.first : source + 1;
            const skip = source === frame.first ? frame.skip : 0;
            sourceBytes = from.bytes[segments.window[source]!]!;
            sourceAt = segments.offset[source]! + skip;
            sourceLeft = segments.length[source]! - skip;
          }
          const piece = Math.min(room, sourceLeft);
          copyBytes(sourceBytes, sourceAt, memory, at, piece);
          sourceAt += piece;
          sourceLeft -= piece;
          at += piece;
          room -= piece;
        }
      }
      this.ring.push(chain.head, written);
    }
    this.#used(count);
  }

  /** Puts the header and the private part of a frame together. Returns their bytes. */
  #writeHead(frame: Frame, buffers: number): number {
    const head = this.#head;
    frame.header.numBuffers = buffers;
    // What a legacy header lacks is at its end, and overwritten.
    writeNetHeader(head, 0, frame.header);
    const { prefixStart, prefixBytes } = frame;
    frame.prefix.copy(head, this.#headerBytes, prefixStart, prefixStart + prefixBytes);
    return this.#headerBytes + prefixBytes;
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
    this.#host.markDirty(this);
  }
}
