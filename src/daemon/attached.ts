import { createEventFd, drain } from '../host/eventfd.js';
import { close, duplicate, replaceDescriptor } from '../host/libc.js';
import type { QueuePosition, QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase, QueueState } from '../virtio/queue-state.js';

/** The most that an event counter holds; a write to it blocks then, if the front end has made it blocking. */
export const EVENT_COUNTER_MAX = 0xfffffffffffffffen;

/** A queue that a core serves, as the daemon knows it. */
export interface Attached {
  readonly spec: QueueSpec;
  readonly onFault: (fault: number) => void;
  /** Deaths of cores while they served it. */
  crashes: number;
  /** A thread has served it: its log says where it stands. */
  served: boolean;
  /** No thread serves it any more. */
  leftOut: boolean;
  /** Its owner knows that it is broken. */
  faultTold: boolean;
}

export function newAttached(spec: QueueSpec, onFault: (fault: number) => void, crashes: number): Attached {
  return { spec, onFault, crashes, served: false, leftOut: false, faultTold: false };
}

/** A queue that a core has let go of. */
export interface DetachedQueue extends QueuePosition {
  /** Another core may serve it: neither its guest has broken it, nor was it left out. */
  readonly sound: boolean;
  readonly crashes: number;
}

/** @param position - where it stands, as the thread said; undefined if no thread served it */
export function detachedFrom({ spec, leftOut, crashes }: Attached, position: QueuePosition | undefined): DetachedQueue {
  const state = new QueueState(spec.state);
  // By its log, if no thread says it: what was in flight is given up.
  const { base, started } = position ?? { base: state.inflight.base(), started: false };
  return { base, started, sound: !leftOut && state.fault === 0, crashes };
}

/** The same queue for another thread, which goes on where the dead one was. */
export function takenOver({ spec, served }: Attached): QueueSpec {
  const { phase } = new QueueState(spec.state);
  // One that was served and is stopped had just been let go of.
  const resume = served || phase !== QueuePhase.STOPPED;
  return { ...spec, resume, started: spec.started || phase === QueuePhase.POLLED };
}

/** Lets a thread out of its call to a guest, and has all further calls to it go nowhere: it could fill its counters again. */
export function silence({ device, callFd }: QueueSpec, all: Iterable<Attached>): void {
  const blocked = duplicate(callFd);
  const nowhere = createEventFd();
  for (const { spec } of all) {
    if (spec.device.shared === device.shared && spec.callFd >= 0) replaceDescriptor(spec.callFd, nowhere);
  }
  drain(blocked);
  close(blocked);
  close(nowhere);
}
