/** Chains taken and given back in bursts: exactly those, and in the order, that they would be one by one. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Burst } from '../../src/virtio/burst.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import { TestMemory } from '../support/guest-memory.js';
import { Random, SEED, seeded } from '../support/seed.js';
import type { Element, RingSetup, VirtqueueLayout } from './virtqueue-layout.js';
import { HOLE, LOW, NEXT, TOP, WINDOW, withRing } from './virtqueue-rig.js';
import { type Twins, withTwins } from './virtqueue-twins.js';

/** Where the indices of all layouts have wrapped. */
const ROUND = 65_536;
const TABLE = LOW.guestAddress + 0x8000;

const readable: Element = { address: LOW.guestAddress + 5, length: 9 };
const writable: Element = { address: NEXT.guestAddress, length: WINDOW, writable: true };

/** What is in one piece, and what is not, or is no memory: as its single descriptor says it. */
const ONE_PIECE: Omit<Element, 'writable'>[] = [
  { address: LOW.guestAddress, length: 1 },
  { address: LOW.guestAddress + WINDOW - 1, length: 1 },
  { address: LOW.guestAddress + WINDOW, length: WINDOW },
  { address: NEXT.guestAddress + NEXT.size - 7, length: 7 },
  { address: TOP.guestAddress, length: TOP.size },
  { address: TOP.guestAddress + TOP.size - 1, length: 1 },
];
const OTHERWISE: Omit<Element, 'writable'>[] = [
  { address: LOW.guestAddress + WINDOW - 1, length: 2 },
  { address: LOW.guestAddress, length: LOW.size },
  { address: NEXT.guestAddress - 1, length: 2 },
  { address: HOLE, length: 1 },
  { address: HOLE - 1, length: 2 },
  { address: LOW.guestAddress - 1, length: 1 },
  { address: LOW.guestAddress, length: 2 ** 32 - 1 },
  { address: 0, length: 0 },
  { address: 2 ** 52, length: 1 },
  { address: 2 ** 52 - 1, length: 2 },
  { address: 2n ** 64n - 1n, length: 0 },
  { address: 2n ** 64n - 1n, length: 1 },
  { address: 2n ** 63n, length: 2 ** 32 - 1 },
  { address: 2n ** 32n + BigInt(LOW.guestAddress), length: 16 },
  { address: 2n ** 53n + BigInt(LOW.guestAddress) + 1n, length: 16 },
];

/** A descriptor that may be anything. */
function senseless(random: Random): Element {
  const { address, length } = random.pick(random.chance(0.8) ? ONE_PIECE : OTHERWISE);
  return { address, length: random.chance(0.1) ? 16 * random.below(4) : length };
}

/** Drives chains of all kinds through both rings, at random, until `count` have come back. */
function drive(twins: Twins, count: number, random: Random): void {
  const free = () => twins.bursts.driver.free;
  let returned = 0;
  while (returned < count) {
    for (let some = random.chance(0.2) ? free() : random.below(24); some > 0 && free() > 0; some--) {
      const one = { ...random.pick(ONE_PIECE), writable: random.chance(0.7) };
      if (free() > 1 && random.chance(0.1)) twins.add([{ ...one, writable: false }, writable]);
      else if (random.chance(0.05)) twins.add([{ address: NEXT.guestAddress - 3, length: 5, writable: true }]);
      else twins.add([one]);
    }
    twins.publish();
    const end = twins.drain(random, 32, (taken) => {
      for (let i = 0; i < taken; i++) twins.burst.written[i] = random.word();
      const middle = random.below(taken + 1);
      twins.pushBurst(0, middle);
      if (random.chance(0.3)) returned += twins.settle();
      twins.pushBurst(middle, taken);
    });
    assert.equal(end, Pop.EMPTY);
    returned += twins.settle();
    assert.equal(twins.bursts.device.waiting(), 0);
    assert.equal(twins.bursts.device.base, twins.single.device.base);
  }
}

export function burstTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const on = (setup: Partial<RingSetup>, test: (twins: Twins) => void) => withTwins(layout, memory(), setup, test);

  for (const size of layout.sizes.filter((size) => size <= 1024)) {
    it(`take the same as pop in a ring of ${size}, all the way round`, () => {
      const setup = { size, start: ROUND - 3, eventIdx: size % 3 === 1 };
      seeded(size, (random) =>
        on(setup, (twins) => {
          drive(twins, ROUND + 2 * size, random);
          assert.ok(twins.inBursts > ROUND / 8, `${twins.inBursts}`);
        }),
      );
    });
  }

  it('take a full ring at once, and no more than they may', () => {
    for (const size of layout.sizes.filter((size) => size <= 32)) {
      for (const start of [0, size - 1, ROUND - 1]) {
        on({ size, start }, (twins) => {
          for (const limit of [size, 1, 3, 0]) {
            for (let i = 0; i < size; i++) twins.add([writable]);
            assert.equal(twins.bursts.device.popBurst(twins.burst, 32, true), 0, 'nothing is published');
            twins.publish();
            for (let left = size; left > 0 && limit > 0; ) {
              const count = twins.popBurst(limit, true);
              assert.equal(count, Math.min(limit, left));
              twins.pushBurst(0, count);
              left -= count;
            }
            if (limit === 0) {
              assert.equal(twins.popBurst(0, true), 0);
              assert.equal(twins.popBurst(32, true), size);
              twins.pushBurst(0, size);
            }
            assert.equal(twins.popBurst(32, true), 0);
            assert.equal(twins.pop(), Pop.EMPTY);
            assert.equal(twins.settle(), size);
          }
        });
      }
    }
  });

  it('stop before what is not one piece of the kind asked for, which pop gives or refuses', () => {
    const table = (driver: { table(elements: readonly Element[]): Buffer }, elements: readonly Element[]): Element => {
      const bytes = driver.table(elements);
      memory().write(TABLE, bytes);
      return { address: TABLE, length: bytes.length, indirect: true };
    };
    for (const wanted of [false, true]) {
      const good: Element = wanted ? writable : readable;
      for (const position of [0, 1, 5]) {
        const stop = (name: string, elements: (twins: Twins) => readonly Element[], setup: Partial<RingSetup> = {}) =>
          on({ size: 16, start: ROUND - 4, ...setup }, (twins) => {
            for (let i = 0; i < position; i++) twins.add([good]);
            twins.add(elements(twins));
            twins.add([good]);
            twins.publish();
            assert.equal(twins.popBurst(32, wanted), position, name);
            assert.equal(twins.popBurst(32, wanted), 0, name);
            if (twins.pop() >= 0) assert.equal(twins.popBurst(32, wanted), 1, name);
          });
        stop('two descriptors', () => [good, good]);
        stop('one of each kind', () => [readable, writable]);
        stop('the other kind', () => [wanted ? readable : writable]);
        for (const indirect of [true, false]) {
          stop('a table', ({ bursts }) => [table(bursts.driver, [good])], { indirect });
          stop('a table to write', ({ bursts }) => [{ ...table(bursts.driver, [good]), writable: true }], { indirect });
        }
        for (const element of OTHERWISE) {
          stop(`${element.address}, ${element.length}`, () => [{ ...element, writable: wanted }]);
        }
      }
      for (const element of ONE_PIECE) {
        on({ size: 16 }, (twins) => {
          for (const one of [good, { ...element, writable: wanted }, good]) twins.add([one]);
          twins.publish();
          assert.equal(twins.popBurst(32, wanted), 3, `${element.address}, ${element.length}`);
        });
      }
    }
  });

  it('tell addresses apart whose lower halves are alike', () => {
    const edge = 2 ** 32;
    const regions = [
      { guestAddress: edge - WINDOW / 2, size: WINDOW },
      { guestAddress: 3 * edge + WINDOW / 4, size: WINDOW / 2 },
    ];
    const around = new TestMemory(regions, WINDOW);
    try {
      seeded(0, (random) =>
        withTwins(layout, around, { size: 64 }, (twins) => {
          const near = () => {
            const high = random.pick([0, 1, 1, 2, 3, 4]) * edge;
            const low = random.below(WINDOW) - WINDOW / 2;
            return { address: Math.max(0, high + low), length: random.pick([0, 1, 64, WINDOW / 4]), writable: true };
          };
          const good = { address: edge - WINDOW / 2, length: 64, writable: true };
          for (let round = 0; round < 3000; round++) {
            twins.add([good]);
            twins.add([near()]);
            twins.publish();
            const count = twins.popBurst(32, true);
            twins.pushBurst(0, count);
            // A ring is not used after a fault, but this one is not broken.
            if (count < 2) twins.pop();
            if (count < 2) twins.push(twins.bursts.chain.head, 0);
            assert.equal(twins.settle(), 2);
          }
        }),
      );
    } finally {
      around.release();
    }
  });

  it('see the same faults of a broken ring as pop', () => {
    for (const size of layout.sizes.filter((size) => size <= 1024)) {
      for (const start of [0, ROUND - 2]) {
        for (let i = 0, more = true; more; i++) {
          on({ size, start }, (twins) => {
            let faults: readonly number[] = [];
            twins.drivers((driver) => {
              const corruptions = driver.corruptions(readable);
              faults = corruptions[i]!.faults;
              corruptions[i]!.apply();
              more = i + 1 < corruptions.length;
            });
            let head: number;
            do {
              while (twins.popBurst(32, false) > 0);
              head = twins.pop();
            } while (head >= 0);
            assert.ok(faults.includes(head), `fault ${head}`);
          });
        }
      }
    }
  });

  it(`and pop after them take from any ring what pop alone takes, up to the same end (seed ${SEED})`, () => {
    let chains = 0;
    const ends = new Set<number>();
    for (let round = 0; round < 4000; round++) {
      seeded(round, (random) => {
        const size = random.pick(layout.sizes.filter((size) => size <= 64));
        const seed = random.word();
        on({ size, start: random.pick([0, 1, ROUND - 3, 40]), indirect: random.chance(0.5) }, (twins) => {
          // Of the same numbers each.
          twins.drivers((driver) => {
            const own = new Random(seed);
            driver.scribble(own, () => senseless(own));
          });
          ends.add(twins.drain(random));
          chains += twins.inBursts;
        });
      });
    }
    assert.ok(chains > 1000, `${chains} chains came in bursts`);
    assert.ok(ends.size > 4, `ends: ${[...ends]}`);
  });

  it('that are given up in part, the last first, are there again', () => {
    for (const size of layout.sizes.filter((size) => size >= 8 && size <= 256)) {
      seeded(size, (random) =>
        on({ size, start: ROUND - 5 }, (twins) => {
          const { bursts, single, burst } = twins;
          for (let round = 0; round < 100 + 2 * size; round++) {
            while (bursts.driver.free > 0 && random.chance(0.9)) twins.add([random.chance(0.9) ? writable : readable]);
            twins.publish();
            const count = twins.popBurst(random.below(33), true);
            const kept = random.below(count + 1);
            for (let i = count; i > kept; i--) for (const rig of [bursts, single]) rig.device.unpop(burst.head[i - 1]!);
            assert.equal(bursts.device.base, single.device.base);
            twins.pushBurst(0, kept);
            if (random.chance(0.5)) twins.settle();
            assert.equal(twins.popBurst(count - kept, true), count - kept);
            twins.pushBurst(0, count - kept);
            if (count === 0 && twins.pop() >= 0) twins.push(bursts.chain.head, 1);
            if (random.chance(0.5)) twins.settle();
          }
        }),
      );
    }
  });

  it('do not ask for kicks, however long they poll', () => {
    for (const eventIdx of [false, true]) {
      for (const size of [1, 4, 256]) {
        on({ size, eventIdx, start: ROUND - 1 }, (twins) => {
          for (const { device } of [twins.bursts, twins.single]) device.suppressKicks();
          for (let added = 0; added < 3 * ROUND; added += size) {
            for (let i = 0; i < size; i++) twins.add([writable]);
            for (const { driver } of [twins.bursts, twins.single])
              assert.equal(driver.publish(), false, `a kick after ${added}`);
            for (let left = size; left > 0; ) {
              const count = twins.popBurst(Math.min(32, left), true);
              twins.pushBurst(0, count);
              left -= count;
            }
            twins.settle();
          }
        });
      }
    }
  });

  it('leave a chain in flight alone', () =>
    withRing(layout, memory(), { size: 8 }, (rig) => {
      const again = rig.driver.corruptions(readable).find(({ name }) => name.includes('twice'))!;
      again.apply();
      const burst = new Burst(8);
      assert.equal(rig.device.popBurst(burst, 8, false), 1);
      assert.equal(rig.device.popBurst(burst, 8, false), 0);
      rig.device.push(burst.head[0]!, 0);
      assert.equal(rig.device.popBurst(burst, 8, false), 0);
      assert.equal(rig.pop(), Pop.HEAD_IN_FLIGHT);
    }));
}
