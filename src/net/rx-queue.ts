import { copyBytes } from '../guest-memory/copy.js';
import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { signal } from '../host/eventfd.js';
import { Chain } from '../virtio/chain.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import type { Frame } from './frame.js';

/** Buffers that one frame may be spread over: 64 KiB in the 1.5 KiB buffers of the smallest drivers. */
export const RX_BUFFERS_MAX = 64;

/**
 * The ring in which a guest offers buffers for what it receives. Nothing is looked for in it: frames are put into it when they
 * come, from the turn of whoever sends them.
 */
export class NetRxQueue implements DeviceQueue {
  readonly passive = true;
  readonly inFlight = 0;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  closed = false;
  /** The driver has kicked it: its buffers may be used. */
  ready = false;
  readonly #memory: GuestMemory;
  readonly #host: QueueHost;
  readonly #callFd: number;
  readonly #headerBytes: number;
  /** Frames may be spread over several buffers. */
  readonly #mergeable: boolean;
  readonly #counters: Float64Array;
  readonly #chains: Chain[] = [new Chain()];
  readonly #onClose: () => void;
  #dirty = false;

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    host: QueueHost;
    callFd: number;
    headerBytes: number;
    mergeable: boolean;
    onClose: (queue: NetRxQueue) => void;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.#memory = parts.memory;
    this.#host = parts.host;
    this.#callFd = parts.callFd;
    this.#headerBytes = parts.headerBytes;
    this.#mergeable = parts.mergeable;
    this.#onClose = () => parts.onClose(this);
    this.#counters = parts.state.counters;
  }

  serve(): number {
    return 0;
  }

  /** Copies a frame into the driver's buffers; false if there is no room for it, or the driver has broken the ring. */
  put(frame: Frame): boolean {
    const needed = this.#headerBytes + frame.byteLength;
    const count = this.#take(needed);
    if (count === 0) return false;
    this.#fill(frame, count, needed);
    this.#counters[QueueCounter.REQUESTS]!++;
    this.#counters[QueueCounter.BYTES_READ]! += frame.byteLength;
    if (!this.#dirty) {
      this.#dirty = true;
      this.#host.markDirty(this);
    }
    return true;
  }

  publish(): void {
    this.#dirty = false;
    if (!this.ring.publish() || this.#callFd < 0) return;
    this.#counters[QueueCounter.CALLS]!++;
    signal(this.#callFd);
  }

  /** Frames that a dead sidecore was copying are lost; the buffers that it had taken are used for the next. */
  retakeUnfinished(): void {
    for (const head of this.ring.unfinished) this.ring.push(head, 0);
    this.publish();
    if (this.#callFd >= 0) signal(this.#callFd);
  }

  start(): void {
    this.ready = true;
  }

  close(): void {
    this.#onClose();
  }

  /** Takes buffers for so many bytes: how many, or none of them and zero. */
  #take(needed: number): number {
    let room = 0;
    let count = 0;
    while (room < needed) {
      const chain = this.#chain(count);
      const head = chain === undefined || (count > 0 && !this.#mergeable) ? Pop.EMPTY : this.ring.pop(chain);
      if (head < 0) {
        if (head !== Pop.EMPTY) this.#fail(head);
        while (count > 0) this.ring.unpop(this.#chains[--count]!.head);
        return 0;
      }
      room += chain!.writableBytes;
      count++;
    }
    return count;
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
    const { segments } = frame;
    const from = frame.memory.bytes;
    let source = frame.first;
    let sourceAt = segments.offset[source]! + frame.skip;
    let sourceLeft = segments.length[source]! - frame.skip;
    let left = needed;
    let headerLeft = this.#headerBytes;
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
        while (headerLeft > 0 && room > 0) {
          // All zeros, but for the number of buffers.
          memory[at++] = headerLeft === 2 && this.#headerBytes === 12 ? count : 0;
          headerLeft--;
          room--;
        }
        while (room > 0) {
          if (sourceLeft === 0) {
            source++;
            sourceAt = segments.offset[source]!;
            sourceLeft = segments.length[source]!;
          }
          const piece = Math.min(room, sourceLeft);
          copyBytes(from[segments.window[source]!]!, sourceAt, memory, at, piece);
          sourceAt += piece;
          sourceLeft -= piece;
          at += piece;
          room -= piece;
        }
      }
      this.ring.push(chain.head, written);
    }
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
    this.#host.markDirty(this);
  }
}
