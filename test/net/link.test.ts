/** The link of a card goes down while its guest acknowledges an announcement. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { NetDevice } from '../../src/net/device.js';
import { NET_FEATURES } from '../../src/net/features.js';
import { NetConfigOffset } from '../../src/net/net-config.js';
import type { AcknowledgingSetup } from './acknowledging-thread.js';

const ROUNDS = 200_000;

it('a guest reads that its link is down, whatever it acknowledges', async (test) => {
  const mac = { high: 0x5254, low: 1 };
  const device = new NetDevice({ mac, mtu: 1500, queuePairs: 1, speedMbps: 10_000, offloads: true });
  device.negotiate(NET_FEATURES.GUEST_ANNOUNCE);
  const setup: AcknowledgingSetup = { shared: device.shared, stop: new SharedArrayBuffer(4) };
  const worker = new Worker(new URL('acknowledging-thread.js', import.meta.url), { workerData: setup });
  test.after(async () => {
    Atomics.store(new Int32Array(setup.stop), 0, 1);
    await once(worker, 'exit');
  });
  await once(worker, 'message');
  const status = new Uint16Array(device.shared, NetConfigOffset.STATUS, 1);
  for (let round = 0; round < ROUNDS; round++) {
    device.setLink(true);
    device.setLink(false);
    for (let look = 0; look < 3; look++) assert.equal(Atomics.load(status, 0), 0, `round ${round}`);
  }
});
