/** A request at which its sidecore dies, each time that it is done: the queue is left out, and the core lives. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BlockDevice, type BlockDeviceSpec } from '../../src/block/device.js';
import { Core } from '../../src/daemon/core.js';
import { GuestRam } from '../../src/guest/ram.js';
import { SplitDriver } from '../../src/guest/split-driver.js';
import { Epoll } from '../../src/host/epoll.js';
import { createEventFd } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { QUEUE_CRASHES_MAX } from '../../src/limits.js';
import { Directory } from '../../src/net/directory.js';
import { CoreFault } from '../../src/virtio/queue-faults.js';
import type { QueueSpec } from '../../src/virtio/queue-spec.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';
import { until } from '../vhost-user/raw-front-end.js';

const RAM_BYTES = 2 ** 20;
const DATA_BYTES = 512;
const RING_SIZE = 8;

/** A guest with one read in its ring, of a disk that says it is larger than its memory. */
function deadlyQueue(ram: GuestRam, kickFd: number): QueueSpec {
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
    shared: device.shared,
    readOnly: false,
    queues: 1,
    backend: { type: 'memory', address: host, sizeBytes: 0 },
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

it(`sidecores that die while they take a queue over stop doing so after ${QUEUE_CRASHES_MAX} deaths`, async (test) => {
  const ram = new GuestRam(RAM_BYTES);
  const kickFd = createEventFd();
  const epoll = new Epoll(1);
  let deaths = 0;
  const faults: number[] = [];
  const core = new Core(
    { index: 0, cpus: [0], helperCpus: [], sqpollCpu: undefined, idleAfterNs: 1e6, watcherFd: epoll.fd },
    {
      died: () => {
        deaths++;
      },
      stalled: () => {},
      lost: () => assert.fail('its I/O ended'),
    },
  );
  test.after(() => {
    ram.close();
    close(kickFd);
    close(epoll.fd);
  });
  core.start({ directory: Directory.create(1, 0), networks: 0, others: [] });
  const spec = deadlyQueue(ram, kickFd);
  // The first attach is answered, or given up with the queue: it depends on when the thread dies.
  await core.attach(spec, (fault) => faults.push(fault)).catch(() => {});
  await until(() => faults.length > 0, 'the queue is left out');
  assert.deepEqual(faults, [CoreFault.CRASHED_CORE]);
  assert.equal(deaths, QUEUE_CRASHES_MAX);
  assert.equal(core.queueCount, 0);
  // The thread that is up now answers: it does not have that queue, and does not die any more.
  assert.deepEqual(await core.detach(spec.key), { base: 1, started: false });
  await core.stop();
  assert.equal(deaths, QUEUE_CRASHES_MAX);
});
