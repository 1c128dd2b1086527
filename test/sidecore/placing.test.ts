/** Where devices are placed, and what a card's sidecore does for it while its network is frozen. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { CoreSet } from '../../src/daemon/core-set.js';
import { CoreUsage } from '../../src/daemon/core-usage.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { CORE_QUEUES_MAX } from '../../src/limits.js';
import { SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { card } from './specs.js';

const CPU = allowedCpus()[0]!;

/** Two sidecores, one of which is in use. They sleep. */
function start(test: TestContext): CoreSet {
  const places = { cpus: [CPU, CPU], coresMin: 1, helperCpus: [], sqpollCpu: undefined, networked: true };
  const listener = { died: () => {}, stalled: () => {}, lost: () => {} };
  const set = new CoreSet({ mode: 'adaptive', scheduler: SCHEDULER_DEFAULTS, ...places }, 0, listener);
  test.after(() => set.stop());
  return set;
}

it('a sidecore more is taken into use where those in use have no room', (test) => {
  const set = start(test);
  const [first, second] = set.cores;
  const pairs = CORE_QUEUES_MAX / 2 - 10;
  assert.equal(set.place('a/n', card(1, pairs)).home, first);
  assert.equal(set.place('b/n', card(2, 9)).home, first);
  assert.deepEqual(set.inUse, [first]);
  assert.equal(set.place('c/n', card(3, 1)).home, second);
  assert.deepEqual(set.inUse, [first, second]);
});

it('a device in quarantine has a sidecore for itself, which is in no balance', (test) => {
  const places = { cpus: [CPU, CPU], coresMin: 0, helperCpus: [CPU], sqpollCpu: undefined, networked: true };
  const listener = { died: () => {}, stalled: () => {}, lost: () => {} };
  const common = { mode: 'adaptive', scheduler: SCHEDULER_DEFAULTS } as const;
  const set = new CoreSet({ ...common, ...places, quarantines: 2 }, 0, listener);
  test.after(() => set.stop());
  const [first, second, third, fourth, shared] = set.cores;
  assert.deepEqual(
    set.cores.map(({ options }) => options.quarantine === true),
    [false, false, true, true, false],
  );
  assert.equal(set.shared, shared);
  assert.deepEqual(set.dedicated, [first, second]);
  assert.deepEqual(set.common, [first, second, shared]);
  const cardInQuarantine = set.place('a/n', card(1, 1), true);
  const disk = set.place('a/d', { ...card(2, 1), kind: 'block' } as never, true);
  assert.deepEqual([cardInQuarantine.home, disk.home], [third, fourth]);
  assert.equal(set.place('b/n', card(3, 1)).home, shared);
  const usage = new CoreUsage(set).read(1e9);
  assert.deepEqual(
    [...usage.units.values()].map(({ device }) => device.label),
    ['b/n'],
  );
});

it('a frame of ours waits until its network is thawed', { timeout: 20_000 }, async (test) => {
  const set = start(test);
  const spec = card(1, 1);
  const device = set.place('a/n', spec);
  const core = device.home!;
  let sent = false;
  await core.freeze(0);
  const sending = device.inject(spec, Buffer.alloc(60, 0xff)).then(() => {
    sent = true;
  });
  // The sidecore has answered what it was asked later; and another network's end does not count.
  await core.thaw(1);
  await core.freeze(1);
  assert.equal(sent, false);
  await core.thaw(0);
  await sending;
  assert.equal(sent, true);
});
