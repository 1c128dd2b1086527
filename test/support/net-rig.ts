/** Guests with network cards on the switches of one sidecore, driven by descriptors in their memory; no thread, no socket. */

import assert from 'node:assert/strict';
import { RequestPool } from '../../src/block/request.js';
import { FilterDesk } from '../../src/filter/filter-desk.js';
import { createFrameHost } from '../../src/filter/frame-create.js';
import { BATCH_BYTES_MAX } from '../../src/limits.js';
import { Crossing } from '../../src/net/crossing.js';
import { CrossingRing } from '../../src/net/crossing-ring.js';
import { NetDevice, type NetDeviceSpec } from '../../src/net/device.js';
import { NetDeviceState } from '../../src/net/device-state.js';
import { Directory } from '../../src/net/directory.js';
import { macHigh, macLow } from '../../src/net/ethernet.js';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { NetHeader, NetHeaderOffset, readNetHeader } from '../../src/net/net-header.js';
import { Networks } from '../../src/net/networks.js';
import { PortCounter, type PortCounterName } from '../../src/net/port.js';
import type { NetRxQueue } from '../../src/net/rx-queue.js';
import type { NetTxQueue } from '../../src/net/tx-queue.js';
import { type PortVlans, trunkPort } from '../../src/net/vlan.js';
import { createQueue, type DeviceHost } from '../../src/sidecore/create-queue.js';
import type { DeviceQueue } from '../../src/virtio/device-queue.js';
import type { QueueSpec } from '../../src/virtio/queue-spec.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import type { RingKind } from '../../src/virtio/ring-layout.js';
import type { Element, RingUnderTest, Used } from '../conformance/virtqueue-layout.js';
import { createPackedRing } from '../conformance/virtqueue-packed.js';
import { createSplitRing } from '../conformance/virtqueue-split.js';
import { chainOf, type TestFrameFilter } from './frame-filters.js';
import { macOf } from './frames.js';
import { TestMemory } from './guest-memory.js';

/** Guest memory: a part for what is sent, one for receive buffers. Windows are small, so that much crosses one. */
export const SEND_AREA = { guestAddress: 0x10_0000, size: 2 ** 20 };
export const RECEIVE_AREA = { guestAddress: 0x40_0000, size: 2 ** 22 };
const WINDOW_BYTES = 2 ** 18;
/** Where rings of a guest lie that are in its memory: that to receive, that to send. Behind all receive buffers. */
export const RING_AREAS = [RECEIVE_AREA.guestAddress + 2 ** 21, RECEIVE_AREA.guestAddress + 3 * 2 ** 20] as const;
/** What receive buffers hold before anything was written to them. */
const STALE = 0xee;
/** Frames taken in one turn of a queue. */
const TURN_FRAMES = 64;

/** By the shared memory of a card: its filters, on whichever sidecore. */
const RIG_FILTERS = new WeakMap<SharedArrayBuffer, readonly TestFrameFilter[]>();

export interface GuestOptions {
  readonly layout?: RingKind;
  /** What the driver acknowledges; everything offered if left out. */
  readonly features?: bigint;
  readonly vlans?: PortVlans;
  readonly network?: number;
  readonly ringSize?: number;
  /** Receive buffers that are offered at the start and again as soon as they were used: how many, bytes, bytes between them. */
  readonly buffers?: number;
  readonly bufferBytes?: number;
  readonly gapBytes?: number;
  /** Its rings lie in its memory, where it can change them: at `RING_AREAS`. */
  readonly ringsInMemory?: boolean;
  /** What stands between its card and the switch, nearest to it first. */
  readonly filters?: readonly TestFrameFilter[];
}

/** What a guest found in its receive buffers. */
export interface Received {
  readonly header: NetHeader;
  readonly frame: Buffer;
  /** Bytes that the used ring says were written, buffer by buffer. */
  readonly written: readonly number[];
}

/** One ring of a guest, with both ends. */
class GuestRing<Queue extends DeviceQueue> {
  ring!: RingUnderTest;
  state!: QueueState;
  queue!: Queue;
  #rig: NetRig;
  readonly #guest: Guest;
  readonly #spec: QueueSpec;

  constructor(rig: NetRig, guest: Guest, index: number) {
    this.#rig = rig;
    this.#guest = guest;
    this.#spec = { index, device: guest.spec, callFd: -1 } as Partial<QueueSpec> as QueueSpec;
    this.#setUp();
  }

  get driver() {
    return this.ring.driver;
  }

  /** Has another thread's queue go on where this one is. */
  takeOver(): void {
    this.#leave();
    this.#open(true);
    this.queue.retakeUnfinished();
  }

  /** Has another sidecore serve it, from where it stands. */
  moveTo(rig: NetRig): void {
    this.#leave();
    this.#rig = rig;
    // Nothing is in flight: that it goes on where it was is what a new start there would come to.
    this.#open(true);
  }

  /** Sets the ring up anew, as a driver that has reset its device. */
  renew(): void {
    this.#leave();
    this.ring.release();
    this.#setUp();
  }

  #leave(): void {
    this.#rig.forget(this.queue);
    this.queue.close();
  }

  #setUp(): void {
    const { layout, ringSize: size, ringsInMemory, memory } = this.#guest;
    const setup = { size, eventIdx: true, indirect: true, start: 65_530 };
    const at = ringsInMemory ? memory.pieces(RING_AREAS[this.#spec.index]!, 1)![0]!.host : undefined;
    this.ring = layout === 'split' ? createSplitRing(setup, at) : createPackedRing(setup, at);
    this.state = QueueState.create(size, layout);
    this.#open(false);
  }

  #open(resume: boolean): void {
    const memory = this.#guest.memory.guest;
    const ring = this.ring.device(memory, this.state.inflight, resume);
    this.queue = createQueue(this.#spec, { ring, memory, state: this.state }, this.#rig) as Queue;
    this.queue.start();
  }
}

export class Guest {
  readonly mac: Buffer;
  readonly memory = new TestMemory([SEND_AREA, RECEIVE_AREA], WINDOW_BYTES);
  readonly device: NetDevice;
  readonly spec: NetDeviceSpec;
  readonly layout: RingKind;
  readonly ringSize: number;
  readonly ringsInMemory: boolean;
  readonly filters: readonly TestFrameFilter[];
  readonly tx: GuestRing<NetTxQueue>;
  readonly rx: GuestRing<NetRxQueue>;
  readonly #state: NetDeviceState;
  /** By head: the memory of a receive buffer. */
  readonly #buffers = new Map<number, readonly Element[]>();
  #sendAt = SEND_AREA.guestAddress;

  constructor(rig: NetRig, number: number, options: GuestOptions) {
    const { layout = 'split', vlans = trunkPort(), network = 0, ringSize = 256 } = options;
    this.layout = layout;
    this.ringSize = ringSize;
    this.ringsInMemory = options.ringsInMemory ?? false;
    this.filters = options.filters ?? [];
    this.mac = macOf(number);
    const mac = { high: macHigh(this.mac, 0), low: macLow(this.mac, 0) };
    this.device = new NetDevice({ mac, mtu: 1500, queuePairs: 1, speedMbps: 10_000, offloads: true });
    this.device.negotiate(options.features ?? this.device.offeredFeatures);
    const { shared } = this.device;
    const account = { id: number, weight: 1 };
    this.spec = { kind: 'net', shared, account, switchId: network, port: number, queuePairs: 1, vlans, mac };
    this.#state = new NetDeviceState(shared);
    rig.made(this);
    RIG_FILTERS.set(shared, this.filters);
    this.rx = new GuestRing<NetRxQueue>(rig, this, 0);
    this.tx = new GuestRing<NetTxQueue>(rig, this, 1);
    this.wipe();
    const { buffers = 32, bufferBytes = 2048, gapBytes = 0 } = options;
    for (let i = 0; i < buffers; i++) {
      const address = RECEIVE_AREA.guestAddress + i * (bufferBytes + gapBytes);
      this.offer([{ address, length: bufferBytes, writable: true }]);
    }
  }

  /** Makes receive buffers look as if nothing had been written to them. */
  wipe(): void {
    this.memory.bytesOf(RECEIVE_AREA.guestAddress).fill(STALE);
  }

  count(name: PortCounterName): number {
    return this.#state.counters[PortCounter[name]]!;
  }

  /** Counters that are not zero, without frames and bytes that passed. */
  get drops(): Partial<Record<PortCounterName, number>> {
    const names = Object.keys(PortCounter) as PortCounterName[];
    const entries = names.map((name) => [name, this.count(name)] as const);
    return Object.fromEntries(entries.filter(([name, count]) => count !== 0 && !/_(IN|OUT)$/.test(name)));
  }

  /** Offers one chain for what is received. */
  offer(elements: readonly Element[]): void {
    this.#buffers.set(this.rx.driver.add(elements), elements);
    this.rx.driver.publish();
  }

  /**
   * Puts a frame into the send ring, behind a header that asks for nothing or the one given. `cuts` are the bytes of its
   * descriptors, the last of which has the rest; `skew` moves it in memory.
   */
  send(frame: Uint8Array, options: { header?: Uint8Array; cuts?: readonly number[]; skew?: number } = {}): void {
    const { header = Buffer.alloc(NET_HEADER_BYTES), cuts = [], skew = 0 } = options;
    this.sendRaw(Buffer.concat([header, frame]), cuts, skew);
  }

  /** The same for any bytes. */
  sendRaw(bytes: Uint8Array, cuts: readonly number[] = [], skew = 0): void {
    const room = bytes.length + 16 * (cuts.length + 1);
    if (this.#sendAt + room > SEND_AREA.guestAddress + SEND_AREA.size) this.#sendAt = SEND_AREA.guestAddress;
    const elements: Element[] = [];
    let from = 0;
    for (const wanted of [...cuts, bytes.length]) {
      const length = Math.min(wanted, bytes.length - from);
      const address = this.#sendAt + skew;
      this.memory.write(address, bytes.subarray(from, from + length));
      elements.push({ address, length });
      // Pieces do not touch, and begin where a word does.
      this.#sendAt += (length + 11) & ~3;
      from += length;
    }
    this.sendChain(elements);
  }

  /** Puts any chain into the send ring. */
  sendChain(elements: readonly Element[]): void {
    this.tx.driver.add(elements);
    this.tx.driver.publish();
  }

  /** Takes back what was sent: all of it, if `all` says so. */
  reclaim(all = true): number {
    let count = 0;
    for (let used = this.tx.driver.take(); used !== undefined; used = this.tx.driver.take()) {
      assert.equal(used.written, 0, 'nothing is written to what is sent');
      count++;
    }
    if (all) assert.equal(this.tx.driver.free, this.ringSize, 'all that was sent is given back');
    return count;
  }

  /** All that has come, in order. */
  received(): Received[] {
    const frames: Received[] = [];
    for (let first = this.rx.driver.take(); first !== undefined; first = this.rx.driver.take()) {
      const bytes = [this.#read(first)];
      const written = [first.written];
      const header = new NetHeader();
      assert.ok(first.written >= NET_HEADER_BYTES, `a header is written, not ${first.written} bytes`);
      readNetHeader(bytes[0]!, 0, header);
      for (let i = 1; i < header.numBuffers; i++) {
        const next = this.rx.driver.take();
        assert.ok(next !== undefined, `${header.numBuffers} buffers, of which ${i} are there`);
        bytes.push(this.#read(next));
        written.push(next.written);
      }
      frames.push({ header, frame: Buffer.concat(bytes).subarray(NET_HEADER_BYTES), written });
    }
    return frames;
  }

  /** The frames alone. */
  frames(): Buffer[] {
    return this.received().map(({ frame }) => frame);
  }

  /** Has another sidecore serve both rings. */
  moveTo(rig: NetRig): void {
    this.tx.moveTo(rig);
    this.rx.moveTo(rig);
  }

  /** Sets both rings up anew; receive buffers are to be offered then. */
  renew(): void {
    this.#buffers.clear();
    this.rx.renew();
    this.tx.renew();
  }

  /** What was written to a buffer, which is offered again. Fails if more of it was written. */
  #read({ head, written }: Used): Buffer {
    const elements = this.#buffers.get(head)!;
    const writable = elements.filter((element) => element.writable);
    const whole = Buffer.concat(writable.map(({ address, length }) => this.memory.read(Number(address), length)));
    assert.ok(written <= whole.length, 'more is written than a buffer holds');
    assert.ok(
      whole.subarray(written).every((byte) => byte === STALE),
      'what lies behind a frame was written',
    );
    for (const { address, length } of writable) this.memory.write(Number(address), Buffer.alloc(length, STALE));
    this.#buffers.delete(head);
    this.offer(elements);
    return whole.subarray(0, written);
  }

  release(): void {
    this.memory.release();
    this.rx.ring.release();
    this.tx.ring.release();
  }
}

export class NetRig implements DeviceHost {
  /** Its guests have no descriptors to be called by: no call waits. */
  readonly calls = { holdCall: () => assert.fail('a call is held') };
  readonly pool = new RequestPool(1);
  readonly filterDesk = new FilterDesk();
  readonly helperBell = new SharedArrayBuffer(8);
  makeHelper(): void {}
  readonly filterMark = new Int32Array(1);
  readonly networks: Networks;
  readonly guests: Guest[] = [];
  /** The clock of frame filters' turns, ns. */
  readonly clock = { ns: 1e15 };
  readonly frameHost = {
    ...createFrameHost(),
    readNowNs: (into: Float64Array, slot: number) => {
      into[slot] = this.clock.ns;
    },
  };
  readonly #dirty: DeviceQueue[] = [];
  readonly #firstNumber: number;

  /** @param mesh - of several sidecores: the number of this one, and its ways to the others */
  constructor(mesh?: { core: number; directory: Directory; crossings: readonly Crossing[] }) {
    const { core = 0, directory = new Directory(Directory.create(1, 64), 64), crossings = [] } = mesh ?? {};
    this.networks = new Networks(core, directory, crossings, (spec, port, network, _, networks) => {
      const filters = RIG_FILTERS.get(spec.shared) ?? [];
      return filters.length === 0 ? undefined : chainOf(filters, port, network, this.frameHost, networks);
    });
    this.#firstNumber = 100 * core;
  }

  guest(options: GuestOptions = {}): Guest {
    return new Guest(this, this.#firstNumber + this.guests.length, options);
  }

  /** A guest is there, whose queues are made next. */
  made(guest: Guest): void {
    this.guests.push(guest);
  }

  markDirty(queue: DeviceQueue): void {
    this.#dirty.push(queue);
  }

  /** A queue has no thread any more that would publish it. */
  forget(queue: DeviceQueue): void {
    const at = this.#dirty.indexOf(queue);
    if (at >= 0) this.#dirty.splice(at, 1);
  }

  uring(): undefined {
    return undefined;
  }

  uringUser(): number {
    return 0;
  }

  /** Turns of a sidecore, until there is nothing to do. */
  run(): void {
    while (this.turn() > 0);
  }

  /** One turn: all that was sent is switched, what has crossed too, and everything is published. */
  turn(): number {
    let work = 0;
    for (const { tx } of this.guests) {
      if (tx.queue.closed) continue;
      work += tx.queue.serve(TURN_FRAMES, BATCH_BYTES_MAX);
      this.#publish();
    }
    work += this.networks.turn();
    this.#publish();
    this.networks.flush();
    return work;
  }

  /** Fails if memory was written that belongs to no guest. */
  release(): void {
    for (const guest of this.guests) guest.release();
  }

  #publish(): void {
    for (const queue of this.#dirty.splice(0)) queue.publish();
  }
}

/** Sidecores whose networks are joined, in one thread. */
export class Mesh {
  readonly rigs: readonly NetRig[];
  /** By number of the sidecore: its ways to the others, in their order. */
  readonly crossings: readonly (readonly Crossing[])[];
  readonly directory: Directory;
  /** By number: how often it was woken. */
  readonly wakes: number[];

  constructor(cores: number, ringBytes = 2 ** 17, networks = 4) {
    const numbers = Array.from({ length: cores }, (_, core) => core);
    const rings = numbers.map(() => numbers.map(() => CrossingRing.create(ringBytes)));
    const directory = new Directory(Directory.create(cores, networks), networks);
    this.directory = directory;
    this.wakes = numbers.map(() => 0);
    this.crossings = numbers.map((here) =>
      numbers
        .filter((there) => there !== here)
        .map((there) => {
          const setup = { core: there, arrivals: rings[there]![here]!, departures: rings[here]![there]! };
          return new Crossing(setup, directory, () => {
            this.wakes[there]!++;
          });
        }),
    );
    this.rigs = numbers.map((core) => new NetRig({ core, directory, crossings: this.crossings[core]! }));
  }

  /** Has a card served by another sidecore, as the daemon does it. */
  move(guest: Guest, from: NetRig, to: NetRig): void {
    for (const { networks } of this.rigs) networks.freeze(guest.spec.switchId);
    this.run();
    from.guests.splice(from.guests.indexOf(guest), 1);
    this.directory.move(guest.spec.port, this.rigs.indexOf(to));
    guest.moveTo(to);
    to.guests.push(guest);
    for (const { networks } of this.rigs) networks.thaw(guest.spec.switchId);
  }

  /** Turns of all, until there is nothing to do. */
  run(): void {
    for (let work = 1; work > 0; ) {
      work = 0;
      for (const rig of this.rigs) work += rig.turn();
    }
  }

  release(): void {
    for (const rig of this.rigs) rig.release();
  }
}

/** Runs `test` on sidecores that are joined. */
export function withMesh(cores: number, test: (mesh: Mesh) => void, ringBytes?: number): void {
  const mesh = new Mesh(cores, ringBytes);
  try {
    test(mesh);
  } finally {
    mesh.release();
  }
}

/** Runs `test` on a rig, and gives its memory back whatever comes of it. */
export function withRig(test: (rig: NetRig) => void): void {
  const rig = new NetRig();
  try {
    test(rig);
  } finally {
    rig.release();
  }
}

/** A network header as it precedes a frame. */
export function headerBytes(fields: Partial<Record<keyof typeof NetHeaderOffset, number>>): Buffer {
  const bytes = Buffer.alloc(NET_HEADER_BYTES);
  for (const [name, value] of Object.entries(fields)) {
    const at = NetHeaderOffset[name as keyof typeof NetHeaderOffset];
    if (at < NetHeaderOffset.HDR_LEN) bytes[at] = value;
    else bytes.writeUInt16LE(value, at);
  }
  return bytes;
}
