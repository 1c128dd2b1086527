/** Sidecores that do not answer any more: the others are balanced on without them, and their networks go on. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { pino } from 'pino';
import { CoreSet } from '../../src/daemon/core-set.js';
import { moveCards, moveQueue } from '../../src/daemon/move.js';
import type { PlacedDevice, PlacedQueue } from '../../src/daemon/placed-device.js';
import { Rebalancer } from '../../src/daemon/rebalancer.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { createEventFd, eventCount, signal } from '../../src/host/eventfd.js';
import { close, duplicate } from '../../src/host/libc.js';
import { SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { CoreFault } from '../../src/virtio/queue-faults.js';
import type { QueueSpec } from '../../src/virtio/queue-spec.js';
import { QueueCounter, QueueState } from '../../src/virtio/queue-state.js';
import { jam } from '../vhost-user/descriptors.js';
import { until } from '../vhost-user/raw-front-end.js';
import { DEAF_THREAD, Hearing, hearingOfThreads } from './deaf-thread.js';
import { guestOf, queueOf } from './one-queue.js';
import { card } from './specs.js';

const CPU = allowedCpus()[0]!;
const WAIT_MS_MAX = 30_000;
const FEED_MS = 5;

interface Bench {
  readonly set: CoreSet;
  /** By core. */
  readonly hearing: Int32Array;
  /** Cores that were said to be stalled, and to get on again, in their order. */
  readonly told: string[];
}

/** So many sidecores, all in use, whose threads answer when they are to. */
function start(test: TestContext, cores: number): Bench {
  const hearing = hearingOfThreads();
  const told: string[] = [];
  const cpus = Array.from({ length: cores }, () => CPU);
  const places = { cpus, coresMin: cores, helperCpus: [], sqpollCpu: undefined, networked: true, thread: DEAF_THREAD };
  const set = new CoreSet({ mode: 'adaptive', scheduler: SCHEDULER_DEFAULTS, ...places }, 0, {
    died: () => {},
    stalled: ({ options }, stalled) => told.push(`${options.index} ${stalled ? 'stalled' : 'gets on'}`),
    lost: () => {},
  });
  test.after(() => set.stop());
  test.after(() => hearing.fill(Hearing.GOOD));
  return { set, hearing, told };
}

let lastKey = 0;

/** Has a disk of one queue served. */
async function serveDisk(test: TestContext, set: CoreSet, label: string): Promise<PlacedQueue> {
  const { ram, kickFd } = guestOf(test);
  const { spec } = queueOf(ram, kickFd, { type: 'null' });
  const device = set.place(label, spec.device);
  const key = ++lastKey;
  await device.attach({ ...spec, key }, () => {});
  return device.queues.get(key)!;
}

/** The same of a card. */
async function serveCard(test: TestContext, set: CoreSet, label: string, port: number): Promise<PlacedDevice> {
  const { ram, kickFd } = guestOf(test);
  const { spec } = queueOf(ram, kickFd, { type: 'null' });
  const device = set.place(label, card(port, 1));
  for (const index of [0, 1]) {
    const state = QueueState.create(spec.ring.size).buffer;
    await device.attach({ ...spec, key: ++lastKey, index, state, device: device.spec }, () => {});
  }
  return device;
}

/** Makes it seem that the cores of these queues have all their time taken by them, in equal parts. Returns its end. */
function keepBusy(queues: readonly PlacedQueue[]): () => void {
  let before = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    const ns = (now - before) * 1e6;
    before = now;
    for (const core of new Set(queues.map(({ core }) => core))) {
      if (core === undefined) continue;
      const there = queues.filter((queue) => queue.core === core);
      core.state.countTurns(1, ns, 0);
      for (const { counters } of there) counters[QueueCounter.TIME_NS]! += ns / there.length;
    }
  }, FEED_MS);
  return () => clearInterval(timer);
}

it('rounds of balancing go on without a sidecore that does not answer, and with it when it does', {
  timeout: 120_000,
}, async (test) => {
  const { set, hearing, told } = start(test, 3);
  const [first, deaf, third] = set.cores;
  const queues: PlacedQueue[] = [];
  for (const label of ['a/d', 'b/d', 'c/d', 'd/d', 'e/d', 'f/d']) queues.push(await serveDisk(test, set, label));
  const on = (core: typeof first) => queues.filter((queue) => queue.core === core);
  assert.deepEqual(
    set.cores.map((core) => on(core).length),
    [2, 2, 2],
  );
  const stuck = on(deaf);
  const rebalancer = new Rebalancer(set, 3, pino({ level: 'silent' }));
  test.after(() => rebalancer.stop());

  // It looks as if it slept: only that it is asked for a queue, and does not give it, shows.
  hearing[1] = Hearing.DEAF;
  let rest = keepBusy(stuck);
  await until(() => told.length > 0, 'it is found out', WAIT_MS_MAX);
  rest();
  assert.deepEqual(told, ['1 stalled']);
  assert.ok(deaf!.stalled && deaf!.inUse);
  assert.deepEqual(set.candidates, [first, third]);
  const { moved } = rebalancer;

  rest = keepBusy(on(first));
  await until(() => on(third).length === 3, 'the others are balanced', WAIT_MS_MAX);
  rest();
  assert.ok(rebalancer.moved > moved);
  assert.equal(await moveQueue(on(first)[0]!, deaf!), false);
  assert.deepEqual(on(deaf), stuck, 'nothing came to it, and nothing went');
  assert.notEqual((await serveDisk(test, set, 'g/d')).core, deaf);

  hearing[1] = Hearing.GOOD;
  await until(() => told.length > 1, 'it answers', WAIT_MS_MAX);
  assert.deepEqual(told, ['1 stalled', '1 gets on']);
  rest = keepBusy(on(third));
  await until(() => on(deaf).some((queue) => !stuck.includes(queue)), 'it takes part again', WAIT_MS_MAX);
  rest();
  await until(() => stuck.every(({ core }) => core !== undefined), 'its queues are served', WAIT_MS_MAX);
});

it('cards move though a sidecore without any does not answer, and stay where one of their network does not', {
  timeout: 60_000,
}, async (test) => {
  const { set, hearing, told } = start(test, 3);
  const { cores, mesh } = set;
  const one = await serveCard(test, set, 'a/n', 1);
  const other = await serveCard(test, set, 'b/n', 2);
  assert.deepEqual([one.home, other.home], [cores[0], cores[1]]);
  hearing[2] = Hearing.DEAF;
  const asked = cores[2]!.capture({ port: 9, ring: new SharedArrayBuffer(8), snapBytes: 1 });
  await until(() => told.length > 0, 'it is found out', WAIT_MS_MAX);
  assert.deepEqual(await moveCards(0, [{ device: one, to: cores[2]! }], mesh), []);
  assert.deepEqual(await moveCards(0, [{ device: one, to: cores[1]! }], mesh), [one]);
  assert.deepEqual(
    [...one.queues.values()].map(({ core }) => core),
    [cores[1], cores[1]],
  );
  hearing[2] = Hearing.GOOD;
  await asked;
  await until(() => !cores[2]!.stalled, 'it answers', WAIT_MS_MAX);
  assert.deepEqual(await moveCards(0, [{ device: one, to: cores[2]! }], mesh), [one]);
  hearing[2] = Hearing.DEAF;
  const again = cores[2]!.uncapture(9);
  await until(() => cores[2]!.stalled, 'it is found out again', WAIT_MS_MAX);
  assert.deepEqual(await moveCards(0, [{ device: other, to: cores[0]! }], mesh), []);
  assert.equal(other.home, cores[1]);
  hearing[2] = Hearing.GOOD;
  await again;
});

it('a network goes on if a sidecore ceases to answer while a card leaves it', { timeout: 60_000 }, async (test) => {
  const { set, hearing } = start(test, 3);
  const { cores, mesh } = set;
  const leaving = await serveCard(test, set, 'a/n', 1);
  const other = await serveCard(test, set, 'b/n', 2);
  hearing[0] = Hearing.LETTING_GO;
  const moving = moveCards(0, [{ device: leaving, to: cores[2]! }], mesh);
  await until(() => hearing[0] === Hearing.DEAF, 'it is asked for the rest of the card', WAIT_MS_MAX);
  // What is sent in the network waits for its thaw.
  await other.inject(other.spec, Buffer.alloc(60, 0xff));
  assert.equal(hearing[0], Hearing.DEAF);
  assert.deepEqual(await moveCards(0, [{ device: other, to: cores[2]! }], mesh), [], 'one move of a network at a time');
  hearing[0] = Hearing.GOOD;
  assert.deepEqual(await moving, []);
  assert.equal(leaving.home, cores[0]);
  assert.deepEqual(
    [...leaving.queues.values()].map(({ core }) => core),
    [cores[0], cores[0]],
  );
});

it('calls to a front end that makes one sidecore wait go nowhere from any', async (test) => {
  const { set } = start(test, 2);
  const { ram, kickFd } = guestOf(test);
  const { spec } = queueOf(ram, kickFd, { type: 'null' });
  const device = set.place('a/d', spec.device);
  const faults: number[] = [];
  const callFds = [createEventFd(), createEventFd()];
  test.after(() => callFds.forEach(close));
  for (const [index, callFd] of callFds.entries()) {
    const queue: QueueSpec = { ...spec, key: ++lastKey, index, callFd, state: QueueState.create(8).buffer };
    await device.attach(queue, (fault) => faults.push(fault));
  }
  assert.notEqual(device.coreOf(lastKey), device.coreOf(lastKey - 1));
  const others = duplicate(callFds[1]!);
  test.after(() => close(others));
  signal(callFds[1]!);
  assert.equal(eventCount(others), 1n);
  jam(callFds[0]!);
  // Its thread is awake, and its turns do not go by.
  device.coreOf(lastKey - 1)!.state.asleep = false;
  await until(() => faults.length > 0, 'it is found out', WAIT_MS_MAX);
  device.coreOf(lastKey - 1)!.state.asleep = true;
  assert.equal(faults[0], CoreFault.CALL_BLOCKED);
  signal(callFds[1]!);
  assert.equal(eventCount(others), 1n, 'what the other sidecore writes does not reach it');
});
