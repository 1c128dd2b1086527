import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { definedFilter } from '../../../../test/support/frame-filters.js';
import { expectSame, makeFrame } from '../../../../test/support/frames.js';
import { NetRig } from '../../../../test/support/net-rig.js';
import { readOptions } from '../../../filter/load.js';
import { BUCKET_WORDS, Bucket } from './bucket.js';
import { rateLimit } from './filter.js';

const MS = 1e6;

describe('a token bucket', () => {
  const bucketOf = (perSecond: number, burst: number, words = new Int32Array(BUCKET_WORDS)) =>
    new Bucket(words, perSecond, burst);
  /** How much passes in a while of steps, if more is always wanted, `each` at a time. */
  const flow = (bucket: Bucket, each: number, ms: number, stepNs: number): number => {
    let passed = 0;
    for (let ns = 1e15; ns < 1e15 + ms * MS; ns += stepNs) {
      bucket.fill(ns);
      while (bucket.hasSome) {
        bucket.take(each);
        passed += each;
      }
    }
    return passed;
  };

  it('lets pass what flows in, however often it is looked at', () => {
    for (const [perSecond, each] of [
      [1_500_000, 1000],
      [1e9, 64],
      [100, 1],
      [7, 1],
    ] as const)
      for (const stepNs of [700, 13_000, 1e6]) {
        if (perSecond === 1e9 && stepNs < 1000) continue;
        const burst = perSecond * 0.02;
        const ms = perSecond < 1000 ? 3000 : 40;
        if (ms / (stepNs / MS) > 1e6) continue;
        const passed = flow(bucketOf(perSecond, burst), each, ms, stepNs);
        const expected = (perSecond * ms) / 1000;
        const slack = Math.max(1, burst / 2) + each + expected * 0.001;
        assert.ok(Math.abs(passed - expected) <= slack, `${perSecond} in ${stepNs}: ${passed}, not ${expected}`);
      }
  });

  it('lets no more than a burst pass at once after a pause, also where several share it', () => {
    const words = new Int32Array(BUCKET_WORDS);
    const buckets = [0, 1].map(() => bucketOf(1000, 100, words));
    for (const at of [1e15, 1e15 + 5000 * MS, 1e15 + 9000 * MS]) {
      let passed = 0;
      for (let again = true; again; ) {
        again = false;
        for (const bucket of buckets) {
          if (!bucket.hasSome) bucket.fill(at);
          if (!bucket.hasSome) continue;
          bucket.take(1);
          passed++;
          again = true;
        }
      }
      assert.ok(passed >= 50 && passed <= 100, `${passed} at once`);
    }
  });

  it('takes a clock that wraps', () => {
    const bucket = bucketOf(1000, 20);
    const wrap = 2 ** 32 * 1000;
    const at = Math.ceil(1e15 / wrap) * wrap;
    let passed = 0;
    for (let ms = -50; ms < 50; ms++) {
      bucket.fill(at + ms * MS);
      while (bucket.hasSome) {
        bucket.take(1);
        passed++;
      }
    }
    assert.ok(passed >= 95 && passed <= 115, `${passed}`);
  });
});

describe('the rate limit', () => {
  const start = (options: Record<string, unknown>) => {
    const limit = definedFilter(rateLimit, options);
    const rig = new NetRig();
    const one = rig.guest({ filters: [limit.filter] });
    const other = rig.guest();
    return { ...limit, rig, one, other };
  };

  it('drops what is too much, each direction by itself', () => {
    const { rig, one, other, counts, clock } = start({
      outbound: { frames_per_second: 1000 },
      inbound: { bytes_per_second: 100_000 },
    });
    const sent = Array.from({ length: 30 }, (_, i) => makeFrame(other.mac, one.mac, 100, i));
    for (const frame of sent) one.send(frame);
    rig.run();
    expectSame(other.frames(), sent.slice(0, 10));
    clock.ns += 5 * MS;
    for (const frame of sent) one.send(frame);
    rig.run();
    expectSame(other.frames(), sent.slice(0, 5));
    const back = Array.from({ length: 20 }, (_, i) => makeFrame(one.mac, other.mac, 500, i));
    for (const frame of back) other.send(frame);
    rig.run();
    // A bucket of 1000 bytes.
    expectSame(one.frames(), back.slice(0, 2));
    assert.deepEqual(counts.readCounters(), {
      dropped_sent: 45,
      dropped_received: 18,
      delayed_sent: 0,
      delayed_received: 0,
    });
    assert.deepEqual(one.drops, { DROPPED_BY_FILTER: 63 });
    rig.release();
  });

  it('shapes: what is too much waits its turn, in order, so much of it', () => {
    const { rig, one, other, counts, clock } = start({
      mode: 'shape',
      queue: 8,
      outbound: { frames_per_second: 1000 },
    });
    const sent = Array.from({ length: 20 }, (_, i) => makeFrame(other.mac, one.mac, 100, i));
    for (const frame of sent) one.send(frame);
    rig.run();
    expectSame(other.frames(), sent.slice(0, 10));
    const late: number[] = [];
    for (let ms = 1; ms <= 8; ms++) {
      clock.ns += MS;
      rig.clock.ns = clock.ns;
      rig.run();
      const frames = other.frames();
      late.push(frames.length);
      expectSame(frames, [sent[9 + ms]!]);
    }
    assert.deepEqual(late, Array(8).fill(1));
    assert.deepEqual(counts.readCounters(), {
      dropped_sent: 2,
      dropped_received: 0,
      delayed_sent: 8,
      delayed_received: 0,
    });
    assert.equal(rig.networks.busy, false);
    rig.release();
  });

  it('goes on after its card has moved with frames that wait', () => {
    const { rig, one, other, clock } = start({ mode: 'shape', outbound: { frames_per_second: 1000 } });
    const sent = Array.from({ length: 20 }, (_, i) => makeFrame(other.mac, one.mac, 100, i));
    for (const frame of sent) one.send(frame);
    rig.run();
    assert.equal(other.frames().length, 10);
    rig.networks.freeze(0);
    rig.run();
    expectSame(other.frames(), sent.slice(10));
    rig.networks.thaw(0);
    const next = makeFrame(other.mac, one.mac, 100, 99);
    one.send(next);
    for (let ms = 0; ms < 3; ms++) {
      clock.ns += MS;
      rig.clock.ns = clock.ns;
      rig.run();
    }
    expectSame(other.frames(), [next]);
    rig.release();
  });

  it('is shared by a group of cards', () => {
    const group = new SharedArrayBuffer(rateLimit.groupBytes!);
    const options = { group: 'tenant', outbound: { frames_per_second: 1000 } };
    const rig = new NetRig();
    const limits = [0, 1].map(() => definedFilter(rateLimit, options, { group }));
    const guests = limits.map(({ filter }) => rig.guest({ filters: [filter] }));
    const target = rig.guest();
    for (let i = 0; i < 20; i++) for (const guest of guests) guest.send(makeFrame(target.mac, guest.mac, 64, i));
    rig.run();
    assert.equal(target.frames().length, 10);
    assert.equal(rateLimit.group!(limits[0]!.options as never), 'tenant');
    rig.release();
  });

  it('wants a rate', () => {
    assert.ok('faults' in readOptions(rateLimit, {}));
    assert.ok('faults' in readOptions(rateLimit, { outbound: { bytes_per_second: 0 } }));
    assert.ok('options' in readOptions(rateLimit, { inbound: { bytes_per_second: 1000 } }));
  });
});
