import { Segments } from '../../../guest-memory/segments.js';
import { Operation, UringOp } from '../../../host/io-uring.js';
import { Errno, RWF_NOWAIT } from '../../../host/libc.js';
import { BATCH_BYTES_MAX, FRAME_BYTES_MIN, FRAME_HEADERS_BYTES_MAX, TAP_READS_MAX } from '../../../limits.js';
import { NET_HEADER_BYTES } from '../../features.js';
import { Frame } from '../../frame.js';
import { FrameBurst } from '../../frame-burst.js';
import { readNetHeader } from '../../net-header.js';
import { checkOffload } from '../../offload-check.js';
import { type Port, PortCounter } from '../../port.js';
import type { Switch } from '../../switch.js';
import { IN_FLIGHT, NO_ROOM, type TapEngine } from './engine.js';
import { READ_BYTES, type TapMemory } from './memory.js';

/** Results of a read that say nothing about the device. */
const PASSING: ReadonlySet<number> = new Set([-Errno.EAGAIN, -Errno.EINTR, -Errno.ENOMEM, -Errno.ECANCELED]);

/**
 * Takes the frames that the host sends by one queue of a TAP device. It reads in *rounds*: some reads that do not wait, and behind them
 * one that does. So there is one system call a turn under load, and none while nothing comes. A round is as long as the one before
 * had frames; one whose frames were all there at once is followed by one of twice its length.
 */
export class TapReader {
  /** Reads that the kernel has not completed. */
  inFlight = 0;
  /** The device is gone. */
  broken = false;
  readonly #fd: number;
  readonly #engine: TapEngine;
  readonly #firstSlot: number;
  readonly #memory: TapMemory;
  readonly #switch: Switch;
  readonly #port: Port;
  readonly #operation = new Operation();
  readonly #results = new Int32Array(TAP_READS_MAX);
  readonly #burst: FrameBurst;
  /** Which read each frame of the burst is of. */
  readonly #reads = new Uint8Array(TAP_READS_MAX);
  /** The first bytes of each read's frame. */
  readonly #heads: Buffer[] = [];
  readonly #piece = new Segments(1);
  readonly #frame = new Frame();
  /** Reads of the round, those of them whose frames were passed on, and of the next one. */
  #count = 0;
  #next = 0;
  #size = 1;
  /** Of the round so far: frames, their bytes, and whether some were not there at once. */
  #frames = 0;
  #bytes = 0;
  #waited = false;

  /**
   * @param queue - which of the device
   * @param firstSlot - of its `TAP_READS_MAX` slots, in memory and as operations
   */
  constructor(parts: {
    fd: number;
    queue: number;
    firstSlot: number;
    engine: TapEngine;
    memory: TapMemory;
    network: Switch;
    port: Port;
  }) {
    this.#fd = parts.fd;
    this.#engine = parts.engine;
    this.#firstSlot = parts.firstSlot;
    this.#memory = parts.memory;
    this.#switch = parts.network;
    this.#port = parts.port;
    this.#burst = new FrameBurst(parts.memory, parts.queue);
    this.#frame.pair = parts.queue;
    for (let i = 0; i < TAP_READS_MAX; i++) {
      const at = parts.memory.headerAt(parts.firstSlot + i) + NET_HEADER_BYTES;
      this.#heads.push(parts.memory.bytes[0]!.subarray(at, at + FRAME_HEADERS_BYTES_MAX));
    }
  }

  /** There is something to do before a read completes. */
  get active(): boolean {
    return !this.broken && (this.#next === this.#count || this.#results[this.#next] !== IN_FLIGHT);
  }

  /** Slot of the read that waits for a frame, if one does: the last of the round. */
  get waitingSlot(): number {
    return this.#firstSlot + this.#count - 1;
  }

  completed(read: number, result: number): void {
    this.inFlight--;
    this.#results[read] = result;
  }

  /** Passes on what has come, and reads on. Returns how many frames. */
  turn(): number {
    const count = this.#collect();
    if (count > 0) this.#forwardAll(count);
    if (this.#next < this.#count) this.#waited = true;
    else if (!this.broken) this.#begin();
    return count;
  }

  /** Puts the frames that have come into the burst. Returns how many. */
  #collect(): number {
    const { chains } = this.#burst;
    let count = 0;
    let bytes = 0;
    for (; this.#next < this.#count; this.#next++) {
      const result = this.#results[this.#next]!;
      if (result === IN_FLIGHT) break;
      if (result < 0) {
        if (!PASSING.has(result)) this.#lose();
        continue;
      }
      if (result < NET_HEADER_BYTES + FRAME_BYTES_MIN) {
        this.#port.counters[PortCounter.DROPPED_MALFORMED]!++;
        continue;
      }
      this.#reads[count] = this.#next;
      chains.offset[count] = this.#memory.headerAt(this.#firstSlot + this.#next);
      chains.length[count] = result;
      bytes += result - NET_HEADER_BYTES;
      count++;
    }
    this.#frames += count;
    this.#bytes += bytes;
    this.#port.counters[PortCounter.FRAMES_IN]! += count;
    this.#port.counters[PortCounter.BYTES_IN]! += bytes;
    return count;
  }

  #lose(): void {
    if (!this.broken) this.#port.counters[PortCounter.QUEUES_LOST]!++;
    this.broken = true;
  }

  #forwardAll(count: number): void {
    const burst = this.#burst;
    burst.read(count);
    for (let i = 0; i < count; ) {
      const end = burst.endOfRead(i, count);
      if (end > i) this.#switch.forwardBurst(burst, i, end, this.#port);
      else this.#forward(i);
      i = end > i ? end : i + 1;
    }
  }

  /** Passes on one of the burst that has to be looked at more closely, or drops it. */
  #forward(index: number): void {
    const { chains } = this.#burst;
    const at = chains.offset[index]!;
    const length = chains.length[index]!;
    const head = this.#heads[this.#reads[index]!]!;
    const frame = this.#frame;
    readNetHeader(this.#memory.bytes[0]!, at - NET_HEADER_BYTES, frame.header);
    // The host's own mistakes are found here, not by a guest.
    if (checkOffload(frame.header, head, length, this.#port.offloads) !== 0) {
      this.#port.counters[PortCounter.DROPPED_OFFLOAD]!++;
      return;
    }
    const piece = this.#piece;
    piece.offset[0] = at;
    piece.length[0] = length;
    piece.count = 1;
    frame.set(this.#memory, piece, 1, 0, length, head, 0);
    this.#switch.forward(frame, this.#port);
  }

  /** Begins the next round. */
  #begin(): void {
    if (this.#count > 0) this.#size = this.#nextSize();
    this.#count = this.#next = this.#frames = this.#bytes = 0;
    this.#waited = false;
    while (this.#count < this.#size) {
      const read = this.#count;
      const flags = read === this.#size - 1 ? 0 : RWF_NOWAIT;
      const address = this.#memory.hostAddress[0]! + this.#memory.headerAt(this.#firstSlot + read);
      const operation = this.#operation.set(UringOp.READ, address, READ_BYTES, 0, flags);
      const result = this.#engine.start(this.#fd, operation, this.#firstSlot + read);
      if (result === NO_ROOM) return;
      this.#results[read] = result;
      this.#count++;
      if (result === IN_FLIGHT) this.inFlight++;
      else if (result < 0) return;
    }
  }

  #nextSize(): number {
    const wanted = this.#waited ? this.#frames : 2 * this.#count;
    // Long frames take long to copy.
    const fitting = this.#bytes === 0 ? TAP_READS_MAX : Math.floor((this.#frames * BATCH_BYTES_MAX) / this.#bytes);
    return Math.max(1, Math.min(wanted, fitting, TAP_READS_MAX));
  }
}
