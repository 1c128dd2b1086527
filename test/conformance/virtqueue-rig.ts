/** A ring with its driver, its device and a guest's memory, and the plain model of what a chain is. */
import assert from 'node:assert/strict';
import { Chain } from '../../src/virtio/chain.js';
import { Pop, type Virtqueue } from '../../src/virtio/virtqueue.js';
import { TestMemory } from '../support/guest-memory.js';
import type { DriverSide, Element, RingSetup, RingUnderTest, VirtqueueLayout } from './virtqueue-layout.js';

/** Bytes of a window: small, so that much crosses one. */
export const WINDOW = 2 ** 16;
/** A region, and another that follows it in the guest but not in this process. A hole follows. */
export const LOW = { guestAddress: 0x1000_0000, size: 2 ** 20 };
export const NEXT = { guestAddress: 0x1010_0000, size: 2 ** 20 };
export const HOLE = 0x1020_0000;
/** A region that ends where guest physical addresses end. */
export const TOP = { guestAddress: 2 ** 52 - 2 ** 16, size: 2 ** 16 };

export const createMemory = () => new TestMemory([LOW, NEXT, TOP], WINDOW);

/** What most rings are like. */
const USUAL: RingSetup = { size: 256, eventIdx: true, indirect: true, start: 0 };

export class RingRig {
  readonly memory: TestMemory;
  readonly driver: DriverSide;
  readonly chain = new Chain();
  readonly logWords: Int32Array;
  device: Virtqueue;
  readonly #ring: RingUnderTest;
  readonly #layout: VirtqueueLayout;
  readonly #size: number;

  constructor(layout: VirtqueueLayout, memory: TestMemory, setup: Partial<RingSetup> = {}) {
    const whole = { ...USUAL, ...setup };
    this.memory = memory;
    this.#layout = layout;
    this.#size = whole.size;
    this.#ring = layout.create(whole);
    this.driver = this.#ring.driver;
    this.logWords = new Int32Array(layout.logWords(whole.size));
    this.device = this.open(false);
  }

  /** A device's end of the same ring; what it notes of chains in flight goes to `words`. */
  open(resume: boolean, words = this.logWords): Virtqueue {
    return this.#ring.device(this.memory.guest, this.#layout.openLog(words, this.#size), resume);
  }

  /** Takes a chain, or says why not. */
  pop(): number {
    return this.device.pop(this.chain);
  }

  /** Takes what is there until something stops it: `EMPTY` or a fault. */
  popAll(): number {
    for (;;) {
      const head = this.pop();
      if (head < 0) return head;
    }
  }

  /** Offers one chain and takes it. */
  pass(elements: readonly Element[]): number {
    this.driver.add(elements);
    this.driver.publish();
    return this.pop();
  }

  /** Takes the one chain that is there, which is `elements`, and gives it back. */
  expect(elements: readonly Element[]): void {
    const head = this.driver.add(elements);
    this.driver.publish();
    assert.equal(this.pop(), head);
    this.compare(elements);
    this.device.push(head, 77);
    this.device.publish();
    assert.deepEqual(this.driver.take(), { head, written: 77 });
    assert.equal(this.pop(), Pop.EMPTY);
  }

  /** Holds the chain taken last against what its elements are in guest memory. */
  compare(elements: readonly Element[]): void {
    const { chain, memory } = this;
    const piecesOf = (writable: boolean) =>
      elements
        .filter((element) => (element.writable ?? false) === writable)
        .flatMap(({ address, length }) => memory.pieces(Number(address), length)!);
    const bytesOf = (writable: boolean) =>
      elements.reduce((sum, element) => sum + ((element.writable ?? false) === writable ? element.length : 0), 0);
    const readable = piecesOf(false);
    assert.deepEqual(this.pieces(), [...readable, ...piecesOf(true)]);
    assert.equal(chain.readableCount, readable.length);
    assert.equal(chain.readableBytes, bytesOf(false));
    assert.equal(chain.writableBytes, bytesOf(true));
  }

  /** The pieces of the chain taken last, as addresses in this process. */
  pieces(): { host: number; length: number }[] {
    const { segments } = this.chain;
    return Array.from({ length: segments.count }, (_, i) => ({
      host: this.memory.guest.hostAddress[segments.window[i]!]! + segments.offset[i]!,
      length: segments.length[i]!,
    }));
  }

  release(): void {
    this.#ring.release();
  }
}

/** Runs `test` on a ring, and gives its memory back whatever comes of it. */
export function withRing(
  layout: VirtqueueLayout,
  memory: TestMemory,
  setup: Partial<RingSetup>,
  test: (rig: RingRig) => void,
): void {
  const rig = new RingRig(layout, memory, setup);
  try {
    test(rig);
  } finally {
    rig.release();
  }
}
