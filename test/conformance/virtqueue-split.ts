/**
 * The driver's end of a split ring, written from the standard alone: no offset and no flag comes from the code under test.
 * VIRTIO 1.3, 2.7
 */
import assert from 'node:assert/strict';
import { mapAnonymous, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { InflightLog } from '../../src/virtio/inflight-log.js';
import type { RingLayout } from '../../src/virtio/ring-layout.js';
import { SplitRing } from '../../src/virtio/split-ring.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { Random } from '../support/seed.js';
import type {
  Corruption,
  DriverSide,
  Element,
  RingSetup,
  RingUnderTest,
  Used,
  VirtqueueLayout,
} from './virtqueue-layout.js';

const F_NEXT = 1;
const F_WRITE = 2;
const F_INDIRECT = 4;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
const PAD = 64;

const u16 = (value: number) => value & 0xffff;
/** Whether the ring index `event` is among `[before, now)`: what both ends mean by an event index. 2.7.7.2, 2.7.10 */
const passes = (event: number, before: number, now: number) => u16(event - before) < u16(now - before);

function putDescriptor(view: DataView, at: number, element: Element, flags: number, next: number): void {
  view.setBigUint64(at, BigInt(element.address), true);
  view.setUint32(at + 8, element.length, true);
  view.setUint16(at + 12, flags, true);
  view.setUint16(at + 14, next, true);
}

function flagsOf({ writable, indirect, dangling }: Element, hasNext: boolean): number {
  return (hasNext || dangling ? F_NEXT : 0) | (writable ? F_WRITE : 0) | (indirect ? F_INDIRECT : 0);
}

/** A driver that trusts nothing that the device says. */
export class SplitDriverSide implements DriverSide {
  readonly size: number;
  readonly eventIdx: boolean;
  /** Where the parts are in `view`. */
  readonly available: number;
  readonly used: number;
  readonly view: DataView;
  addedIndex: number;
  publishedIndex: number;
  takenIndex: number;
  readonly #free: number[] = [];
  readonly #chains = new Map<number, number[]>();

  constructor(view: DataView, { size, eventIdx, start }: RingSetup) {
    this.view = view;
    this.size = size;
    this.eventIdx = eventIdx;
    this.available = 16 * size + PAD;
    this.used = this.available + ((6 + 2 * size + 3) & ~3) + PAD;
    this.addedIndex = this.publishedIndex = this.takenIndex = u16(start);
    view.setUint16(this.available + 2, u16(start), true);
    view.setUint16(this.used + 2, u16(start), true);
    for (let i = size - 1; i >= 0; i--) this.#free.push(i);
  }

  get free(): number {
    return this.#free.length;
  }

  add(elements: readonly Element[]): number {
    assert.ok(elements.length > 0 && elements.length <= this.free, 'the ring has no room');
    const places = elements.map(() => this.#free.pop()!);
    elements.forEach((element, i) => {
      const next = places[i + 1];
      putDescriptor(this.view, 16 * places[i]!, element, flagsOf(element, next !== undefined), next ?? 0);
    });
    this.#chains.set(places[0]!, places);
    this.offer(places[0]!);
    return places[0]!;
  }

  /** Writes a descriptor as it is. */
  put(place: number, element: Element, flags: number, next: number): void {
    putDescriptor(this.view, 16 * place, element, flags, next);
  }

  /** Puts a head into the avail ring, whatever it is. */
  offer(head: number): void {
    this.view.setUint16(this.available + 4 + 2 * (this.addedIndex % this.size), head, true);
    this.addedIndex = u16(this.addedIndex + 1);
  }

  publish(): boolean {
    return finish(this.publishInSteps());
  }

  *publishInSteps(): Generator<void, boolean> {
    const before = this.publishedIndex;
    const now = this.addedIndex;
    this.view.setUint16(this.available + 2, now, true);
    this.publishedIndex = now;
    yield;
    if (before === now) return false;
    if (!this.eventIdx) return (this.view.getUint16(this.used, true) & NO_NOTIFY) === 0;
    return passes(this.view.getUint16(this.used + 4 + 8 * this.size, true), before, now);
  }

  take(): Used | undefined {
    const used = this.view.getUint16(this.used + 2, true);
    const ahead = u16(used - this.takenIndex);
    assert.ok(ahead <= this.#chains.size, `the used index is ${ahead} ahead, with ${this.#chains.size} chains out`);
    if (ahead === 0) return undefined;
    const at = this.used + 4 + 8 * (this.takenIndex % this.size);
    const head = this.view.getUint32(at, true);
    const places = this.#chains.get(head);
    assert.ok(places, `head ${head} is given back, which the device does not have`);
    this.#chains.delete(head);
    this.#free.push(...places);
    this.takenIndex = u16(this.takenIndex + 1);
    return { head, written: this.view.getUint32(at + 4, true) };
  }

  suppressCalls(): void {
    if (this.eventIdx) this.#setUsedEvent(this.takenIndex - 1);
    else this.view.setUint16(this.available, NO_INTERRUPT, true);
  }

  requestCalls(skip = 0): boolean {
    return finish(this.requestCallsInSteps(skip));
  }

  *requestCallsInSteps(skip = 0): Generator<void, boolean> {
    if (this.eventIdx) this.#setUsedEvent(this.takenIndex + skip);
    else this.view.setUint16(this.available, 0, true);
    yield;
    return u16(this.view.getUint16(this.used + 2, true) - this.takenIndex) > skip;
  }

  #setUsedEvent(index: number): void {
    this.view.setUint16(this.available + 4 + 2 * this.size, u16(index), true);
  }

  table(elements: readonly Element[]): Buffer {
    const bytes = Buffer.alloc(16 * elements.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    elements.forEach((element, i) => {
      const hasNext = i + 1 < elements.length;
      putDescriptor(view, 16 * i, element, flagsOf(element, hasNext), hasNext ? i + 1 : 0);
    });
    return bytes;
  }

  scribble(random: Random, element: () => Element): void {
    const { size } = this;
    for (let place = 0; place < size; place++) {
      this.put(place, element(), random.chance(0.8) ? random.pick([0, F_WRITE]) : random.below(8), random.below(size));
    }
    const first = random.below(size);
    for (let left = random.below(size + 1), head = first; left > 0; left--, head++) {
      this.offer(random.chance(0.98) ? head % size : random.below(2 * size));
    }
    if (random.chance(0.05)) this.addedIndex = u16(this.addedIndex + random.below(3 * size));
    this.publish();
  }

  corruptions(good: Element): Corruption[] {
    const { size } = this;
    const corruptions: Corruption[] = [];
    const add = (name: string, faults: readonly number[], apply: () => void) => {
      const publish = () => {
        apply();
        this.publish();
      };
      corruptions.push({ name, faults, apply: publish });
    };
    const jump = (by: number) =>
      add(`the avail index jumps by ${by}`, [Pop.AVAIL_INDEX_INVALID], () => {
        for (let i = 0; i < size; i++) this.put(i, good, 0, 0);
        this.addedIndex = u16(this.addedIndex + by);
      });
    for (const by of [size + 1, 0x8001, 0xffff]) jump(by);
    for (const head of [size, size + 1, 0xffff]) {
      add(`head ${head}`, [Pop.HEAD_OUT_OF_RANGE], () => this.offer(head));
    }
    for (const next of [size, 0xffff]) {
      add(`next ${next}`, [Pop.NEXT_OUT_OF_RANGE], () => {
        this.put(0, good, F_NEXT, next);
        this.offer(0);
      });
    }
    if (size > 1) {
      add('the same head twice', [Pop.HEAD_IN_FLIGHT], () => {
        this.put(0, good, 0, 0);
        this.offer(0);
        this.offer(0);
      });
    }
    for (const [kind, element] of [
      ['empty', { ...good, length: 0 }],
      ['full', good],
    ] as const) {
      // A loop is as long as any chain may be before it is as long as a larger ring.
      const faults = size > CHAIN_SEGMENTS_MAX ? [Pop.SEGMENTS_EXCEEDED] : [Pop.CHAIN_TOO_LONG];
      for (const length of new Set([1, 2, 3, size].filter((length) => length <= size))) {
        add(`a loop of ${length} ${kind} descriptors`, faults, () => {
          for (let i = 0; i < length; i++) this.put(i, element, F_NEXT, (i + 1) % length);
          this.offer(0);
        });
      }
    }
    return corruptions;
  }
}

/** Takes all steps at once. */
export function finish<T>(steps: Generator<void, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Bytes of a ring of that size with what lies between its parts. */
export const splitRingRoom = (size: number) => 32 * size + 4096;

/**
 * A split ring between this driver and the code under test: at the address given, or in memory of its own, which is no
 * guest memory.
 */
export function createSplitRing(
  setup: RingSetup,
  at?: number,
): RingUnderTest & { readonly driver: SplitDriverSide; readonly layout: RingLayout } {
  const { size, eventIdx, indirect, start } = setup;
  const map = at === undefined ? mapAnonymous(splitRingRoom(size)) : undefined;
  const address = at ?? map!.address;
  const room = viewBytes(address, splitRingRoom(size));
  const driver = new SplitDriverSide(new DataView(room.buffer, room.byteOffset, room.length), setup);
  const layout: RingLayout = {
    kind: 'split',
    size,
    descriptors: address,
    driverArea: address + driver.available,
    deviceArea: address + driver.used,
    eventIdx,
    indirect,
  };
  return {
    driver,
    layout,
    device: (memory, log, resume) => new SplitRing(layout, memory, log, resume, u16(start)),
    release: () => {
      if (map !== undefined) unmap(map);
    },
  };
}

export const splitLayout: VirtqueueLayout = {
  name: 'split',
  sizes: Array.from({ length: 16 }, (_, i) => 2 ** i),
  logWords: (size) => InflightLog.wordsFor(size),
  openLog: (words, size) => new InflightLog(words, size),
  linkedTables: true,
  eventPeriod: () => 65_536,
  steps: { publish: () => 2, requestCalls: () => 2 },
  create: createSplitRing,
};
