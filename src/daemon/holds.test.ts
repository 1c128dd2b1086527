/** Disks that filters hold: one after the other, and for so long at most. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SidecoreError } from '../errors.js';
import { FilterHolds } from '../filter/filter-holds.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import { PlacedDevice } from './placed-device.js';

const unexpected = () => assert.fail('nothing is placed');
const newDevice = (label = 'vm/d') => new PlacedDevice(label, {} as DeviceSpec, undefined, unexpected);

/** A filter of a device. */
function filterOf(device: PlacedDevice, use = './one.ts') {
  const faults: string[] = [];
  const holds = new FilterHolds({
    label: device.label,
    use,
    hold: (during, holder) => device.hold(during, { holder, waitMsMax: 10_000 }),
    fail: (text) => faults.push(text),
  });
  return { holds, faults };
}

const never = () => new Promise<never>(() => {});
const code = (expected: string, message: RegExp) => (error: unknown) => {
  const { code, message: text } = error as SidecoreError;
  assert.equal(code, expected);
  assert.match(text, message);
  return true;
};

describe('a filter that holds its disk', () => {
  // Nothing that is waited for here keeps a process alive: a daemon has other things that do.
  let alive: NodeJS.Timeout;
  before(() => {
    alive = setInterval(() => {}, 1000);
  });
  after(() => clearInterval(alive));

  it('gets what its function gives, or what it throws, and others come after it', async () => {
    const device = newDevice();
    const [one, other] = [filterOf(device), filterOf(device, 'other')];
    const order: string[] = [];
    const first = one.holds.hold(async () => {
      order.push('begins');
      await sleep(5);
      order.push('ends');
      return 7;
    });
    const second = other.holds.hold(() => {
      order.push('other');
      throw new Error('as it likes');
    });
    await assert.rejects(second, /as it likes/);
    assert.equal(await first, 7);
    assert.deepEqual(order, ['begins', 'ends', 'other']);
    assert.equal(await device.hold(() => 8), 8);
    assert.deepEqual([one.faults, other.faults], [[], []]);
  });

  it('cannot within its own hold, or another filter’s of the disk; but from what is left of it', async () => {
    const device = newDevice();
    const [one, other] = [filterOf(device), filterOf(device, 'other')];
    let later: Promise<number> | undefined;
    const nested = one.holds.hold(async () => {
      await sleep(1);
      later = sleep(10).then(() => one.holds.hold(() => 9));
      await assert.rejects(
        other.holds.hold(() => 1),
        code('FILTER_FAILED', /^vm\/d: filter other: hold\(\) was called within hold/),
      );
      // Another disk is not held.
      assert.equal(await filterOf(newDevice('vm/e')).holds.hold(() => 2), 2);
      return one.holds.hold(() => 3);
    });
    await assert.rejects(nested, code('FILTER_FAILED', /^vm\/d: filter \.\/one\.ts: hold\(\) was called within hold/));
    assert.equal(await later, 9);
    assert.deepEqual([one.faults, other.faults], [[], []]);
  });

  it('fails if it does not come to an end, and the disk goes on', async () => {
    const device = newDevice();
    const { holds, faults } = filterOf(device);
    const next = () => device.hold(() => 5);
    const stuck = holds.hold(never, 0.02);
    const waiting = next();
    await assert.rejects(
      stuck,
      code('FILTER_FAILED', /filter \.\/one\.ts: hold\(\) has not come to its end for more than 0\.02 s/),
    );
    assert.equal(await waiting, 5);
    assert.deepEqual(faults, ['hold() has not come to its end for more than 0.02 s']);
    // What it throws afterwards is nobody's.
    const late = holds.hold(() => sleep(10).then(() => Promise.reject(new Error('too late'))), 0.001);
    await assert.rejects(late, /has not come to its end/);
    await sleep(15);
  });

  it('is named to who waits in vain, who does not let others past it', async () => {
    const device = newDevice();
    const { holds } = filterOf(device);
    let end = () => {};
    let isOver = false;
    const long = holds.hold(async () => {
      await new Promise<void>((resolve) => {
        end = resolve;
      });
      isOver = true;
    }, Number.POSITIVE_INFINITY);
    const busy = device.hold(() => 1, { waitMsMax: 5 });
    const patient = device.hold(() => isOver);
    await assert.rejects(busy, code('DEVICE_BUSY', /^vm\/d: filter \.\/one\.ts holds it for more than 0\.005 s/));
    end();
    await long;
    assert.equal(await patient, true);
  });

  it('is waited for when it is let go of, and holds nothing from then on', async () => {
    const device = newDevice();
    const { holds } = filterOf(device);
    let isOver = false;
    const last = holds.hold(async () => {
      await sleep(5);
      isOver = true;
    });
    const tooLate = holds.hold(() => 1);
    // It has begun.
    await sleep(0);
    await holds.close();
    assert.equal(isOver, true);
    await last;
    await assert.rejects(tooLate, code('FILTER_FAILED', /is let go of/));
  });
});
