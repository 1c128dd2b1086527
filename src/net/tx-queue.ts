import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { signal } from '../host/eventfd.js';
import { BATCH_BYTES_MAX, PUBLISH_REQUESTS } from '../limits.js';
import { Chain } from '../virtio/chain.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import type { NetDeviceState } from './device.js';
import { Frame } from './frame.js';
import { type Port, PortCounter } from './port.js';
import type { Switch } from './switch.js';

/** Shortest and longest Ethernet frame that is passed on, bytes, without checksum: a header; 64 KiB and a header. */
export const FRAME_BYTES_MIN = 14;
export const FRAME_BYTES_MAX = 65_550 + 8;

/** The ring in which a guest offers frames that it sends. Each is switched and copied at once; the chain is given back. */
export class NetTxQueue implements DeviceQueue {
  readonly passive = false;
  readonly inFlight = 0;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  closed = false;
  readonly #device: NetDeviceState;
  readonly #switch: Switch;
  readonly #port: Port;
  readonly #host: QueueHost;
  readonly #callFd: number;
  readonly #headerBytes: number;
  readonly #counters: Float64Array;
  readonly #chain = new Chain();
  readonly #frame = new Frame();
  #dirty = false;

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    device: NetDeviceState;
    network: Switch;
    port: Port;
    pair: number;
    host: QueueHost;
    callFd: number;
    headerBytes: number;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.#device = parts.device;
    this.#switch = parts.network;
    this.#port = parts.port;
    this.#host = parts.host;
    this.#callFd = parts.callFd;
    this.#headerBytes = parts.headerBytes;
    this.#counters = parts.state.counters;
    this.#frame.memory = parts.memory;
    this.#frame.segments = this.#chain.segments;
    this.#frame.pair = parts.pair;
  }

  serve(limit: number): number {
    const { ring } = this;
    if (ring.waiting() === 0) return 0;
    const chain = this.#chain;
    let taken = 0;
    let bytes = 0;
    while (taken < limit && bytes < BATCH_BYTES_MAX) {
      const head = ring.pop(chain);
      if (head < 0) {
        if (head !== Pop.EMPTY) this.#fail(head);
        break;
      }
      this.#send();
      ring.push(head, 0);
      bytes += chain.readableBytes;
      if (++taken % PUBLISH_REQUESTS === 0) this.#show();
    }
    if (taken > 0) {
      this.#counters[QueueCounter.REQUESTS]! += taken;
      this.#counters[QueueCounter.BYTES_WRITTEN]! += bytes;
      this.#counters[QueueCounter.BATCHES]!++;
      if (!this.#dirty) {
        this.#dirty = true;
        this.#host.markDirty(this);
      }
    }
    return taken;
  }

  publish(): void {
    this.#dirty = false;
    this.#show();
  }

  /** A frame that a dead sidecore had taken may have been delivered: it counts as sent. */
  retakeUnfinished(): void {
    for (const head of this.ring.unfinished) this.ring.push(head, 0);
    this.#show();
    if (this.#callFd >= 0) signal(this.#callFd);
  }

  start(): void {}

  close(): void {}

  #show(): void {
    if (!this.ring.publish() || this.#callFd < 0) return;
    this.#counters[QueueCounter.CALLS]!++;
    signal(this.#callFd);
  }

  /** Sends the chain taken last, or drops it and counts why. */
  #send(): void {
    const chain = this.#chain;
    const frame = this.#frame;
    const counters = this.#port.counters;
    const byteLength = chain.readableBytes - this.#headerBytes;
    if (byteLength < FRAME_BYTES_MIN || byteLength > FRAME_BYTES_MAX) {
      counters[PortCounter.DROPPED_MALFORMED]!++;
      return;
    }
    if (!this.#device.linkUp) {
      counters[PortCounter.DROPPED_LINK_DOWN]!++;
      return;
    }
    let skip = this.#headerBytes;
    let first = 0;
    while (skip >= chain.segments.length[first]!) skip -= chain.segments.length[first++]!;
    frame.first = first;
    frame.end = chain.readableCount;
    frame.skip = skip;
    frame.byteLength = byteLength;
    frame.readHead();
    counters[PortCounter.FRAMES_IN]!++;
    counters[PortCounter.BYTES_IN]! += byteLength;
    this.#switch.forward(frame, this.#port);
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
  }
}
