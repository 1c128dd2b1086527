/** A sidecore by itself, and a guest with one queue of a disk for it. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { BlockDevice, type BlockDeviceSpec } from '../../src/block/device.js';
import { Core } from '../../src/daemon/core.js';
import { CoreThreads } from '../../src/daemon/core-threads.js';
import { GuestRam } from '../../src/guest/ram.js';
import { SplitDriver } from '../../src/guest/split-driver.js';
import { createEventFd } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { Directory } from '../../src/net/directory.js';
import { SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { POLLING_RULES } from '../../src/scheduler/polling.js';
import type { QueueSpec } from '../../src/virtio/queue-spec.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';

const RAM_BYTES = 2 ** 20;
const DATA_BYTES = 512;
const RING_SIZE = 8;

/** A guest with one read in its ring, of a disk that says it has `RAM_BYTES`, whatever its back end has. */
export function queueOf(
  ram: GuestRam,
  kickFd: number,
  backend: BlockDeviceSpec['backend'],
): { spec: QueueSpec; ring: SplitDriver } {
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
  const disk: BlockDeviceSpec = {
    kind: 'block',
    account: { id: 0, weight: 1 },
    shared: device.shared,
    readOnly: false,
    queues: 1,
    backend,
  };
  const spec: QueueSpec = {
    key: 7,
    index: 0,
    state: QueueState.create(RING_SIZE).buffer,
    device: disk,
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
  return { spec, ring };
}

/** The deaths of a core, and the faults of its queues. */
interface Troubles {
  deaths: number;
  readonly faults: number[];
}

export function startCore(): { core: Core; troubles: Troubles } {
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
    new CoreThreads(),
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
export function guestOf(test: TestContext): { ram: GuestRam; kickFd: number } {
  const ram = new GuestRam(RAM_BYTES);
  const kickFd = createEventFd();
  test.after(() => {
    ram.close();
    close(kickFd);
  });
  return { ram, kickFd };
}
