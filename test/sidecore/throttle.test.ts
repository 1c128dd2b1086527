/** Throttled disks in a whole daemon: sidecores that sleep wake when there are tokens, and limits are those of all of a group together. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { Daemon } from '../support/daemon.js';
import { KillableDaemon } from './killable-daemon.js';

const REQUEST_BYTES = 4096;
const DEPTH = 8;
const IOPS = 400;
const BURST = 4;

const disk = (iops: number, group?: string) => ({
  backend: { type: 'memory', size: 2 ** 20 },
  filters: [{ use: 'throttle', options: { iops, burst_requests: BURST, ...(group === undefined ? {} : { group }) } }],
});

const loadOf = (guests: readonly BlockDriver[]) =>
  new Load([...guests], {
    depth: DEPTH,
    requestBytes: REQUEST_BYTES,
    readShare: 0.5,
    workingSetBytes: 2 ** 19,
    verify: true,
    blank: true,
  });

/** Runs a load, that was started, until so many requests are done. Returns how many that were, and how long it took, s. */
async function runUntil(load: Load, requests: number): Promise<{ done: number; seconds: number }> {
  const began = performance.now();
  let done = 0;
  while (done < requests) {
    const result = load.run(5);
    assert.deepEqual([result.errors, result.mismatches], [0, 0]);
    done += result.requests;
    await turn();
  }
  return { done, seconds: (performance.now() - began) / 1000 };
}

describe('throttled disks in a daemon', { timeout: 60_000 }, () => {
  for (const mode of ['sidecore', 'adaptive', 'baseline'] as const)
    it(`go on when there are tokens: ${mode}`, async (test) => {
      const daemon = await Daemon.start(test, {
        mode,
        cores: allowedCpus().slice(0, 1),
        vms: { vm: { disks: { d: disk(IOPS) } } },
      });
      const guest = await BlockDriver.connect({
        socket: daemon.socket('vm', 'd'),
        depth: DEPTH,
        requestBytes: REQUEST_BYTES,
      });
      test.after(() => guest.close());
      const load = loadOf([guest]);
      load.start();
      const { done, seconds } = await runUntil(load, 200);
      assert.ok(load.finish());
      assert.ok(done <= BURST + IOPS * seconds + DEPTH, `${done} in ${seconds} s`);
      const [throttle] = (await daemon.status()).vms.vm!.d!.filters;
      assert.equal(throttle!.counters['passed'], done + DEPTH);
      assert.ok(throttle!.counters['deferred']! > 100);
      assert.deepEqual([throttle!.in_service, throttle!.faults], [true, 0]);
    });

  it('share the budget of a group, over sidecores that die', async (test) => {
    const vms = Object.fromEntries(['a', 'b', 'c'].map((vm) => [vm, { disks: { d: disk(2000, 'all') } }]));
    const daemon = await KillableDaemon.start(test, { cores: allowedCpus().slice(0, 2), vms });
    const guests: BlockDriver[] = [];
    for (const vm of Object.keys(vms)) {
      const guest = await BlockDriver.connect({ socket: daemon.socket(vm), depth: DEPTH, requestBytes: REQUEST_BYTES });
      test.after(() => guest.close());
      guests.push(guest);
    }
    const load = loadOf(guests);
    load.start();
    const before = await runUntil(load, 500);
    await daemon.kill(0);
    const after = await runUntil(load, 500);
    assert.ok(load.finish());
    const done = before.done + after.done;
    const each = Object.values((await daemon.status()).vms).map(({ d }) => d!.filters[0]!);
    for (const { counters, in_service, faults } of each) {
      assert.ok(counters['passed']! > 100, `${counters['passed']} of ${done}`);
      assert.deepEqual([in_service, faults], [true, 0]);
    }
  });
});
