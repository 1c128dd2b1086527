/** What a layout of virtqueues brings along to be held against `virtqueue.ts`: its driver's end, and how to break it. */
import type { GuestMemory } from '../../src/guest-memory/guest-memory.js';
import type { InflightLog } from '../../src/virtio/inflight-log.js';
import type { Virtqueue } from '../../src/virtio/virtqueue.js';
import type { Random } from '../support/seed.js';

/** One descriptor, as a driver means it. */
export interface Element {
  /** Guest physical. */
  readonly address: number | bigint;
  readonly length: number;
  /** For the device to write; to read otherwise. */
  readonly writable?: boolean;
  /** Refers to a table of descriptors. */
  readonly indirect?: boolean;
  /** Carries the NEXT flag where nothing comes next. */
  readonly dangling?: boolean;
}

/** A chain that the device has given back. */
export interface Used {
  readonly head: number;
  readonly written: number;
}

/** A ring broken by its driver: what was done, and the faults of which `pop` must give one. */
export interface Corruption {
  readonly name: string;
  readonly faults: readonly number[];
  /** Breaks the ring, which has nothing in flight, and publishes. */
  apply(): void;
}

/**
 * The driver's end of a ring. Anything that a guest may do with the ring's own memory goes through here. Where it says
 * "in steps", each step reaches for shared memory once, so that the device can run between any two.
 */
export interface DriverSide {
  /** Descriptors that are in no chain. */
  readonly free: number;
  /** Puts a chain into the ring; returns its head. The device may look once it is published. */
  add(elements: readonly Element[]): number;
  publish(): boolean;
  /** Shows the device all that was added. True if the standard wants a kick for it. */
  publishInSteps(): Generator<void, boolean>;
  /** The next chain that was given back; throws if it is none that the device has. */
  take(): Used | undefined;
  /** Asks not to be called. */
  suppressCalls(): void;
  /** Asks for a call when the chain after `skip` more has been given back. True if there is one to take already. */
  requestCalls(skip?: number): boolean;
  requestCallsInSteps(skip?: number): Generator<void, boolean>;
  /** The bytes of an indirect table with these descriptors, one after the other. */
  table(elements: readonly Element[]): Buffer;
  /** Fills the ring without sense: chains that may run into each other, heads that may be none. Publishes. */
  scribble(random: Random, element: () => Element): void;
  /** All ways to break a ring of this layout, apart from what `Element`s can say. */
  corruptions(good: Element): Corruption[];
}

export interface RingSetup {
  readonly size: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  /** Chains that have gone through the ring before. */
  readonly start: number;
}

/** A ring with both ends. */
export interface RingUnderTest {
  readonly driver: DriverSide;
  /** A device's end: the first, or one that takes over from a thread that died. */
  device(memory: GuestMemory, log: InflightLog, resume: boolean): Virtqueue;
  /** Gives the ring's memory back. */
  release(): void;
}

export interface VirtqueueLayout {
  readonly name: string;
  /** All sizes that the layout allows, or a sample of them. */
  readonly sizes: readonly number[];
  /** Words of the in-flight log of a ring of that size, and the log in such words. */
  logWords(size: number): number;
  openLog(words: Int32Array, size: number): InflightLog;
  /** Descriptors of an indirect table are linked by NEXT, and the table may follow other descriptors; else it is a plain list. */
  readonly linkedTables: boolean;
  /** Descriptors after which an event index means the same again. */
  eventPeriod(size: number): number;
  /** How many steps the driver's calls take. */
  readonly steps: { publish(eventIdx: boolean): number; requestCalls(eventIdx: boolean): number };
  create(setup: RingSetup): RingUnderTest;
}
