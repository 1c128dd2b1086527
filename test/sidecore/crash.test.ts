/** Requests and ports at which a sidecore dies: a queue that it was serving is left out after a while, and no other one. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { BlockDevice, type BlockDeviceSpec } from '../../src/block/device.js';
import { Core } from '../../src/daemon/core.js';
import { GuestRam } from '../../src/guest/ram.js';
import { SplitDriver } from '../../src/guest/split-driver.js';
import { createEventFd } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { QUEUE_CRASHES_MAX } from '../../src/limits.js';
import { Directory } from '../../src/net/directory.js';
import { PORT_COUNTER_BYTES } from '../../src/net/port.js';
import type { GeneratorPortSpec } from '../../src/net/ports/generator/spec.js';
import type { PortSpec } from '../../src/net/ports/port-spec.js';
import { type PortVlans, trunkPort } from '../../src/net/vlan.js';
import { SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { POLLING_RULES } from '../../src/scheduler/polling.js';
import { CoreFault } from '../../src/virtio/queue-faults.js';
import type { QueueSpec } from '../../src/virtio/queue-spec.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';
import { until } from '../vhost-user/raw-front-end.js';

const RAM_BYTES = 2 ** 20;
const DATA_BYTES = 512;
const RING_SIZE = 8;

type Mac = GeneratorPortSpec['mac'];

/** A guest with one read in its ring, of a disk that says it has `RAM_BYTES`, whatever its back end has. */
function queueOf(ram: GuestRam, kickFd: number, backend: BlockDeviceSpec['backend']): QueueSpec {
  const abilities = {
    sizeBytes: RAM_BYTES,
    readOnly: false,
    discard: false,
    writeZeroes: false,
    secureErase: false,
    inOrder: false,
  };
  const device = new BlockDevice({
    abilities: { ...abilities, physicalBlockBytes: 512 },
    readOnly: false,
    blockBytes: 512,
    queues: 1,
    serial: 'deadly',
    writeback: true,
  });
  device.negotiate(device.offeredFeatures);
  const ring = new SplitDriver(ram, RING_SIZE, false);
  const { NEXT, WRITE } = DescriptorFlag;
  const chain = [
    [ram.allocate(16), 16, NEXT, 1],
    [ram.allocate(DATA_BYTES), DATA_BYTES, NEXT | WRITE, 2],
    [ram.allocate(1), 1, WRITE, 0],
  ] as const;
  for (const [index, [address, length, flags, next]] of chain.entries()) {
    ram.words.set([address, 0, length, flags | (next << 16)], (ring.descriptors + 16 * index) >>> 2);
  }
  ring.add(0);
  ring.publish();
  const host = ram.userAddress;
  const spec: BlockDeviceSpec = {
    kind: 'block',
    account: { id: 0, weight: 1 },
    shared: device.shared,
    readOnly: false,
    queues: 1,
    backend,
  };
  return {
    key: 7,
    index: 0,
    state: QueueState.create(RING_SIZE).buffer,
    device: spec,
    memory: { id: 1, regions: [{ guestAddress: 0, size: RAM_BYTES, userAddress: 0, hostAddress: host }] },
    ring: {
      kind: 'split',
      size: RING_SIZE,
      descriptors: host + ring.descriptors,
      driverArea: host + ring.available,
      deviceArea: host + ring.used,
      eventIdx: false,
      indirect: false,
    },
    resume: false,
    base: 0,
    kickFd,
    callFd: -1,
    started: true,
  };
}

/** The deaths of a core, and the faults of its queues. */
interface Troubles {
  deaths: number;
  readonly faults: number[];
}

function startCore(): { core: Core; troubles: Troubles } {
  const troubles: Troubles = { deaths: 0, faults: [] };
  const core = new Core(
    {
      index: 0,
      cpus: [0],
      helperCpus: [],
      sqpollCpu: undefined,
      polling: POLLING_RULES.adaptive,
      scheduler: SCHEDULER_DEFAULTS,
    },
    {
      died: () => {
        troubles.deaths++;
      },
      stalled: () => {},
      lost: () => assert.fail('its I/O ended'),
    },
  );
  core.start({ directory: Directory.create(1, 0), networks: 0, others: [] });
  return { core, troubles };
}

/** A guest's memory and its kick, for a disk with one request. */
function guestOf(test: TestContext): { ram: GuestRam; kickFd: number } {
  const ram = new GuestRam(RAM_BYTES);
  const kickFd = createEventFd();
  test.after(() => {
    ram.close();
    close(kickFd);
  });
  return { ram, kickFd };
}

it(`sidecores that die while they take a queue over stop doing so after ${QUEUE_CRASHES_MAX} deaths`, async (test) => {
  const { ram, kickFd } = guestOf(test);
  const { core, troubles } = startCore();
  const spec = queueOf(ram, kickFd, { type: 'memory', address: ram.userAddress, sizeBytes: 0 });
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
  const spec = queueOf(ram, kickFd, { type: 'null' });
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
