/** Indirect descriptors. VIRTIO 1.3, 2.7.5.3 and 2.8.7 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { TestMemory } from '../support/guest-memory.js';
import type { Element, VirtqueueLayout } from './virtqueue-layout.js';
import { HOLE, LOW, NEXT, type RingRig, TOP, WINDOW, withRing } from './virtqueue-rig.js';

const TABLE = LOW.guestAddress + 0x8000;
const DESCRIPTOR_BYTES = 16;

const readable: Element = { address: LOW.guestAddress + 64, length: 16 };
const data: Element = { address: NEXT.guestAddress - 100, length: 4096, writable: true };
const status: Element = { address: LOW.guestAddress + WINDOW - 1, length: 1, writable: true };
const usual = [readable, data, status];

/** Writes a table into the guest's memory; returns the descriptor that refers to it. */
function tableAt(rig: RingRig, address: number, elements: readonly Element[], over: Partial<Element> = {}): Element {
  const bytes = rig.driver.table(elements);
  rig.memory.write(address, bytes);
  return { address, length: bytes.length, indirect: true, ...over };
}

/** Passes `before` and a table through the ring, which is to give the same chain as if there were no table. */
function expectSame(rig: RingRig, before: readonly Element[], reference: Element, elements: readonly Element[]): void {
  const head = rig.pass([...before, reference]);
  assert.ok(head >= 0, `fault ${head}`);
  rig.compare([...before, ...elements]);
  rig.device.push(head, 1);
  rig.device.publish();
  assert.deepEqual(rig.driver.take(), { head, written: 1 });
}

export function indirectTests(layout: VirtqueueLayout, memory: () => TestMemory): void {
  const on =
    (test: (rig: RingRig) => void, setup = {}) =>
    () =>
      withRing(layout, memory(), setup, test);
  /** What `pop` says of one chain, on a fresh ring. */
  const answer = (elements: (rig: RingRig) => readonly Element[], setup = {}): number => {
    let result = 0;
    withRing(layout, memory(), setup, (rig) => {
      result = rig.pass(elements(rig));
    });
    return result;
  };

  it('follows a table, in rings of every size', () => {
    for (const size of layout.sizes) {
      withRing(layout, memory(), { size, start: 65_535 }, (rig) => {
        for (let i = 0; i < 5; i++) expectSame(rig, [], tableAt(rig, TABLE, usual), usual);
      });
    }
  });

  it(
    layout.linkedTables
      ? 'follows a table after any number of other descriptors'
      : 'refuses a table after other descriptors',
    on((rig) => {
      if (!layout.linkedTables) {
        const table = tableAt(rig, TABLE, usual);
        assert.equal(rig.pass([readable, table]), Pop.INDIRECT_INVALID);
        return;
      }
      for (let count = 0; count < 100; count++) {
        const before = Array.from({ length: count }, (_, i) => ({ ...readable, length: i + 1 }));
        expectSame(rig, before, tableAt(rig, TABLE, usual), usual);
      }
      expectSame(rig, [readable, data], tableAt(rig, TABLE, [status]), [status]);
    }),
  );

  it(
    'ignores the write flag of the descriptor that refers to a table',
    on((rig) => {
      const before = layout.linkedTables ? [readable] : [];
      expectSame(rig, before, tableAt(rig, TABLE, usual, { writable: true }), usual);
    }),
  );

  it(
    'finds a table wherever it lies: at any byte, across windows, across regions, at the end of all addresses',
    on((rig) => {
      const bytes = usual.length * DESCRIPTOR_BYTES;
      for (let shift = 0; shift < 17; shift++) expectSame(rig, [], tableAt(rig, TABLE + shift, usual), usual);
      for (let before = 0; before <= bytes; before++) {
        expectSame(rig, [], tableAt(rig, LOW.guestAddress + 2 * WINDOW - before, usual), usual);
        expectSame(rig, [], tableAt(rig, NEXT.guestAddress - before, usual), usual);
      }
      expectSame(rig, [], tableAt(rig, TOP.guestAddress + TOP.size - bytes, usual), usual);
    }),
  );

  it(
    'follows tables that share the ring with others in flight',
    on((rig) => {
      const tables = Array.from({ length: 64 }, (_, i) => [{ ...readable, length: i + 1 }, data, status]);
      const heads = tables.map((elements, i) => rig.driver.add([tableAt(rig, TABLE + i * 48, elements)]));
      rig.driver.publish();
      for (const [i, elements] of tables.entries()) {
        assert.equal(rig.pop(), heads[i]);
        rig.compare(elements);
      }
    }),
  );

  it('takes tables with as many descriptors as a chain may have, of as many bytes as they like', () => {
    const elements = (count: number): Element[] =>
      Array.from({ length: count }, (_, i) => ({
        address: LOW.guestAddress + i,
        length: 1,
        writable: i % 2 === 0 && i > 200,
      })).sort((a, b) => Number(a.writable) - Number(b.writable));
    for (const count of [1, 2, CHAIN_SEGMENTS_MAX - 1, CHAIN_SEGMENTS_MAX]) {
      for (const address of [TABLE, TABLE + 7, NEXT.guestAddress - 8 * count]) {
        withRing(layout, memory(), { size: 4 }, (rig) => {
          expectSame(rig, [], tableAt(rig, address, elements(count)), elements(count));
        });
      }
    }
    const long = CHAIN_SEGMENTS_MAX + 1;
    assert.equal(
      answer((rig) => [tableAt(rig, TABLE, elements(long))]),
      Pop.SEGMENTS_EXCEEDED,
    );
    assert.equal(
      answer((rig) => [tableAt(rig, NEXT.guestAddress - 999, elements(4000))]),
      Pop.SEGMENTS_EXCEEDED,
    );
  });

  it(
    'takes a short chain in a long table, or none longer than a chain may be',
    on((rig) => {
      if (!layout.linkedTables) {
        // All of it is the chain: a long one is refused before it is read, empty descriptors or not.
        rig.memory.write(TABLE, Buffer.alloc(512 * 1024));
        assert.equal(rig.pass([{ address: TABLE, length: 512 * 1024, indirect: true }]), Pop.SEGMENTS_EXCEEDED);
        return;
      }
      const table = tableAt(rig, TABLE, usual);
      for (const length of [4096, 4096 + 16, 64 * 1024, 512 * 1024]) expectSame(rig, [], { ...table, length }, usual);
    }),
  );

  it('refuses tables that were not negotiated', () => {
    assert.equal(
      answer((rig) => [tableAt(rig, TABLE, usual)], { indirect: false }),
      Pop.INDIRECT_INVALID,
    );
    assert.equal(
      answer((rig) => [readable, tableAt(rig, TABLE, usual)], { indirect: false }),
      Pop.INDIRECT_INVALID,
    );
  });

  it('refuses a table with a next descriptor', () => {
    assert.equal(
      answer((rig) => [tableAt(rig, TABLE, usual), readable]),
      Pop.INDIRECT_INVALID,
    );
    assert.equal(
      answer((rig) => [tableAt(rig, TABLE, usual, { dangling: true })]),
      Pop.INDIRECT_INVALID,
    );
  });

  it('refuses a table within a table, or ignores the flag that would make one', () => {
    if (!layout.linkedTables) {
      // WRITE is the only flag that means something in a table; the others are ignored. VIRTIO 1.3, 2.8.7
      withRing(layout, memory(), {}, (rig) => {
        const flagged = [{ ...readable, indirect: true, dangling: true }, data, { ...status, dangling: true }];
        expectSame(rig, [], tableAt(rig, TABLE, flagged), usual);
      });
      return;
    }
    assert.equal(
      answer((rig) => {
        const inner = tableAt(rig, TABLE + 4096, usual);
        return [tableAt(rig, TABLE, [readable, inner])];
      }),
      Pop.INDIRECT_INVALID,
    );
    // A table that refers to itself.
    assert.equal(
      answer((rig) => [tableAt(rig, TABLE, [{ address: TABLE, length: 16, indirect: true }])]),
      Pop.INDIRECT_INVALID,
    );
  });

  it('refuses tables of no whole number of descriptors, and empty ones', () => {
    for (const length of [0, 1, 8, 15, 17, 24, 40, 47, 49, 56, 2 ** 32 - 8, 2 ** 32 - 1]) {
      assert.equal(
        answer((rig) => [tableAt(rig, TABLE, usual, { length })]),
        Pop.INDIRECT_INVALID,
        `${length} bytes`,
      );
    }
  });

  it('refuses tables that are no guest memory', () => {
    const at = (address: number | bigint, length = 48) => answer(() => [{ address, length, indirect: true }]);
    for (const address of [HOLE, HOLE - 16, HOLE - 47, 0, TOP.guestAddress + TOP.size - 32, 2 ** 52]) {
      assert.equal(at(address), Pop.ADDRESS_INVALID, `at ${address}`);
    }
    for (const address of [2n ** 52n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 16n, 2n ** 64n - 48n]) {
      assert.equal(at(address), Pop.ADDRESS_INVALID, `at ${address}`);
    }
    assert.equal(at(HOLE - 16, 2 ** 32 - 16), Pop.ADDRESS_INVALID);
    assert.equal(at(2n ** 64n - 16n, 2 ** 32 - 16), Pop.ADDRESS_INVALID);
  });

  it('refuses a linked table that ends in a descriptor of none', () => {
    if (!layout.linkedTables) return;
    const elements = [readable, { ...status, dangling: true }];
    const result = answer((rig) => [tableAt(rig, TABLE, elements)]);
    // A chain that goes on at 0 goes round; where there is no `next`, it goes on beyond the table.
    assert.ok([Pop.CHAIN_TOO_LONG, Pop.NEXT_OUT_OF_RANGE, Pop.DIRECTION_INVALID].some((fault) => fault === result));
  });
}
