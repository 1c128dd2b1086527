/** Requests and ports at which a sidecore dies: a queue that it was serving is left out after a while, and no other one. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { QUEUE_CRASHES_MAX } from '../../src/limits.js';
import { PORT_COUNTER_BYTES } from '../../src/net/port.js';
import type { GeneratorPortSpec } from '../../src/net/ports/generator/spec.js';
import type { PortSpec } from '../../src/net/ports/port-spec.js';
import { type PortVlans, trunkPort } from '../../src/net/vlan.js';
import { CoreFault } from '../../src/virtio/queue-faults.js';
import { until } from '../vhost-user/raw-front-end.js';
import { guestOf, queueOf, startCore } from './one-queue.js';

type Mac = GeneratorPortSpec['mac'];

it(`sidecores that die while they take a queue over stop doing so after ${QUEUE_CRASHES_MAX} deaths`, async (test) => {
  const { ram, kickFd } = guestOf(test);
  const { core, troubles } = startCore();
  const { spec } = queueOf(ram, kickFd, { type: 'memory', address: ram.userAddress, sizeBytes: 0 });
  // The first attach is answered, or given up with the queue: it depends on when the thread dies.
  await core.attach(spec, (fault) => troubles.faults.push(fault)).catch(() => {});
  await until(() => troubles.faults.length > 0, 'the queue is left out');
  assert.deepEqual(troubles, { deaths: QUEUE_CRASHES_MAX, faults: [CoreFault.CRASHED_CORE] });
  assert.equal(core.queueCount, 0);
  // The thread that is up now answers: it does not have that queue, and does not die any more.
  assert.deepEqual(await core.detach(spec.key), { base: 1, started: false, sound: false, crashes: QUEUE_CRASHES_MAX });
  await core.stop();
  assert.equal(troubles.deaths, QUEUE_CRASHES_MAX);
});

it('sidecores that die of a port blame no queue, and serve all of them on', async (test) => {
  const { ram, kickFd } = guestOf(test);
  const { core, troubles } = startCore();
  const { spec } = queueOf(ram, kickFd, { type: 'null' });
  await core.attach(spec, (fault) => troubles.faults.push(fault));
  const port = (number: number, vlans: PortVlans): PortSpec => {
    const [mac, destination] = [1, 2].map((low) => ({ high: 0x5254, low: 16 * number + low })) as [Mac, Mac];
    const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
    const send = number === 1;
    return { kind: 'generator', number, switchId: 0, shared, vlans, send, frameBytes: 60, mac, destination };
  };
  // What the first floods, nobody can tell whether the second gets it.
  await core.plug(port(2, { native: 5 } as PortVlans));
  await core.plug(port(1, trunkPort()));
  await until(() => troubles.deaths > QUEUE_CRASHES_MAX, 'it dies again and again');
  const { queueCount } = core;
  await core.stop();
  assert.deepEqual({ faults: troubles.faults, queueCount }, { faults: [], queueCount: 1 });
});
