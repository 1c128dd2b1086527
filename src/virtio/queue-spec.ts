import type { MappedRegion } from '../guest-memory/guest-memory.js';
import type { RingLayout } from './ring-layout.js';

/** What all queues of a device have in common. Plain data; the rest is known to its kind. */
export interface DeviceSpec {
  readonly kind: string;
  /** State that they share; also tells one device from another. */
  readonly shared: SharedArrayBuffer;
  /** Whose it is: the VM's number, and its weight against others when sidecores share their time among them. */
  readonly account: { readonly id: number; readonly weight: number };
}

/** Everything a sidecore needs to serve a queue: whole, validated, and plain data. */
export interface QueueSpec {
  /** Identifies the queue among all of the daemon; never zero. */
  readonly key: number;
  /** Its number in the device. */
  readonly index: number;
  /** Memory of its `QueueState`. */
  readonly state: SharedArrayBuffer;
  readonly device: DeviceSpec;
  /** Guest memory; queues with the same number share one view of it. */
  readonly memory: { readonly id: number; readonly regions: readonly MappedRegion[] };
  readonly ring: RingLayout;
  /** Takes the ring over from a thread that died. */
  readonly resume: boolean;
  /** Where the ring starts, unless it is resumed, as SET_VRING_BASE gives it. */
  readonly base: number;
  /** Event counters; negative if the front end gave none (it polls, or wants to be polled). */
  readonly kickFd: number;
  readonly callFd: number;
  /** Whether the ring has had its first kick. */
  readonly started: boolean;
}

/** Where a detached queue stands. */
export interface QueuePosition {
  /** Where the ring stands, as GET_VRING_BASE gives it. */
  readonly base: number;
  /** Whether it has had its first kick. */
  readonly started: boolean;
}

/** Where queues are served: attaches them to a sidecore, wherever that is. */
export interface QueueServer {
  /** Has the queue served from now on. `onFault` is called once if its guest breaks it. */
  attach(spec: QueueSpec, onFault: (fault: number) => void): Promise<void>;
  /** Ends that. Resolves when nothing of the queue is in flight any more. */
  detach(key: number): Promise<QueuePosition>;
  /** Sends a frame of ours as if the network card had sent it. */
  inject(device: DeviceSpec, frame: Uint8Array): Promise<void>;
}
