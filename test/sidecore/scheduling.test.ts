/** Guests of small and of long requests beside one another on one sidecore, under each policy: all are served, and right. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { POLICIES, type PolicyName } from '../../src/scheduler/policy.js';
import { type Mode, SIDECORE_CPU, TestDaemon } from '../vhost-user/test-daemon.js';

const WORK_MS = 20;
const ROUNDS = 20;
const LOADS = {
  small: { depth: 1, requestBytes: 4096 },
  many: { depth: 32, requestBytes: 512 },
  long: { depth: 4, requestBytes: 2 ** 20 },
} as const;
type Kind = keyof typeof LOADS;
const KINDS = Object.keys(LOADS) as Kind[];

async function serveAll(test: TestContext, policy: PolicyName, mode: Mode, packed: boolean): Promise<void> {
  const vms = Object.fromEntries(KINDS.map((kind, i) => [kind, { weight: i + 1, disks: { d: {} } }]));
  const served = await TestDaemon.start(test, vms, mode, [SIDECORE_CPU], { scheduler: { policy } });
  const loads: Load[] = [];
  for (const kind of KINDS) {
    const { depth, requestBytes } = LOADS[kind];
    const guest = await BlockDriver.connect({ socket: served.socket(kind), depth, requestBytes, packed });
    test.after(() => guest.close());
    const pattern = { depth, requestBytes, readShare: 0.5, workingSetBytes: 8 * 2 ** 20, verify: true };
    loads.push(new Load([guest], pattern));
  }
  for (const load of loads) load.start();
  const done = loads.map(() => 0);
  for (let round = 0; round < ROUNDS || done.includes(0); round++) {
    assert.ok(round < 50 * ROUNDS, `not all are served: ${done}`);
    for (const [i, load] of loads.entries()) {
      const { requests, errors, mismatches } = load.run(WORK_MS);
      assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 });
      done[i]! += requests;
    }
  }
  for (const load of loads) assert.ok(load.finish(), 'every request comes back');
  for (const [i, kind] of KINDS.entries()) {
    const [queue] = (await served.disk(kind)).queues;
    assert.ok(queue !== undefined && queue.requests >= done[i]!);
    assert.equal(queue.bytes, queue.requests * LOADS[kind].requestBytes, `${kind}: all bytes are counted, once`);
    assert.ok(queue.batches > 0 && queue.polls > 0, kind);
    assert.ok(queue.time_ns > 0, kind);
    if (policy === 'round-robin') assert.equal(queue.stuck, 0);
  }
}

describe('scheduling', { timeout: 120_000 }, () => {
  for (const policy of POLICIES) {
    for (const mode of ['sidecore', 'baseline'] as const) {
      for (const packed of [false, true]) {
        it(`serves small, many and long requests: ${policy}, ${mode}, ${packed ? 'packed' : 'split'}`, (test) =>
          serveAll(test, policy, mode, packed));
      }
    }
  }
});
