import type { BlockBackend } from '../block/backends/backend.js';
import { createBackend } from '../block/backends/index.js';
import { BlockDeviceState } from '../block/device.js';
import { BlockQueue, type BlockQueueHost } from '../block/queue.js';
import { FilterChain } from '../filter/chain.js';
import { changeChain, createChain, type FilterHost } from '../filter/create.js';
import type { ChainSpec, FilteredDeviceSpec } from '../filter/spec.js';
import { ALL_BLOCK_FILTERS } from '../filters/block/index.js';
import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { NetControlQueue } from '../net/control-queue.js';
import type { NetDeviceSpec } from '../net/device.js';
import { NetDeviceState } from '../net/device-state.js';
import { LEGACY_NET_HEADER_BYTES, NET_FEATURES, NET_HEADER_BYTES } from '../net/features.js';
import type { Networks } from '../net/networks.js';
import { NetRxQueue } from '../net/rx-queue.js';
import { NetTxQueue } from '../net/tx-queue.js';
import type { UringHost } from '../net/uring-user.js';
import type { CallHost } from '../scheduler/call-wait.js';
import { Coalescing } from '../scheduler/coalescing.js';
import { CallLine } from '../virtio/call-line.js';
import type { DeviceQueue } from '../virtio/device-queue.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { QueueSpec } from '../virtio/queue-spec.js';
import type { QueueState } from '../virtio/queue-state.js';
import type { Virtqueue } from '../virtio/virtqueue.js';

/** What devices need of the sidecore on which their queues are served. */
export interface DeviceHost extends BlockQueueHost, FilterHost, UringHost {
  readonly calls: CallHost;
  readonly networks: Networks;
}

interface QueueParts {
  readonly ring: Virtqueue;
  readonly memory: GuestMemory;
  readonly state: QueueState;
}

/** Makes the device's end of a queue, by the kind of its device. */
export function createQueue(spec: QueueSpec, parts: QueueParts, host: DeviceHost): DeviceQueue {
  const device = spec.device as FilteredDeviceSpec | NetDeviceSpec;
  const calls = new CallLine({ ...parts, callFd: spec.callFd, policy: new Coalescing(), host: host.calls });
  switch (device.kind) {
    case 'block':
      return new BlockQueue({
        ...parts,
        device: new BlockDeviceState(device.shared),
        readOnly: device.readOnly,
        queues: device.queues,
        backend: createFiltered(device, spec.index, host),
        host,
        calls,
      });
    case 'net':
      return createNetQueue(spec, device, { ...parts, calls }, host);
  }
}

/** Makes a disk's back end, with its filters before it. */
function createFiltered({ backend, filters }: FilteredDeviceSpec, queue: number, host: DeviceHost): BlockBackend {
  const below = createBackend(backend, host);
  return filters === undefined ? below : createChain(filters, queue, below, ALL_BLOCK_FILTERS, host);
}

/** Has a disk's queue, which is settled, use other filters. */
export function changeFilters(queue: BlockQueue, spec: ChainSpec | undefined, index: number, host: DeviceHost): void {
  const { backend } = queue;
  if (!(backend instanceof FilterChain)) {
    if (spec === undefined) return;
    queue.backend = createChain(spec, index, backend, ALL_BLOCK_FILTERS, host);
    // Until the other queues have them, too.
    queue.quiesce();
  } else if (spec !== undefined) {
    changeChain(backend, spec, index, ALL_BLOCK_FILTERS, host);
  } else {
    backend.filters = [];
    queue.backend = backend.backend;
  }
}

/**
 * Where a ring starts: as its front end says, or undefined for where it was used last. A card gives back what it takes in order and
 * before its rings stop, so what is not used was not taken: whatever a front end says that does not know. Cloud Hypervisor says
 * after a lost connection that all is taken, with all receive buffers; DPDK says that nothing is.
 */
export function startOf({ device, ring, base }: QueueSpec): number | undefined {
  // A packed ring does not say in guest memory what was used.
  return device.kind === 'net' && ring.kind === 'split' ? undefined : base;
}

/** Even queues receive, odd ones send. VIRTIO 1.3, 5.1.2 */
function createNetQueue(
  spec: QueueSpec,
  device: NetDeviceSpec,
  parts: QueueParts & { readonly calls: CallLine },
  host: DeviceHost,
): DeviceQueue {
  const state = new NetDeviceState(device.shared);
  const { features } = state;
  const control = (features & NET_FEATURES.MQ) !== 0n ? 2 * device.queuePairs : 2;
  if ((features & NET_FEATURES.CTRL_VQ) !== 0n && spec.index === control) {
    const pairsMax = device.queuePairs;
    state.beginControl();
    return new NetControlQueue({ ...parts, device: state, pairsMax, host });
  }
  const port = host.networks.port(device);
  const mergeable = (features & NET_FEATURES.MRG_RXBUF) !== 0n;
  const headerBytes =
    mergeable || (features & RING_FEATURES.VERSION_1) !== 0n ? NET_HEADER_BYTES : LEGACY_NET_HEADER_BYTES;
  const common = { ...parts, host, headerBytes };
  if (spec.index % 2 === 1) {
    const network = host.networks.switch(device.switchId);
    return new NetTxQueue({ ...common, device: state, network, port, pair: spec.index >> 1 });
  }
  const queue = new NetRxQueue({
    ...common,
    pair: spec.index >> 1,
    mergeable,
    onClose: (closed) => port.remove(closed),
  });
  port.add(queue);
  return queue;
}
