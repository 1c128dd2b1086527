import { readlinkSync } from 'node:fs';
import { type ErrorCode, SidecoreError } from '../errors.js';
import { hostAddressOfUser } from '../guest-memory/guest-memory.js';
import { close, declare } from '../host/libc.js';
import { signalUnblockably } from '../host/unblockable-signal.js';
import { QUEUE_SIZE_MAX } from '../limits.js';
import { RING_FEATURES } from '../virtio/features.js';
import { faultCode } from '../virtio/queue-faults.js';
import type { DeviceSpec, QueueServer, QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase, QueueState } from '../virtio/queue-state.js';
import { RING_LAYOUTS, type RingKind, type RingLayout } from '../virtio/ring-layout.js';
import type { VringAddress } from './codec.js';
import type { MemoryTable } from './memory-table.js';
import type { Pace } from './pace.js';

const fcntl = declare('int fcntl(int fd, int command, intptr_t argument)');
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** What it takes to have a ring served, in messages of a session's pace: the sidecore takes part in it. */
const ATTACH_COST = 4;

let nextKey = 1;

/** What a ring needs of its session to be served. */
export interface VringContext {
  readonly server: QueueServer;
  readonly device: DeviceSpec;
  readonly memory: MemoryTable;
  readonly pace: Pace;
  /** Negotiated features. */
  readonly features: bigint;
  /** Tells the operator that the guest or the front end has broken this ring. */
  onFault(vring: Vring, code: ErrorCode): void;
}

/**
 * One ring as its front end sets it up, message by message, in whatever order. `resume` hands it to a sidecore once it is
 * complete; `pause` takes it back, before anything of it may change.
 */
export class Vring {
  readonly index: number;
  readonly key = nextKey++;
  enabled = false;
  /** What stopped the ring; undefined while it is sound. */
  fault: ErrorCode | undefined;
  /** Shared with the sidecore; counts on over restarts. */
  state: QueueState | undefined;
  size = 0;
  /** Where it stands, as SET_VRING_BASE said or the sidecore did, and in which layout, if that was known. */
  #stands: { readonly base: number; readonly kind: RingKind | undefined } | undefined;
  #address: VringAddress | undefined;
  #kickFd = -1;
  #callFd = -1;
  #errFd = -1;
  /** A kick descriptor, or word that there is none, has come: the ring may start. */
  #armed = false;
  #started = false;
  #attached = false;

  constructor(index: number) {
    this.index = index;
  }

  get attached(): boolean {
    return this.#attached;
  }

  get kickFd(): number {
    return this.#kickFd;
  }

  /**
   * From 1 to 32768; a power of two unless the ring is packed. VIRTIO 1.3, 2.7 and 2.8
   *
   * @param features - undefined before they are negotiated: then the size is held against the layout when the ring starts
   */
  setSize(size: number, features: bigint | undefined): void {
    const allowed = features === undefined || RING_LAYOUTS[ringKind(features)].allowsSize(size);
    if (size < 1 || size > QUEUE_SIZE_MAX || !allowed) {
      throw new SidecoreError('VRING_INVALID', `ring size ${size} is no power of two from 1 to ${QUEUE_SIZE_MAX}`);
    }
    this.size = size;
  }

  setAddress(address: VringAddress): void {
    if (address.descriptors % 16n !== 0n || address.available % 2n !== 0n || address.used % 4n !== 0n) {
      throw new SidecoreError('VRING_ADDRESS_INVALID', `ring ${this.index} has a part that is not aligned`);
    }
    this.#address = address;
    this.fault = undefined;
  }

  /** Where the ring stands. vhost-user, SET_VRING_BASE: for a packed ring both ends, each with its wrap counter. */
  setBase(base: number, features: bigint | undefined): void {
    const kind = features === undefined ? undefined : ringKind(features);
    if (kind === 'split' && base > 0xffff)
      throw new SidecoreError('VRING_INVALID', `ring index ${base} has more than 16 bits`);
    this.#stands = { base, kind };
  }

  /** Where the ring stands while it is not served: as new, if what is known of it was said of another layout. */
  base(features: bigint): number {
    const kind = ringKind(features);
    const { base, kind: saidOf = kind } = this.#stands ?? {};
    return base !== undefined && saidOf === kind ? base : RING_LAYOUTS[kind].freshBase;
  }

  /** Arms the ring. It starts with the first kick, or at once if there will be none because it is to be polled. */
  setKick(fd: number): void {
    requireEventFd(fd);
    close(this.#kickFd);
    this.#kickFd = fd;
    this.#armed = true;
    this.fault = undefined;
  }

  setCall(fd: number): void {
    requireEventFd(fd);
    close(this.#callFd);
    this.#callFd = fd;
  }

  setErr(fd: number): void {
    requireEventFd(fd);
    close(this.#errFd);
    this.#errFd = fd;
  }

  /**
   * Has the ring served, if everything it needs is there. A ring that its guest has broken is not retried; one that does not
   * lie in guest memory is, whenever something changes.
   *
   * @param memoryInPieces - guest memory comes and goes region by region: a ring that is not in it now may be so next
   */
  async resume(context: VringContext, memoryInPieces = false): Promise<void> {
    if (this.#attached || !this.enabled || !this.#armed) return;
    if (this.fault !== undefined && this.fault !== 'VRING_ADDRESS_INVALID') return;
    if (this.size === 0 || this.#address === undefined || context.memory.regions.length === 0) return;
    // Before anything is looked up that might change while this waits.
    await context.pace.take(ATTACH_COST);
    const kind = ringKind(context.features);
    const base = this.base(context.features);
    const { allowsSize, allowsBase } = RING_LAYOUTS[kind];
    if (!allowsSize(this.size) || !allowsBase(base, this.size)) return this.#break('VRING_INVALID', context);
    const ring = this.#layout(kind, context, this.#address);
    if (ring === undefined) {
      if (this.fault === undefined && !memoryInPieces) this.#break('VRING_ADDRESS_INVALID', context);
      return;
    }
    this.fault = undefined;
    if (this.state?.queueSize !== this.size || this.state.kind !== kind)
      this.state = QueueState.create(this.size, kind);
    this.state.fault = 0;
    this.state.phase = QueuePhase.STOPPED;
    const spec: QueueSpec = {
      key: this.key,
      index: this.index,
      state: this.state.buffer,
      device: context.device,
      memory: { id: context.memory.id, regions: context.memory.regions },
      ring,
      resume: false,
      base,
      kickFd: this.#kickFd,
      callFd: this.#callFd,
      started: this.#started,
    };
    await context.server.attach(spec, (fault) => this.#break(faultCode(fault), context));
    this.#attached = true;
  }

  /** Has it served no longer; nothing of it is in flight afterwards. */
  async pause(context: Pick<VringContext, 'server'>): Promise<void> {
    if (!this.#attached) return;
    const position = await context.server.detach(this.key);
    this.#attached = false;
    this.#stands = { base: position.base, kind: this.state?.kind };
    this.#started = position.started;
  }

  /** Back to "stopped": it waits for a new kick descriptor. The caller has paused it. */
  stop(): void {
    close(this.#kickFd);
    this.#kickFd = -1;
    this.#armed = false;
    this.#started = false;
  }

  /** Back to how it was before any message. The caller has paused it. */
  reset(): void {
    this.stop();
    close(this.#callFd);
    close(this.#errFd);
    this.#callFd = -1;
    this.#errFd = -1;
    this.#address = undefined;
    this.size = 0;
    this.#stands = undefined;
    this.enabled = false;
    this.fault = undefined;
  }

  #break(code: ErrorCode, context: VringContext): void {
    this.fault = code;
    // The front end shares the descriptor's flags, and may have made it blocking: this thread would wait for it.
    if (this.#errFd >= 0) signalUnblockably(this.#errFd);
    context.onFault(this, code);
  }

  /** Where the ring's parts are in this process; undefined if any of them is not in one region of guest memory. */
  #layout(kind: RingKind, { memory, features }: VringContext, address: VringAddress): RingLayout | undefined {
    const { bytes, alignment } = RING_LAYOUTS[kind];
    const sizes = bytes(this.size);
    const place = (part: keyof typeof sizes, userAddress: bigint) => {
      const host = hostAddressOfUser(memory.regions, Number(userAddress), sizes[part]);
      return host % alignment[part] === 0 ? host : -1;
    };
    const descriptors = place('descriptors', address.descriptors);
    const driverArea = place('driverArea', address.available);
    const deviceArea = place('deviceArea', address.used);
    if (descriptors < 0 || driverArea < 0 || deviceArea < 0) return undefined;
    return {
      kind,
      size: this.size,
      descriptors,
      driverArea,
      deviceArea,
      eventIdx: (features & RING_FEATURES.EVENT_IDX) !== 0n,
      indirect: (features & RING_FEATURES.INDIRECT_DESC) !== 0n,
    };
  }
}

/** The layout that was negotiated. */
function ringKind(features: bigint): RingKind {
  return (features & RING_FEATURES.RING_PACKED) !== 0n ? 'packed' : 'split';
}

/**
 * Takes nothing but event counters, and makes them non-blocking: a write to a full pipe would hold up a whole sidecore.
 */
function requireEventFd(fd: number): void {
  if (fd < 0) return;
  // The whole link: a file may have any name.
  if (readlinkSync(`/proc/self/fd/${fd}`) !== 'anon_inode:[eventfd]') {
    throw new SidecoreError('MESSAGE_FDS', 'a ring came with a descriptor that is no eventfd');
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
}
