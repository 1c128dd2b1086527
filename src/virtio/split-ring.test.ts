/** What is a split ring's own: its bytes, its indices, and where it starts. The rest is in test/conformance/virtqueue.ts. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createMemory, LOW, WINDOW } from '../../test/conformance/virtqueue-rig.js';
import { createSplitRing } from '../../test/conformance/virtqueue-split.js';
import { seeded } from '../../test/support/seed.js';
import { CHAIN_SEGMENTS_MAX, QUEUE_SIZE_MAX } from '../limits.js';
import { Chain } from './chain.js';
import { InflightLog } from './inflight-log.js';
import { DESCRIPTOR_BYTES, DescriptorFlag, RING_LAYOUTS } from './ring-layout.js';
import { SplitRing } from './split-ring.js';
import { Pop } from './virtqueue.js';

const memory = createMemory();
after(() => memory.release());

const good = { address: LOW.guestAddress, length: 1 };
const usual = { size: 8, eventIdx: true, indirect: true, start: 0 };

function make(setup: Partial<typeof usual> = {}) {
  const whole = { ...usual, ...setup };
  const ring = createSplitRing(whole);
  const words = new Int32Array(InflightLog.wordsFor(whole.size));
  const open = (resume = false) => ring.device(memory.guest, new InflightLog(words), resume);
  return { ...ring, chain: new Chain(), words, open, device: open() };
}

describe('split ring, its bytes', () => {
  it('have the sizes of the standard', () => {
    for (let size = 1; size <= QUEUE_SIZE_MAX; size *= 2) {
      const bytes = { descriptors: 16 * size, driverArea: 6 + 2 * size, deviceArea: 6 + 8 * size };
      assert.deepEqual(RING_LAYOUTS.split.bytes(size), bytes);
    }
    assert.equal(DESCRIPTOR_BYTES, 16);
    assert.deepEqual(DescriptorFlag, { NEXT: 1, WRITE: 2, INDIRECT: 4 });
  });

  it('are written where the driver looks, and nowhere else', () => {
    for (const eventIdx of [false, true]) {
      const { driver, device, chain, release } = make({ eventIdx, start: 65_534 });
      const { view, used, size } = driver;
      for (let i = 0; i < 3; i++) driver.add([good]);
      driver.publish();
      const before = Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('latin1');
      device.suppressKicks();
      const heads = [device.pop(chain), device.pop(chain), device.pop(chain)];
      for (const [i, head] of heads.entries()) device.push(head, 0x01020304 + i);
      device.publish();
      device.requestKicks();
      const expected = Buffer.from(before, 'latin1');
      // Entries 65534, 65535 and 65536 of a ring of eight, the index, and the event index or the flags.
      for (const [i, slot] of [6, 7, 0].entries()) {
        expected.writeUInt32LE(heads[i]!, used + 4 + 8 * slot);
        expected.writeUInt32LE(0x01020304 + i, used + 8 + 8 * slot);
      }
      expected.writeUInt16LE(1, used + 2);
      if (eventIdx) expected.writeUInt16LE(1, used + 4 + 8 * size);
      assert.equal(Buffer.from(view.buffer, view.byteOffset, view.byteLength).compare(expected), 0);
      device.suppressKicks();
      assert.equal(view.getUint16(used, true), eventIdx ? 0 : 1);
      release();
    }
  });

  it('leave the words of event indices alone that were not negotiated', () => {
    const { driver, device, chain, release } = make({ eventIdx: false });
    const { view, used, available, size } = driver;
    view.setUint16(used + 4 + 8 * size, 0xabcd, true);
    view.setUint16(available + 4 + 2 * size, 0, true);
    device.suppressKicks();
    device.requestKicks();
    driver.add([good]);
    driver.publish();
    driver.suppressCalls();
    device.push(device.pop(chain), 0);
    assert.equal(device.publish(), false, 'the used event counts though it was not negotiated');
    assert.equal(view.getUint16(used + 4 + 8 * size, true), 0xabcd);
    release();
  });

  it('may have other flag bits, and the flag with event indices', () => {
    const flagged = make({ eventIdx: false });
    flagged.driver.view.setUint16(flagged.driver.available, 0xfffe, true);
    flagged.driver.add([good]);
    flagged.driver.publish();
    flagged.device.push(flagged.device.pop(flagged.chain), 0);
    assert.equal(flagged.device.publish(), true);
    flagged.release();
    const indexed = make();
    indexed.driver.requestCalls();
    indexed.driver.view.setUint16(indexed.driver.available, 1, true);
    indexed.driver.add([good]);
    indexed.driver.publish();
    indexed.device.push(indexed.device.pop(indexed.chain), 0);
    assert.equal(indexed.device.publish(), true);
    indexed.release();
  });
});

describe('split ring, the rule for calls', () => {
  it('is the standard’s for every event index there is', () => {
    for (const start of [0, 1, 32_767, 65_533, 65_535]) {
      for (let batch = 1; batch <= 4; batch++) {
        const { driver, device, chain, release } = make({ start });
        const { view, available, size } = driver;
        let before = start;
        for (let event = 0; event < 65_536; event += batch === 1 ? 1 : 7) {
          for (let i = 0; i < batch; i++) driver.add([good]);
          driver.publish();
          for (let i = 0; i < batch; i++) device.push(device.pop(chain), 0);
          view.setUint16(available + 4 + 2 * size, event, true);
          // An entry was written with each index from `before` on; the call is for the one that equals the event index.
          const expected = Array.from({ length: batch }, (_, i) => (before + i) % 65_536).includes(event);
          assert.equal(device.publish(), expected, `event ${event}, ${batch} from ${before}`);
          for (let i = 0; i < batch; i++) driver.take();
          before = (before + batch) % 65_536;
        }
        release();
      }
    }
  });
});

describe('split ring, its start', () => {
  it('is where the front end says, unless that lies behind what was used', () => {
    const cases = [
      { used: 0, says: 0, next: 0 },
      { used: 100, says: 100, next: 100 },
      { used: 100, says: 104, next: 104 },
      { used: 100, says: 0, next: 100 },
      { used: 65_534, says: 2, next: 2 },
      { used: 2, says: 65_534, next: 2 },
      { used: 100, says: 100 + 32_768, next: 100 + 32_768 },
    ];
    for (const { used, says, next } of cases) {
      const { driver, ...ring } = createSplitRing({ ...usual, start: says });
      driver.view.setUint16(driver.used + 2, used, true);
      const words = new Int32Array(InflightLog.wordsFor(usual.size));
      const device = ring.device(memory.guest, new InflightLog(words), false);
      assert.equal(device.base, next);
      const after = ring.device(memory.guest, new InflightLog(words), true);
      assert.equal(after.base, next, 'another thread goes on elsewhere');
      ring.release();
    }
  });

  it('starts where it was used last if nobody says where', () => {
    for (const used of [0, 100, 40_000, 65_535]) {
      const { driver, release, layout } = createSplitRing({ ...usual, start: 0 });
      driver.view.setUint16(driver.used + 2, used, true);
      const log = new InflightLog(new Int32Array(InflightLog.wordsFor(usual.size)));
      assert.equal(new SplitRing(layout, memory.guest, log, false).base, used);
      release();
    }
  });

  it('moves on with every chain', () => {
    const { driver, device, chain, release } = make({ start: 65_534 });
    for (let i = 0; i < 5; i++) driver.add([good]);
    driver.publish();
    assert.equal(device.waiting(), 5);
    for (let i = 0; i < 5; i++) {
      assert.equal(device.base, (65_534 + i) % 65_536);
      device.pop(chain);
    }
    assert.equal(device.base, 3);
    assert.equal(device.waiting(), 0);
    release();
  });

  it('throws nothing when a hostile guest writes the used ring before another thread takes over', () =>
    seeded(2, (random) => {
      for (let round = 0; round < 3000; round++) {
        const { driver, device, chain, open, release } = make({ size: 8, start: random.below(65_536) });
        const { view, used } = driver;
        for (let i = 0; i < 6; i++) driver.add([good]);
        driver.publish();
        for (let i = 0; i < 5; i++) device.pop(chain);
        device.push(1, 0);
        if (random.chance(0.5)) device.publish();
        for (let i = 0; i < 4; i++) {
          const value = random.chance(0.5) ? random.below(10) : random.word();
          view.setUint32(used + 4 * random.below((4 + 8 * 8) / 4), value, true);
        }
        const next = open(true);
        for (const head of next.unfinished) assert.equal(next.retake(head, chain), head);
        for (let i = 0; i < 20; i++) next.pop(chain);
        next.publish();
        release();
      }
    }));
});

describe('split ring, indirect tables', () => {
  const at = LOW.guestAddress + WINDOW;
  const NEXT = 1;

  /** What `pop` says of a table of `count` empty descriptors with the `next` fields given. */
  function answer(count: number, next: readonly (number | undefined)[], address = at): number {
    const { driver, device, chain, release } = make();
    const bytes = driver.table(Array.from({ length: count }, () => ({ ...good, length: 0 })));
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = 0; i < count; i++) {
      view.setUint16(16 * i + 12, next[i] === undefined ? 0 : NEXT, true);
      view.setUint16(16 * i + 14, next[i] ?? 0, true);
    }
    memory.write(address, bytes);
    driver.add([{ address, length: bytes.length, indirect: true }]);
    driver.publish();
    const result = device.pop(chain);
    release();
    return result;
  }

  it('may be walked in any order', () => {
    for (const address of [at, at + 2, at - 24]) {
      assert.ok(answer(4, [3, undefined, 1, 2], address) >= 0);
      assert.ok(answer(4, [undefined, 1, 2, 3], address) >= 0);
    }
  });

  it('end where their length says', () => {
    for (const next of [3, 4, 8, 0xffff]) assert.equal(answer(3, [1, next]), Pop.NEXT_OUT_OF_RANGE);
    assert.equal(answer(1, [1]), Pop.NEXT_OUT_OF_RANGE);
    // Beyond what is looked at of a long table.
    assert.equal(answer(CHAIN_SEGMENTS_MAX + 5, [CHAIN_SEGMENTS_MAX + 1]), Pop.SEGMENTS_EXCEEDED);
  });

  it('may not loop', () => {
    for (const count of [1, 2, 3, CHAIN_SEGMENTS_MAX, CHAIN_SEGMENTS_MAX + 1]) {
      const last = Math.min(count, CHAIN_SEGMENTS_MAX) - 1;
      assert.equal(
        answer(
          count,
          Array.from({ length: count }, (_, i) => (i >= last ? 0 : i + 1)),
        ),
        Pop.CHAIN_TOO_LONG,
      );
    }
  });
});
