import { MessageChannel } from 'node:worker_threads';
import type { BackendSpec } from '../block/backends/index.js';
import { IoErrors } from '../block/backends/io-errors.js';
import { BlockDeviceState } from '../block/device.js';
import { SECTOR_BYTES } from '../block/features.js';
import { HelperBell } from '../filter/helper-channel.js';
import { ChainControl, FilterMemory } from '../filter/memory.js';
import type { FilteredDeviceSpec, FilterModule, FilterSpec } from '../filter/spec.js';
import { Epoll } from '../host/epoll.js';
import { createEventFd } from '../host/eventfd.js';
import { close } from '../host/libc.js';
import { createSealedMemory, mapAnonymous, PAGE_BYTES, unmap } from '../host/memory-map.js';
import { viewWords16, viewWords32 } from '../host/memory-view.js';
import { CONFIG_SPACE_BYTES_MAX, FILTER_DEFER_S, FILTER_TIME_US } from '../limits.js';
import { Directory } from '../net/directory.js';
import { SCHEDULER_DEFAULTS } from '../scheduler/policy.js';
import { POLLING_RULES } from '../scheduler/polling.js';
import type { QueueSpec } from '../virtio/queue-spec.js';
import { QueueState } from '../virtio/queue-state.js';
import { DESCRIPTOR_WORDS, DescriptorFlag } from '../virtio/ring-layout.js';
import { CoreState } from './core-state.js';
import type { CoreRequest } from './messages.js';
import { Sidecore } from './sidecore.js';

/** Times that a queue is taken over, and requests in it each time: after these V8 has compiled the code and seen its types. */
const ROUNDS = 16;
const REQUESTS = 16;
export const REHEARSED_REQUESTS = ROUNDS * REQUESTS;
const RING_SIZE = 64;
/** Pages of the guest's memory, by what is in them; after these the disk's. */
const Page = { DESCRIPTORS: 0, AVAILABLE: 1, USED: 2, HEADER: 3, DATA: 4, STATUS: 5, DISK: 6 } as const;
const PAGES = Object.keys(Page).length;
const HEADER_BYTES = 16;
const COUNTERS = ['refused'];

/** One of each kind of module. */
const FILTERS: readonly FilterModule[] = [
  { kind: 'built-in', name: 'readonly' },
  {
    kind: 'text',
    file: 'rehearsal.cjs',
    text: 'module.exports = { name: "pass", create: () => ({ submit(request, next) { next(request); }, complete: (request, status) => status }) };',
  },
];

/**
 * Takes over a queue of a disk of its own, again and again, as a thread does whose predecessor has died: guests that wait for that shall not wait
 * for code that runs for the first time. To be called where the calling thread has nothing else to do. Returns how many requests were served.
 */
export function rehearse(): number {
  const map = mapAnonymous(PAGES * PAGE_BYTES);
  const fd = createSealedMemory('rehearsal', PAGE_BYTES);
  const backends: readonly BackendSpec[] = [
    { type: 'memory', address: map.address + Page.DISK * PAGE_BYTES, sizeBytes: PAGE_BYTES },
    {
      type: 'file',
      fd,
      engine: 'auto',
      memoryAlignBytes: 1,
      canPunch: false,
      lostWrites: new SharedArrayBuffer(4),
      ioErrors: new IoErrors().memory,
    },
  ];
  const used = viewWords16(map.address + Page.USED * PAGE_BYTES, PAGE_BYTES);
  fillRing(map.address);
  let served = 0;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      used[1] = 0;
      takeOver(map.address, backends[round % backends.length]!);
      served += used[1]!;
    }
  } finally {
    close(fd);
    unmap(map);
  }
  return served;
}

/** With a sidecore that is new each time. */
function takeOver(address: number, backend: BackendSpec): void {
  const { port1, port2 } = new MessageChannel();
  const state = new CoreState();
  const [bellFd, doorwayFd, kickFd, callFd] = [createEventFd(), new Epoll(1).fd, createEventFd(), createEventFd()];
  try {
    const sidecore = new Sidecore({
      cpus: [],
      workerCpus: [],
      sqpollCpu: undefined,
      polling: POLLING_RULES.adaptive,
      scheduler: SCHEDULER_DEFAULTS,
      state: state.buffer,
      bellFd,
      doorwayFd,
      helperBell: new HelperBell().buffer,
      index: 0,
      neighbours: { directory: Directory.create(1, 0), networks: 0, others: [] },
      mailbox: port2,
    });
    port1.postMessage({ id: 1, op: 'attach', queue: queueOf(address, backend, kickFd, callFd) } satisfies CoreRequest);
    port1.postMessage({ id: 2, op: 'stop' } satisfies CoreRequest);
    state.ring();
    sidecore.run();
  } finally {
    port1.close();
    for (const fd of [bellFd, doorwayFd, kickFd, callFd]) close(fd);
  }
}

/** Requests that read the disk's first sector: their header is all zeros. VIRTIO 1.3, 2.7 and 5.2.6 */
function fillRing(address: number): void {
  const at = (page: number) => address + page * PAGE_BYTES;
  const descriptors = viewWords32(at(Page.DESCRIPTORS), PAGE_BYTES);
  const available = viewWords16(at(Page.AVAILABLE), PAGE_BYTES);
  const { NEXT, WRITE } = DescriptorFlag;
  for (let request = 0; request < REQUESTS; request++) {
    const head = 3 * request;
    const chain = [
      [Page.HEADER, HEADER_BYTES, NEXT],
      [Page.DATA, SECTOR_BYTES, NEXT | WRITE],
      [Page.STATUS, 1, WRITE],
    ] as const;
    for (const [index, [page, length, flags]] of chain.entries()) {
      const words = [page * PAGE_BYTES, 0, length, flags | ((head + index + 1) << 16)];
      descriptors.set(words, DESCRIPTOR_WORDS * (head + index));
    }
    available[2 + request] = head;
  }
  available[1] = REQUESTS;
}

function queueOf(address: number, backend: BackendSpec, kickFd: number, callFd: number): QueueSpec {
  const at = (page: number) => address + page * PAGE_BYTES;
  return {
    key: 1,
    index: 0,
    state: QueueState.create(RING_SIZE).buffer,
    device: deviceOf(backend),
    memory: {
      id: 1,
      regions: [{ guestAddress: 0, size: Page.DISK * PAGE_BYTES, userAddress: 0, hostAddress: address }],
    },
    ring: {
      kind: 'split',
      size: RING_SIZE,
      descriptors: at(Page.DESCRIPTORS),
      driverArea: at(Page.AVAILABLE),
      deviceArea: at(Page.USED),
      eventIdx: false,
      indirect: false,
    },
    resume: true,
    base: 0,
    kickFd,
    callFd,
    started: true,
  };
}

function deviceOf(backend: BackendSpec): FilteredDeviceSpec {
  const filters = FILTERS.map(filterOf);
  return {
    kind: 'block',
    account: { id: 0, weight: 1 },
    shared: new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + BlockDeviceState.BYTES),
    readOnly: false,
    queues: 1,
    backend,
    filters: { vm: 'rehearsal', device: 'disk', queues: 1, control: new ChainControl().buffer, filters },
  };
}

function filterOf(module: FilterModule, index: number): FilterSpec {
  const none = new SharedArrayBuffer(0);
  const shape = { counters: COUNTERS, histograms: [] };
  return {
    ...shape,
    id: index + 1,
    name: 'rehearsal',
    defers: false,
    hasHelper: false,
    module,
    options: {},
    prepared: undefined,
    onFault: 'open',
    deferNsMax: 1e9 * FILTER_DEFER_S,
    timeNsMax: 1e3 * FILTER_TIME_US,
    memory: new FilterMemory({ ...shape, queues: 1 }).buffer,
    shared: none,
    group: none,
    disks: {},
    belowBytes: PAGE_BYTES,
  };
}
