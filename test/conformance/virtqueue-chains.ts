/** Chains as a good driver makes them: all sizes, all the way round the indices, any number in flight, any order. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { DATA_SEGMENTS_MAX } from '../../src/limits.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import { type Random, seeded } from '../support/seed.js';
import type { Element, VirtqueueLayout } from './virtqueue-layout.js';
import { LOW, NEXT, type RingRig, TOP, WINDOW, withRing } from './virtqueue-rig.js';

/** Where the indices of all layouts have wrapped. */
const ROUND = 65_536;

/** Drives chains through a ring, at random, until `count` have come back. */
function drive(rig: RingRig, count: number, random: Random): void {
  const { driver, device } = rig;
  /** By head: a number of its own for each chain, told by its length and given back as bytes written. */
  const serials = new Map<number, number>();
  const taken: number[] = [];
  let added = 0;
  let returned = 0;
  while (returned < count) {
    const burst = random.chance(0.2) ? driver.free : random.below(8);
    for (let i = 0; i < burst && added < count; i++) {
      const length = 1 + random.below(3);
      if (driver.free < length) break;
      const serial = added++;
      const element = { address: LOW.guestAddress + (serial % 4096), length: 1 + (serial % 60_000) };
      const elements: Element[] = [element];
      for (let j = 1; j < length; j++) elements.push({ address: NEXT.guestAddress, length: j, writable: true });
      serials.set(driver.add(elements), serial);
    }
    driver.publish();
    for (let most = random.chance(0.5) ? Number.POSITIVE_INFINITY : random.below(20); most > 0; most--) {
      const head = rig.pop();
      if (head === Pop.EMPTY) break;
      assert.ok(head >= 0, `fault ${head}`);
      const serial = serials.get(head)!;
      assert.equal(rig.chain.head, head);
      assert.equal(rig.chain.readableBytes, 1 + (serial % 60_000));
      assert.equal(rig.chain.segments.offset[0], serial % 4096);
      taken.push(head);
    }
    const finished = random.chance(0.3) ? taken.length : random.below(taken.length + 1);
    for (let i = 0; i < finished; i++) {
      const at = random.below(taken.length);
      const head = taken[at]!;
      taken[at] = taken.at(-1)!;
      taken.pop();
      device.push(head, serials.get(head)!);
    }
    // Nothing that is not published is visible.
    if (finished > 0) assert.equal(driver.take(), undefined);
    device.publish();
    for (let i = 0; i < finished; i++) {
      const used = driver.take()!;
      assert.equal(used.written, serials.get(used.head));
      returned++;
    }
    assert.equal(driver.take(), undefined);
  }
  assert.equal(rig.pop(), Pop.EMPTY);
  assert.equal(device.waiting(), 0);
}

export function chainTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  for (const size of layout.sizes) {
    it(`keeps chains apart in a ring of ${size}, three times round`, () => {
      const setup = { size, start: ROUND - 3, eventIdx: size % 3 === 1 };
      seeded(size, (random) => withRing(layout, memory(), setup, (rig) => drive(rig, 3 * ROUND, random)));
    });
  }

  it('keeps chains apart a million times', () =>
    seeded(0, (random) => withRing(layout, memory(), { size: 64 }, (rig) => drive(rig, 16 * ROUND, random))));

  it('starts anywhere', () => {
    for (const start of [0, 1, 255, 256, 32_767, 32_768, 65_535]) {
      for (const size of [1, 4, 256]) {
        seeded(start, (random) => withRing(layout, memory(), { size, start }, (rig) => drive(rig, 600, random)));
      }
    }
  });

  it('takes and gives back a full ring at once, in any order', () => {
    for (const size of layout.sizes) {
      withRing(layout, memory(), { size, start: ROUND - 1 }, ({ driver, device, chain }) => {
        const heads = Array.from({ length: size }, () => driver.add([{ address: LOW.guestAddress, length: 1 }]));
        driver.publish();
        assert.ok(device.waiting() > 0 && device.waiting() <= size);
        for (const head of heads) assert.equal(device.pop(chain), head);
        assert.equal(device.pop(chain), Pop.EMPTY);
        for (const [i, head] of heads.reverse().entries()) device.push(head, i);
        device.publish();
        for (const [i, head] of heads.entries()) assert.deepEqual(driver.take(), { head, written: i });
        assert.equal(driver.free, size);
      });
    }
  });

  it('hides chains that were added and not published', () =>
    withRing(layout, memory(), {}, (rig) => {
      rig.driver.add([{ address: LOW.guestAddress, length: 1 }]);
      assert.equal(rig.device.waiting(), 0);
      assert.equal(rig.pop(), Pop.EMPTY);
      assert.equal(rig.device.publish(), false);
    }));

  it('gives the pieces of a chain, readable ones first, cut at windows and regions', () =>
    withRing(layout, memory(), {}, (rig) => {
      const seam = NEXT.guestAddress;
      const readable = (address: number, length: number) => ({ address, length });
      const writable = (address: number, length: number) => ({ address, length, writable: true });
      rig.expect([readable(LOW.guestAddress, 16)]);
      rig.expect([writable(LOW.guestAddress + 3, 1)]);
      rig.expect([readable(LOW.guestAddress + WINDOW - 1, 2), writable(LOW.guestAddress + 2 * WINDOW - 5, WINDOW + 9)]);
      rig.expect([readable(seam - 1, 2)]);
      rig.expect([readable(seam - WINDOW - 1, 2 * WINDOW + 2), writable(seam - 7, 7), writable(seam, 7)]);
      rig.expect([readable(LOW.guestAddress, LOW.size + NEXT.size)]);
      rig.expect([readable(TOP.guestAddress, TOP.size), writable(TOP.guestAddress + TOP.size - 1, 1)]);
    }));

  it('passes over empty descriptors, wherever they point', () =>
    withRing(layout, memory(), {}, (rig) => {
      const empty = { address: 2n ** 64n - 1n, length: 0 };
      const one = { address: LOW.guestAddress, length: 1 };
      for (const elements of [
        [empty],
        [empty, one, empty, { ...one, writable: true }, { ...empty, writable: true }],
        [
          { ...empty, writable: true },
          { ...one, writable: true },
        ],
      ]) {
        const head = rig.pass(elements);
        assert.ok(head >= 0, `fault ${head}`);
        rig.compare(elements.filter(({ length }) => length > 0));
        assert.equal(rig.chain.descriptors, elements.length, 'they count as what they cost');
        rig.device.push(head, 0);
        rig.device.publish();
        rig.driver.take();
      }
    }));

  it('takes the longest request that the device announces, in the smallest ring that holds it', () =>
    withRing(layout, memory(), { size: 128 }, (rig) => {
      const elements: Element[] = [{ address: LOW.guestAddress, length: 16 }];
      // Each data segment crosses a window.
      for (let i = 0; i < DATA_SEGMENTS_MAX; i++) {
        elements.push({ address: LOW.guestAddress + (1 + (i % 15)) * WINDOW - 256, length: 512, writable: true });
      }
      elements.push({ address: LOW.guestAddress + 16, length: 1, writable: true });
      rig.expect(elements);
    }));

  it('chains that are given up, the last first, are there again', () => {
    for (const size of layout.sizes.filter((size) => size >= 8 && size <= 256)) {
      for (const start of [0, 65_530]) {
        withRing(layout, memory(), { size, start }, (rig) => {
          const element = { address: LOW.guestAddress, length: 8, writable: true };
          const chains = [1, 2, 3, 1].map((count) => Array.from({ length: count }, () => element));
          for (let round = 0; round < 3 * size; round++) {
            const heads = chains.map((elements) => rig.driver.add(elements));
            rig.driver.publish();
            const taken = heads.slice(0, round % 5);
            for (const head of taken) assert.equal(rig.pop(), head);
            for (const head of [...taken].reverse()) rig.device.unpop(head);
            for (const [index, head] of heads.entries()) {
              assert.equal(rig.pop(), head);
              rig.compare(chains[index]!);
            }
            assert.equal(rig.pop(), Pop.EMPTY);
            for (const head of heads) rig.device.push(head, 8);
            rig.device.publish();
            for (const head of heads) assert.deepEqual(rig.driver.take(), { head, written: 8 });
          }
        });
      }
    }
  });
}
