/** Drivers that break the rules: each gets the fault that names what it did, and nothing is touched. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { POP_FAULTS, Pop } from '../../src/virtio/virtqueue.js';
import { TestMemory } from '../support/guest-memory.js';
import type { Element, VirtqueueLayout } from './virtqueue-layout.js';
import { HOLE, LOW, NEXT, TOP, WINDOW, withRing } from './virtqueue-rig.js';

const good: Element = { address: LOW.guestAddress, length: 1 };
const U32_MAX = 2 ** 32 - 1;
const LAST = 2n ** 64n - 1n;

export function hostileTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const answer = (elements: readonly Element[], setup = {}): number => {
    let result = 0;
    withRing(layout, memory(), setup, (rig) => {
      result = rig.pass(elements);
      assert.ok(result >= 0 || POP_FAULTS[result] !== undefined, `${result} is no fault`);
    });
    return result;
  };

  for (const size of layout.sizes) {
    it(`names what is wrong with a broken ring of ${size}`, () => {
      for (const start of [0, 65_534]) {
        for (let i = 0, more = true; more; i++) {
          withRing(layout, memory(), { size, start }, (rig) => {
            rig.expect([good]);
            const corruptions = rig.driver.corruptions(good);
            const { name, faults, apply } = corruptions[i]!;
            apply();
            const result = rig.popAll();
            assert.ok(faults.includes(result), `${name}: ${POP_FAULTS[result] ?? result}`);
            more = i + 1 < corruptions.length;
          });
        }
      }
    });
  }

  it('gives the chains before a broken one', () =>
    withRing(layout, memory(), {}, (rig) => {
      const first = rig.driver.add([good]);
      rig.driver.add([{ address: HOLE, length: 1 }]);
      rig.driver.publish();
      assert.equal(rig.pop(), first);
      assert.equal(rig.pop(), Pop.ADDRESS_INVALID);
      rig.device.push(first, 3);
      rig.device.publish();
      assert.deepEqual(rig.driver.take(), { head: first, written: 3 });
    }));

  it('does not take a head again before its chain is published, given back or not', () =>
    withRing(layout, memory(), { size: 4 }, (rig) => {
      const again = rig.driver.corruptions(good).find(({ name }) => name.includes('twice'))!;
      again.apply();
      const head = rig.pop();
      assert.ok(head >= 0);
      rig.device.push(head, 0);
      assert.equal(rig.pop(), Pop.HEAD_IN_FLIGHT);
    }));

  it('refuses what is no guest memory, wholly or in part', () => {
    const outside: [bigint | number, number][] = [
      [HOLE, 1],
      [HOLE - 1, 2],
      [LOW.guestAddress - 1, 1],
      [LOW.guestAddress - 1, 2],
      [LOW.guestAddress - 1, LOW.size],
      [LOW.guestAddress, LOW.size + NEXT.size + 1],
      [LOW.guestAddress, U32_MAX],
      [NEXT.guestAddress + 1, NEXT.size],
      [0, 1],
      [0, U32_MAX],
      [TOP.guestAddress, TOP.size + 1],
      [TOP.guestAddress + TOP.size - 1, U32_MAX],
      [2n ** 52n, 1],
      [2n ** 52n - 1n, 2],
      [2n ** 53n + 1n, 1],
      [2n ** 63n, U32_MAX],
      [LAST, 1],
      [LAST, U32_MAX],
      [LAST - 15n, 16],
      [LAST - BigInt(U32_MAX) + 1n, U32_MAX],
      // The lower half alone would be in a region, and so would the sum without its carry.
      [2n ** 32n + BigInt(LOW.guestAddress), 16],
      [2n ** 52n + BigInt(LOW.guestAddress), 16],
      [2n ** 63n + BigInt(LOW.guestAddress), 16],
      [2n ** 64n - 16n, LOW.guestAddress + 32],
    ];
    for (const [address, length] of outside) {
      for (const writable of [false, true]) {
        assert.equal(answer([{ address, length, writable }]), Pop.ADDRESS_INVALID, `${address}, ${length}`);
        assert.equal(answer([good, { address, length, writable }]), Pop.ADDRESS_INVALID, `${address}, ${length}`);
      }
    }
  });

  it('takes a piece of 4 GiB less one, and several of them', () => {
    const size = 5 * 2 ** 30;
    const large = new TestMemory([{ guestAddress: 2 ** 40, size }], 2 ** 30);
    try {
      withRing(layout, large, {}, (rig) => {
        const piece = { address: 2 ** 40 + 5, length: U32_MAX };
        rig.expect([piece]);
        rig.expect([piece, piece, { ...piece, writable: true }, { ...piece, writable: true }]);
        assert.equal(rig.pass([{ address: 2 ** 40 + size - U32_MAX + 1, length: U32_MAX }]), Pop.ADDRESS_INVALID);
      });
    } finally {
      large.release();
    }
  });

  it('finds nothing in a guest without memory', () => {
    const none = new TestMemory([], WINDOW);
    withRing(layout, none, {}, (rig) => assert.equal(rig.pass([{ address: 0, length: 1 }]), Pop.ADDRESS_INVALID));
    none.release();
  });

  it('refuses readable descriptors after writable ones', () => {
    const writable = { ...good, writable: true };
    assert.equal(answer([writable, good]), Pop.DIRECTION_INVALID);
    assert.equal(answer([good, writable, good, writable]), Pop.DIRECTION_INVALID);
    assert.equal(answer([good, writable, { ...good, length: 0 }]), Pop.DIRECTION_INVALID);
  });

  it('refuses more pieces than a chain may have, cut or not', () => {
    const many = (count: number, address = LOW.guestAddress) =>
      Array.from({ length: count }, () => ({ address, length: 2, writable: true }));
    const setup = { size: 1024 };
    assert.ok(answer(many(CHAIN_SEGMENTS_MAX), setup) >= 0);
    assert.equal(answer(many(CHAIN_SEGMENTS_MAX + 1), setup), Pop.SEGMENTS_EXCEEDED);
    const crossing = LOW.guestAddress + WINDOW - 1;
    assert.ok(answer(many(CHAIN_SEGMENTS_MAX / 2, crossing), setup) >= 0);
    assert.equal(answer(many(CHAIN_SEGMENTS_MAX / 2 + 1, crossing), setup), Pop.SEGMENTS_EXCEEDED);
    const empty = (count: number) => many(count).map((element) => ({ ...element, length: 0 }));
    assert.ok(answer(empty(CHAIN_SEGMENTS_MAX), setup) >= 0);
    assert.equal(answer(empty(CHAIN_SEGMENTS_MAX + 1), setup), Pop.SEGMENTS_EXCEEDED, 'empty ones take time too');
  });

  it('throws nothing and hangs nowhere, whatever was broken before', () => {
    // After a fault a queue is not used; a device that did all the same would get faults, not crash.
    for (let i = 0, more = true; more; i++) {
      withRing(layout, memory(), { size: 16 }, (rig) => {
        const corruptions = rig.driver.corruptions(good);
        corruptions[i]!.apply();
        for (let j = 0; j < 200; j++) rig.pop();
        rig.device.publish();
        more = i + 1 < corruptions.length;
      });
    }
  });
}
