import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { definedFilter } from '../../../../test/support/frame-filters.js';
import { expectSame, makeFrame } from '../../../../test/support/frames.js';
import { NetRig } from '../../../../test/support/net-rig.js';
import { impair } from './filter.js';

const MS = 1e6;
const FRAMES = 60;

/** Seeds of the frames that arrive, in order; sent so many at a time. */
function run(
  options: Record<string, unknown>,
  together: number,
  shared?: SharedArrayBuffer,
  first = 0,
  count = FRAMES,
) {
  const line = definedFilter(impair, options, shared === undefined ? {} : { shared });
  const rig = new NetRig();
  const one = rig.guest({ filters: [line.filter], buffers: 200 });
  const other = rig.guest({ buffers: 200 });
  const tick = (ms: number) => {
    line.clock.ns += ms * MS;
    rig.clock.ns = line.clock.ns;
    rig.run();
  };
  const got: number[] = [];
  const take = () => got.push(...other.frames().map((frame) => frame.readUInt32BE(14)));
  for (let i = first; i < first + count; i++) {
    one.send(makeFrame(other.mac, one.mac, 100, i));
    if ((i + 1) % together !== 0) continue;
    rig.run();
    take();
  }
  rig.run();
  take();
  const at = [...got];
  const later: number[] = [];
  for (let ms = 0; ms < 200; ms++) {
    tick(1);
    for (const frame of other.frames()) {
      got.push(frame.readUInt32BE(14));
      later.push(ms + 1);
    }
  }
  assert.equal(rig.networks.busy, false);
  rig.release();
  return { got, at, later, counts: line.counts.readCounters(), shared: line.shared };
}

const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

describe('a bad line', () => {
  it('gives the same frames the same fate by the same seed, however they come, and others by another', () => {
    const options = { seed: 7, outbound: { loss: 0.2, duplicate: 0.1, reorder: 0.2 } };
    const first = run(options, 1);
    for (const together of [1, 3, 16]) {
      const again = run(options, together);
      assert.deepEqual(again.got, first.got);
      assert.deepEqual(again.counts, first.counts);
    }
    assert.notDeepEqual(run({ ...options, seed: 8 }, 1).got, first.got);
    const { lost, duplicated, reordered } = first.counts;
    assert.equal(first.got.length, FRAMES - lost! + duplicated!);
    for (const count of [lost!, duplicated!, reordered!]) assert.ok(count >= 2 && count <= 25, `${count}`);
    assert.notDeepEqual(first.got, sorted(first.got));
  });

  it('goes on with its fate where another sidecore takes over', () => {
    const options = { seed: 3, outbound: { loss: 0.3 } };
    const whole = run(options, 4);
    const before = run(options, 4, undefined, 0, 20);
    const after = run(options, 4, before.shared, 20, FRAMES - 20);
    assert.deepEqual([...before.got, ...after.got], whole.got);
  });

  it('only changes what it is told to', () => {
    const all = Array.from({ length: FRAMES }, (_, i) => i);
    assert.deepEqual(run({}, 5).got, all);
    assert.deepEqual(run({ outbound: { loss: 1 } }, 5).got, []);
    assert.deepEqual(run({ inbound: { loss: 1 } }, 5).got, all);
    assert.deepEqual(
      run({ outbound: { duplicate: 1 } }, 5).got,
      all.flatMap((i) => [i, i]),
    );
    const lost = run({ outbound: { loss: 0.5 } }, 5).got;
    assert.deepEqual(lost, sorted(lost));
  });

  it('delays, with jitter or without, and keeps the order', () => {
    const all = Array.from({ length: FRAMES }, (_, i) => i);
    const delayed = run({ outbound: { delay_ms: 20 } }, 60);
    assert.deepEqual(delayed.at, []);
    assert.deepEqual(delayed.got, all);
    assert.ok(delayed.later.every((ms) => ms === 20));
  });

  it('jitters each by so much, and keeps the order', () => {
    const { filter, clock } = definedFilter(impair, { outbound: { delay_ms: 5, jitter_ms: 50, duplicate: 0.2 } });
    const rig = new NetRig();
    const one = rig.guest({ filters: [filter] });
    const other = rig.guest();
    const times: number[] = [];
    const got: number[] = [];
    for (let ms = 0; ms < 400; ms++) {
      if (ms % 5 === 0 && ms < 300) one.send(makeFrame(other.mac, one.mac, 100, ms));
      clock.ns += MS;
      rig.clock.ns = clock.ns;
      rig.run();
      for (const frame of other.frames()) {
        const sent = frame.readUInt32BE(14);
        got.push(sent);
        times.push(ms - sent);
      }
    }
    assert.deepEqual(got, sorted(got));
    assert.equal(new Set(got).size, 60);
    assert.ok(got.length > 60);
    assert.ok(times.every((ms) => ms >= 5 && ms <= 56));
    assert.ok(new Set(times).size > 5, `${[...new Set(times)]}`);
    rig.release();
  });

  it('has frames overtaken by so many others at most, and by none that does not come', () => {
    const { got, at, counts } = run({ outbound: { reorder: 0.2, gap: 4 } }, 10);
    assert.deepEqual(
      sorted(got),
      Array.from({ length: FRAMES }, (_, i) => i),
    );
    let behind = 0;
    for (const [place, seed] of got.entries()) {
      const overtaken = got.slice(0, place).filter((other) => other > seed).length;
      // The last ones wait for time to pass.
      assert.ok(overtaken <= 4, `${seed} was overtaken by ${overtaken}`);
      if (overtaken > 0) behind++;
    }
    assert.ok(behind >= 3 && behind <= counts['reordered']!);
    assert.ok(got.length - at.length <= 4);
  });

  it('changes nothing of frames', () => {
    const { filter } = definedFilter(impair, { outbound: { duplicate: 1 }, inbound: { delay_ms: 1 } });
    const rig = new NetRig();
    const one = rig.guest({ filters: [filter] });
    const other = rig.guest();
    const frame = makeFrame(other.mac, one.mac, 3000, 1);
    one.send(frame, { cuts: [40, 800] });
    rig.run();
    expectSame(other.frames(), [frame, frame]);
    rig.release();
  });
});
