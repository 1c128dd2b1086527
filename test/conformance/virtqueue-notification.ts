/**
 * Kicks and calls: asked for and suppressed, held against the standard's rule, and with both ends stepping in between each
 * other's accesses. VIRTIO 1.3, 2.7.7, 2.7.10 and 2.8.10
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { TestMemory } from '../support/guest-memory.js';
import { seeded } from '../support/seed.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { countMoments, interleave, placements } from './virtqueue-moments.js';
import { LOW, type RingRig, withRing } from './virtqueue-rig.js';

const one = [{ address: LOW.guestAddress, length: 1 }];

/** Where the indices of all layouts have wrapped. */
const ROUND = 65_536;
/** Ring positions around which something wraps. */
const STARTS = [0, 1, 3, 4, 5, 32_766, 32_767, 32_768, 65_532, 65_533, 65_534, 65_535];

/** Has `count` chains in flight. */
function take(rig: RingRig, count: number): number[] {
  for (let i = 0; i < count; i++) rig.driver.add(one);
  rig.driver.publish();
  return Array.from({ length: count }, () => {
    const head = rig.pop();
    assert.ok(head >= 0, `fault ${head}`);
    return head;
  });
}

function giveBack(rig: RingRig, heads: readonly number[]): boolean {
  for (const head of heads) rig.device.push(head, 0);
  const called = rig.device.publish();
  for (let i = 0; i < heads.length; i++) rig.driver.take();
  return called;
}

export function notificationTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const size = 4;

  for (const eventIdx of [false, true]) {
    const how = eventIdx ? 'by event index' : 'by flag';

    it(`calls when asked, and not when not (${how})`, () => {
      for (const start of STARTS) {
        withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
          for (let round = 0; round < 20; round++) {
            rig.driver.suppressCalls();
            assert.equal(giveBack(rig, take(rig, 1 + (round % size))), false);
            assert.equal(rig.driver.requestCalls(), false);
            assert.equal(rig.device.publish(), false, 'a call for nothing');
            assert.equal(giveBack(rig, take(rig, 1 + (round % size))), true);
          }
        });
      }
    });

    it(`gets a kick when it asks, and none when it polls (${how})`, () => {
      for (const start of STARTS) {
        withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
          for (let round = 0; round < 20; round++) {
            const count = 1 + (round % size);
            rig.device.suppressKicks();
            for (let i = 0; i < count; i++) rig.driver.add(one);
            assert.equal(rig.driver.publish(), false, 'a kick though the ring is polled');
            assert.equal(rig.device.requestKicks(), true, 'the chain that is there already is overlooked');
            rig.device.suppressKicks();
            giveBack(
              rig,
              Array.from({ length: count }, () => rig.pop()),
            );
            assert.equal(rig.device.requestKicks(), false);
            for (let i = 0; i < count; i++) rig.driver.add(one);
            assert.equal(rig.driver.publish(), true, 'no kick though the device sleeps');
            giveBack(
              rig,
              Array.from({ length: count }, () => rig.pop()),
            );
          }
        });
      }
    });

    it(`is never kicked while it polls, however long, in any size (${how})`, () => {
      for (const ringSize of layout.sizes) {
        withRing(layout, memory(), { size: ringSize, eventIdx, start: ROUND - 1 }, (rig) => {
          const { driver, device, chain } = rig;
          rig.device.suppressKicks();
          for (let added = 0; added < 3 * ROUND; ) {
            while (driver.free > 0) {
              driver.add(one);
              added++;
            }
            assert.equal(driver.publish(), false, `a kick after ${added} chains`);
            // The device takes all, and the driver has filled the ring again before it looks.
            let head = device.pop(chain);
            assert.ok(head >= 0, `fault ${head}`);
            for (let i = 1; head >= 0; i++) {
              device.push(head, 0);
              head = i < ringSize ? device.pop(chain) : -1;
            }
            device.publish();
            while (driver.take() !== undefined);
          }
        });
      }
    });
  }

  it('calls for the chain that the driver waits for, all small cases', () => {
    // Having asked for the chain after `skip` more, the driver is called by the batch that contains it, and by no other.
    for (const start of STARTS) {
      for (let skip = 0; skip < 6; skip++) {
        for (let first = 1; first <= size; first++) {
          for (let second = 1; second <= size; second++) {
            withRing(layout, memory(), { size, start }, (rig) => {
              assert.equal(rig.driver.requestCalls(skip), false);
              const batches = [first, second, size, size];
              let before = 0;
              for (const batch of batches) {
                const passed = Array.from({ length: batch }, (_, i) => (before + i) % layout.eventPeriod(size));
                assert.equal(giveBack(rig, take(rig, batch)), passed.includes(skip));
                before += batch;
              }
            });
          }
        }
      }
    }
  });

  for (const eventIdx of [false, true]) {
    it(`tells later whether the driver still wants a call, for whatever it has published (${eventIdx ? 'by event index' : 'by flag'})`, () =>
      seeded(1, (random) =>
        withRing(layout, memory(), { size: 16, eventIdx, start: random.pick(STARTS) }, (rig) => {
          const { device, driver } = rig;
          // In chains, each of one descriptor: where the wait began, what is published, what is taken, what is asked for.
          let [from, published, taken, event] = [0, 0, 0, 0];
          // What the driver asked for long ago comes round again: the device cannot tell, and calls.
          const period = layout.eventPeriod(16);
          const passes = (begin: number, end: number) => (((event - begin) % period) + period) % period < end - begin;
          driver.requestCalls();
          let start = device.published();
          const chains = device.publishedChains();
          for (let step = 0; step < 2000; step++) {
            const heads = take(rig, random.below(5));
            for (const head of heads) device.push(head, 0);
            const asked = eventIdx ? passes(published, published + heads.length) : heads.length > 0;
            assert.equal(device.publish(), asked);
            published += heads.length;
            assert.equal(device.publishedSince(start), published - from);
            assert.equal((device.publishedChains() - chains) & 0xffff, published);
            if (random.chance(0.5)) while (driver.take() !== undefined) taken++;
            if (random.chance(0.5)) {
              const skip = eventIdx ? random.below(4) : 0;
              driver.requestCalls(skip);
              event = taken + skip;
            }
            const wants = !eventIdx || passes(from, published);
            assert.equal(device.stillWants(start), wants, `step ${step}: ${event} of ${from} … ${published}`);
            // A ring's size is as much as may wait.
            while (published - taken > 8 && driver.take() !== undefined) taken++;
            if (published - from > 8 || random.chance(0.2)) {
              from = published;
              start = device.published();
            }
          }
        }),
      ));
  }

  it('calls once for what the driver asked, then not again for a whole round', () =>
    seeded(1, (random) =>
      withRing(layout, memory(), { size: 64 }, (rig) => {
        rig.driver.requestCalls(9);
        const round = layout.eventPeriod(64);
        let calls = 0;
        for (let count = 0; count < round; ) {
          const batch = Math.min(1 + random.below(64), round - count);
          if (giveBack(rig, take(rig, batch))) calls++;
          count += batch;
        }
        assert.equal(calls, 1);
        assert.equal(giveBack(rig, take(rig, 9)), false);
        assert.equal(giveBack(rig, take(rig, 1)), true);
      }),
    ));

  for (const eventIdx of [false, true]) {
    const how = eventIdx ? 'by event index' : 'by flag';

    it(`loses no call, however its steps fall between those of a driver that goes to sleep (${how})`, () => {
      let cases = 0;
      for (const start of STARTS) {
        for (let batch = 1; batch <= size; batch++) {
          for (const asked of [false, true]) {
            for (let skip = 0; skip < (eventIdx ? batch : 1); skip++) {
              const prepare = (rig: RingRig) => {
                const heads = take(rig, size);
                if (asked) rig.driver.requestCalls();
                else rig.driver.suppressCalls();
                for (const head of heads.slice(0, batch)) rig.device.push(head, 0);
              };
              let places = 0;
              withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
                prepare(rig);
                places = countMoments(() => rig.device.publish()) + 2;
              });
              for (const placement of placements(layout.steps.requestCalls(eventIdx), places)) {
                withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
                  prepare(rig);
                  const steps = rig.driver.requestCallsInSteps(skip);
                  const { device: called, driver: seen } = interleave(() => rig.device.publish(), steps, placement);
                  assert.ok(called || seen, `the driver sleeps on (start ${start}, batch ${batch}, at ${placement})`);
                });
                cases++;
              }
            }
          }
        }
      }
      assert.ok(cases > 900);
    });

    it(`loses no kick, however its steps fall between those of a driver that adds a chain (${how})`, () => {
      let cases = 0;
      for (const start of STARTS) {
        for (let batch = 1; batch <= size; batch++) {
          for (const polled of [false, true]) {
            for (const earlier of [0, 1, 5]) {
              const prepare = (rig: RingRig) => {
                if (polled) rig.device.suppressKicks();
                for (let i = 0; i < earlier; i++) giveBack(rig, take(rig, 1));
                for (let i = 0; i < batch; i++) rig.driver.add(one);
              };
              let places = 0;
              withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
                prepare(rig);
                places = countMoments(() => rig.device.requestKicks()) + 2;
              });
              for (const placement of placements(layout.steps.publish(eventIdx), places)) {
                withRing(layout, memory(), { size, eventIdx, start }, (rig) => {
                  prepare(rig);
                  const steps = rig.driver.publishInSteps();
                  const { device: seen, driver: kicked } = interleave(
                    () => rig.device.requestKicks(),
                    steps,
                    placement,
                  );
                  assert.ok(seen || kicked, `the device sleeps on (start ${start}, batch ${batch}, at ${placement})`);
                });
                cases++;
              }
            }
          }
        }
      }
      assert.ok(cases > 900);
    });
  }

  it('asks for a kick after any number of polled chains', () => {
    for (const eventIdx of [false, true]) {
      withRing(layout, memory(), { size: 64, eventIdx }, (rig) => {
        for (let round = 0; round < 3 * (ROUND / 64) + 2; round++) {
          rig.device.suppressKicks();
          giveBack(rig, take(rig, 63));
          assert.equal(rig.device.requestKicks(), false);
          rig.driver.add(one);
          assert.equal(rig.driver.publish(), true);
          giveBack(rig, [rig.pop()]);
        }
      });
    }
  });
}
