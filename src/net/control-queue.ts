import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { CONTROL_BYTES_MAX } from '../limits.js';
import type { CallLine } from '../virtio/call-line.js';
import { Chain } from '../virtio/chain.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { REQUEST_MALFORMED } from '../virtio/queue-faults.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import { runCommand } from './control-command.js';
import type { NetDeviceState } from './device-state.js';

/** Answers to a command. VIRTIO 1.3, 5.1.6.5 */
const Ack = { OK: 0, ERR: 1 } as const;

/**
 * The queue by which a driver tells its card what it wants: addresses, VLANs, queue pairs. VIRTIO 1.3, 5.1.6.5
 *
 * Most front ends answer it themselves and never give it to us.
 */
export class NetControlQueue implements DeviceQueue {
  readonly passive = false;
  readonly inFlight = 0;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  closed = false;
  readonly #memory: GuestMemory;
  readonly #device: NetDeviceState;
  readonly #pairsMax: number;
  readonly #host: QueueHost;
  readonly #calls: CallLine;
  readonly #chain = new Chain();
  readonly #command = Buffer.alloc(CONTROL_BYTES_MAX);

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    device: NetDeviceState;
    pairsMax: number;
    host: QueueHost;
    calls: CallLine;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.#memory = parts.memory;
    this.#device = parts.device;
    this.#pairsMax = parts.pairsMax;
    this.#host = parts.host;
    this.#calls = parts.calls;
  }

  /** A command counts as the longest. */
  servedBytes = 0;

  pending(): number {
    return this.ring.waiting();
  }

  serve(limit: number): number {
    let taken = 0;
    for (; taken < limit && !this.closed; taken++) {
      const head = this.ring.pop(this.#chain);
      if (head < 0) {
        if (head !== Pop.EMPTY) this.#fail(head);
        break;
      }
      if (this.#chain.writableBytes === 0) {
        this.#fail(REQUEST_MALFORMED);
        break;
      }
      this.#answer(head);
    }
    if (taken > 0) {
      this.servedBytes = taken * CONTROL_BYTES_MAX;
      this.state.counters[QueueCounter.REQUESTS]! += taken;
      this.#host.markDirty(this);
    }
    return taken;
  }

  publish(): void {
    this.#calls.publish(false);
  }

  /** All commands may be done twice. */
  retakeUnfinished(): void {
    for (const head of this.ring.unfinished) {
      if (this.ring.retake(head, this.#chain) < 0 || this.#chain.writableBytes === 0) this.ring.push(head, 0);
      else this.#answer(head);
    }
    this.ring.publish();
    this.#calls.call();
  }

  start(): void {}

  quiesce(): boolean {
    return true;
  }

  close(): void {}

  #answer(head: number): void {
    const { readableBytes, readableCount, segments } = this.#chain;
    let at = 0;
    for (let i = 0; i < readableCount && at < CONTROL_BYTES_MAX; i++) {
      const from = segments.offset[i]!;
      at += this.#memory.bytes[segments.window[i]!]!.copy(this.#command, at, from, from + segments.length[i]!);
    }
    const done = runCommand(this.#command.subarray(0, at), readableBytes, this.#device, this.#pairsMax);
    if (!done) this.state.counters[QueueCounter.ERRORS]!++;
    this.#memory.bytes[segments.window[readableCount]!]![segments.offset[readableCount]!] = done ? Ack.OK : Ack.ERR;
    this.ring.push(head, 1);
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
  }
}
