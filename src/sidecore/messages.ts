import type { MessagePort } from 'node:worker_threads';
import type { HelperSetup } from '../filter/helpers.js';
import type { ChainSpec } from '../filter/spec.js';
import type { IoUringHandles } from '../host/io-uring.js';
import type { CrossingSetup } from '../net/crossing.js';
import type { NetDeviceSpec } from '../net/device.js';
import type { PortSpec } from '../net/ports/port-spec.js';
import type { SchedulerOptions } from '../scheduler/policy.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { QueuePosition, QueueSpec } from '../virtio/queue-spec.js';

/** What is recorded of which port, and into what. */
export interface CaptureSpec {
  /** Its number; it need not be there yet. */
  readonly port: number;
  /** Of `createCaptureRing`. */
  readonly ring: SharedArrayBuffer;
  /** Most that is kept of a frame. */
  readonly snapBytes: number;
}

/** What the daemon tells a sidecore. Each is answered once, by its `id`. */
export type CoreRequest =
  | { readonly id: number; readonly op: 'attach'; readonly queue: QueueSpec }
  /** Answered when nothing of the queue is in flight any more. */
  | { readonly id: number; readonly op: 'detach'; readonly key: number }
  /** Takes a `detach` back that is not answered yet: it is answered without a position, and the queue is served on. */
  | { readonly id: number; readonly op: 'retain'; readonly key: number }
  /** Sends a frame as if a network card had sent it. */
  | { readonly id: number; readonly op: 'inject'; readonly device: NetDeviceSpec; readonly frame: Uint8Array }
  /** What passes a port is recorded, as `FrameCapture` does it; and not any more. */
  | ({ readonly id: number; readonly op: 'capture' } & CaptureSpec)
  | { readonly id: number; readonly op: 'uncapture'; readonly port: number }
  /** Puts a card's filters in place of those that it has, if it is here. */
  | { readonly id: number; readonly op: 'refilter'; readonly device: NetDeviceSpec }
  /** Plugs a port that is no guest's into its switch. */
  | { readonly id: number; readonly op: 'plug'; readonly port: PortSpec }
  /** Nothing more is sent in a network; answered when what was sent can be seen by others. And goes on, with ports where they are now. */
  | { readonly id: number; readonly op: 'freeze'; readonly network: number }
  | { readonly id: number; readonly op: 'thaw'; readonly network: number }
  /** Nothing more is taken from a queue of a disk, which need not be here yet; answered when nothing of it is in flight. And goes on. */
  | { readonly id: number; readonly op: 'hold'; readonly key: number }
  | { readonly id: number; readonly op: 'release'; readonly key: number }
  /** Has a queue that is held use other filters. */
  | { readonly id: number; readonly op: 'filters'; readonly key: number; readonly filters: ChainSpec | undefined }
  /** Answered when nothing of any queue or port is in flight; the thread ends then. */
  | { readonly id: number; readonly op: 'stop' };

/** The same, before it has a number. */
export type CoreOrder = DistributiveOmit<CoreRequest, 'id'>;
type DistributiveOmit<T, Key extends PropertyKey> = T extends unknown ? Omit<T, Key> : never;

/** What a sidecore tells the daemon. */
export type CoreMessage =
  /** It has made its io_uring, which must be retired if the thread dies. */
  | { readonly event: 'uring'; readonly handles: IoUringHandles }
  | { readonly event: 'answer'; readonly id: number; readonly position?: QueuePosition; readonly error?: string }
  /** A filter's helper is to be made. */
  | { readonly event: 'helper'; readonly setup: HelperSetup }
  | { readonly event: 'fault'; readonly key: number; readonly fault: number };

/** All sidecores of a daemon, as one of them sees the others. */
export interface Neighbourhood {
  /** Memory of the `Directory`, and for how many networks. */
  readonly directory: SharedArrayBuffer;
  readonly networks: number;
  readonly others: readonly (CrossingSetup & {
    /** Memory of the other's `CoreState`, and its bell. */
    readonly state: SharedArrayBuffer;
    readonly bellFd: number;
  })[];
}

/** What a thread is told that is kept in reserve: which spans of memory it will need; and, once, what it is to serve. */
export type ReserveMessage = { readonly spans: readonly number[] } | { readonly setup: CoreSetup };

/** How a sidecore's thread is set up. */
export interface CoreSetup {
  readonly cpus: readonly number[];
  /** CPUs of the kernel threads that do for it what would block; left to themselves they would stay on its own. */
  readonly workerCpus: readonly number[];
  /** CPU of a kernel thread that polls for its submissions, so that it makes no system call for files either. */
  readonly sqpollCpu: number | undefined;
  /** When it polls a queue, and when it waits for its kick. */
  readonly polling: PollingRule;
  readonly scheduler: SchedulerOptions;
  /** Memory of its `CoreState`. */
  readonly state: SharedArrayBuffer;
  /** Event counter that wakes it when it sleeps. */
  readonly bellFd: number;
  /** Epoll instance of its own, which outlives the thread. */
  readonly doorwayFd: number;
  /** Of `HelperBell`: wakes the thread of filters' helpers. */
  readonly helperBell: SharedArrayBuffer;
  /** Its number among all sidecores. */
  readonly index: number;
  /** The other sidecores, and how to reach them. */
  readonly neighbours: Neighbourhood;
  /** Carries `CoreRequest` here and `CoreMessage` back. */
  readonly mailbox: MessagePort;
}
