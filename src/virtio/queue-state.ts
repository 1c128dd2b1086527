import { SCHEDULE_COUNTERS, ScheduleCounter } from '../scheduler/counters.js';
import { ChainLog } from './chain-log.js';
import { InflightLog } from './inflight-log.js';
import type { RingKind } from './ring-layout.js';

/** What a queue is doing, as `status` shows it. */
export const QueuePhase = {
  /** Not started, or stopped by its front end. */
  STOPPED: 0,
  /** Waits for a kick; its kick descriptor is watched. */
  WATCHED: 1,
  /** Its ring is polled; the driver need not kick. */
  POLLED: 2,
  /** Stopped for good by a fault; `fault` says which. */
  FAULTED: 3,
} as const;

/** Counters of a queue, by slot in its shared state: first those of its scheduler. Written by its sidecore only. */
export const QueueCounter = {
  ...ScheduleCounter,
  REQUESTS: SCHEDULE_COUNTERS,
  BYTES_READ: SCHEDULE_COUNTERS + 1,
  BYTES_WRITTEN: SCHEDULE_COUNTERS + 2,
  /** Requests that ended with a status other than OK. */
  ERRORS: SCHEDULE_COUNTERS + 3,
  /** Calls (interrupts) sent. */
  CALLS: SCHEDULE_COUNTERS + 4,
  /** Chains that were in flight when a sidecore died and were done again. */
  RETAKEN: SCHEDULE_COUNTERS + 5,
  /** Flushes. */
  FLUSHES: SCHEDULE_COUNTERS + 6,
  /** Calls that waited for more completions; and those of them that the driver did not want any more after that. */
  CALLS_HELD: SCHEDULE_COUNTERS + 7,
  CALLS_SPARED: SCHEDULE_COUNTERS + 8,
} as const;

export type QueueCounterName = keyof typeof QueueCounter;

const COUNTERS = Object.keys(QueueCounter).length;
const PHASE = 0;
const FAULT = 1;
const SIZE = 2;
const PACKED = 3;
const HEADER_BYTES = 16;

/** The log that each layout needs. */
const LOGS = { split: InflightLog, packed: ChainLog } as const;

/**
 * What a queue keeps that must outlive the thread which serves it: phase, counters, and the log of chains in flight. In
 * shared memory; the sidecore writes, the daemon reads.
 */
export class QueueState {
  readonly buffer: SharedArrayBuffer;
  readonly queueSize: number;
  readonly kind: RingKind;
  readonly counters: Float64Array;
  /** A `ChainLog` if the ring is packed. */
  readonly inflight: InflightLog;
  readonly #header: Int32Array;

  static create(queueSize: number, kind: RingKind = 'split'): QueueState {
    const bytes = HEADER_BYTES + 8 * COUNTERS + 4 * LOGS[kind].wordsFor(queueSize);
    const buffer = new SharedArrayBuffer(bytes);
    const header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    header[SIZE] = queueSize;
    header[PACKED] = kind === 'packed' ? 1 : 0;
    return new QueueState(buffer);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#header = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.queueSize = this.#header[SIZE]!;
    this.kind = this.#header[PACKED] === 1 ? 'packed' : 'split';
    this.counters = new Float64Array(buffer, HEADER_BYTES, COUNTERS);
    this.inflight = new LOGS[this.kind](new Int32Array(buffer, HEADER_BYTES + 8 * COUNTERS), this.queueSize);
  }

  get phase(): number {
    return Atomics.load(this.#header, PHASE);
  }

  set phase(phase: number) {
    Atomics.store(this.#header, PHASE, phase);
  }

  /** The fault that stopped the queue: a negative number of `Pop`, `CoreFault` or `REQUEST_MALFORMED`; zero if there is none. */
  get fault(): number {
    return Atomics.load(this.#header, FAULT);
  }

  set fault(fault: number) {
    Atomics.store(this.#header, FAULT, fault);
  }
}
