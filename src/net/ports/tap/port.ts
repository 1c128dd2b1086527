import { Operation, UringOp } from '../../../host/io-uring.js';
import { TAP_ADDRESSES_MAX, TAP_QUEUES_MAX, TAP_READS_MAX, TAP_WRITES_MAX } from '../../../limits.js';
import type { FrameCapture } from '../../capture/frame-capture.js';
import type { Frame } from '../../frame.js';
import type { FrameBurst } from '../../frame-burst.js';
import { PortCounter } from '../../port.js';
import type { Switch } from '../../switch.js';
import type { UringHost, UringUser } from '../../uring-user.js';
import type { PortVlans } from '../../vlan.js';
import type { ServedPort } from '../served-port.js';
import { IN_FLIGHT, SyncTapEngine, type TapEngine, UringTapEngine } from './engine.js';
import { TapMemory } from './memory.js';
import { TapReader } from './reader.js';
import type { TapPortSpec } from './spec.js';
import { TapWriter } from './writer.js';

/** Slots of operations; those of reads and writes are slots of memory, too. */
const WRITES_AT = TAP_QUEUES_MAX * TAP_READS_MAX;
const CANCELS_AT = WRITES_AT + TAP_WRITES_MAX;

/** A network device of the host as a port of the switch: what guests send to it the host gets, and the other way round. */
export class TapPort implements ServedPort, UringUser {
  readonly number: number;
  readonly counters: Float64Array;
  readonly vlans: PortVlans;
  readonly offloads: number;
  readonly mesh = false;
  capture: FrameCapture | undefined = undefined;
  readonly filters = undefined;
  closed = false;
  readonly #engine: TapEngine;
  /** User data of slot 0. */
  readonly #base: number;
  readonly #memory = new TapMemory(CANCELS_AT);
  readonly #readers: readonly TapReader[];
  readonly #writer: TapWriter;
  /** Reads that are being cancelled, and how many of these cancellations the kernel has not completed. */
  #cancelled = 0;
  #cancelling = 0;

  constructor(spec: TapPortSpec, network: Switch, host: UringHost) {
    this.number = spec.number;
    this.counters = new Float64Array(spec.shared);
    this.vlans = spec.vlans;
    this.offloads = spec.offloads;
    const ring = host.uring();
    this.#base = ring === undefined ? 0 : host.uringUser(this);
    this.#engine = ring === undefined ? new SyncTapEngine() : new UringTapEngine(ring, this.#base);
    const parts = { engine: this.#engine, memory: this.#memory };
    this.#readers = spec.fds.map(
      (fd, queue) => new TapReader({ ...parts, fd, queue, firstSlot: queue * TAP_READS_MAX, network, port: this }),
    );
    this.#writer = new TapWriter({ ...parts, fds: spec.fds, firstSlot: WRITES_AT, counters: this.counters });
    network.allowAddresses(this, TAP_ADDRESSES_MAX);
    network.expect(spec.mac.high, spec.mac.low, this);
  }

  get active(): boolean {
    for (const reader of this.#readers) if (reader.active) return true;
    return false;
  }

  get inFlight(): number {
    let count = this.#writer.inFlight + this.#cancelling;
    for (const reader of this.#readers) count += reader.inFlight;
    return count;
  }

  turn(): number {
    if (this.closed) {
      this.#cancel();
      return 0;
    }
    let work = 0;
    for (let i = 0; i < this.#readers.length; i++) work += this.#readers[i]!.turn();
    return work;
  }

  deliver(frame: Frame): void {
    if (this.closed) this.counters[PortCounter.DROPPED_NOT_READY]!++;
    else this.#writer.write(frame);
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    if (this.closed) this.counters[PortCounter.DROPPED_NOT_READY]! += to - from;
    else this.#writer.writeBurst(burst, from, to);
  }

  completed(slot: number, result: number): void {
    if (slot < WRITES_AT) this.#readers[Math.floor(slot / TAP_READS_MAX)]!.completed(slot % TAP_READS_MAX, result);
    else if (slot < CANCELS_AT) this.#writer.completed(slot - WRITES_AT, result);
    else this.#cancelling--;
  }

  close(): void {
    this.#writer.close();
    this.#memory.close();
  }

  /** Has the kernel give up the reads that wait for a frame. */
  #cancel(): void {
    for (; this.#cancelled < this.#readers.length; this.#cancelled++) {
      const reader = this.#readers[this.#cancelled]!;
      if (reader.inFlight === 0) continue;
      const operation = new Operation().set(UringOp.ASYNC_CANCEL, this.#base + reader.waitingSlot, 0, 0, 0);
      // What cannot be asked for now is asked for in the next turn.
      if (this.#engine.start(-1, operation, CANCELS_AT + this.#cancelled) !== IN_FLIGHT) return;
      this.#cancelling++;
    }
  }
}
