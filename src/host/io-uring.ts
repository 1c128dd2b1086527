import { assert, SidecoreError } from '../errors.js';
import {
  ASYNC_CANCEL_ALL,
  ASYNC_CANCEL_ANY,
  Cqe,
  ENTER_GETEVENTS,
  ENTER_SQ_WAIT,
  ENTER_SQ_WAKEUP,
  FEATURES_NEEDED,
  OFF_SQ_RING,
  OFF_SQES,
  type Operation,
  Params,
  SETUP_SQPOLL,
  SQ_CQ_OVERFLOW,
  SQ_NEED_WAKEUP,
  SQ_TASKRUN,
  Sqe,
  SYS_IO_URING_ENTER,
  UringOp,
} from './io-uring-abi.js';
import { type IoUringOptions, keepWorkersOn, setup } from './io-uring-setup.js';
import { close, Errno, errno, errorText, syscall } from './libc.js';
import { type MemoryMap, mapFile, unmap } from './memory-map.js';
import { viewSigned32, viewWords32 } from './memory-view.js';

export { Operation, UringOp } from './io-uring-abi.js';
export type { IoUringOptions } from './io-uring-setup.js';

/** Attempts of one `submit` to hand over entries that the kernel left. */
const SUBMIT_ATTEMPTS_MAX = 8;
/** Pause between two looks at the ring of a dead thread, ms. */
const RETIRE_POLL_MS = 1;

const HIGH = 2 ** -32;

/** What another thread needs to wait for a ring's operations and to give the ring back: plain data. */
export interface IoUringHandles {
  readonly fd: number;
  readonly polled: boolean;
  /** Both rings. */
  readonly rings: MemoryMap;
  readonly entries: MemoryMap;
  /** Places in the rings, in 32-bit words. */
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqFlags: number;
  readonly cqTail: number;
}

/**
 * One io_uring, driven through its mapped rings. Belongs to the thread that made it: no other may submit.
 *
 * Each turn of that thread: `prepare` any number of operations, `submit`, `reap`. Nothing of that allocates or waits.
 * The descriptor polls readable while there are completions; a sleeper in epoll_wait may also be woken without an event
 * (EINTR) to post them, and should reap then.
 */
export class IoUring {
  readonly fd: number;
  readonly handles: IoUringHandles;
  /** What `reap` found: the operations' user data and results (a count, or a negative error number). */
  readonly completedData: Uint32Array;
  readonly completedResult: Int32Array;
  /** Operations prepared and not yet reaped. */
  inFlight = 0;
  /** The most operations that can be in flight. */
  readonly inFlightMax: number;
  readonly #rings: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #polled: boolean;
  readonly #sqEntries: number;
  readonly #cqHeadWord: number;
  readonly #cqes: number;
  /** Free-running 32-bit indices: our end of the submission ring, the kernel's as last seen, our end of the completions. */
  #sqTail = 0;
  #sqHead = 0;
  #cqHead = 0;

  /** Makes a ring of at least `entries` submissions; undefined where the kernel refuses or is too old. */
  static create(entries: number, options: IoUringOptions = {}): IoUring | undefined {
    const params = new Uint32Array(Params.WORDS);
    const fd = setup(entries, options, params);
    if (fd < 0) return undefined;
    if ((params[Params.FEATURES]! & FEATURES_NEEDED) !== FEATURES_NEEDED) {
      close(fd);
      return undefined;
    }
    const ringBytes = Math.max(
      params[Params.SQ_ARRAY]! + params[Params.SQ_ENTRIES]! * 4,
      params[Params.CQ_CQES]! + params[Params.CQ_ENTRIES]! * Cqe.WORDS * 4,
    );
    try {
      const rings = mapFile(fd, OFF_SQ_RING, ringBytes);
      const sqes = mapFile(fd, OFF_SQES, params[Params.SQ_ENTRIES]! * Sqe.WORDS * 4);
      if (options.workerCpus !== undefined) keepWorkersOn(fd, options.workerCpus);
      return new IoUring(fd, params, rings, sqes);
    } catch (error) {
      close(fd);
      if (error instanceof SidecoreError && error.code === 'MEMORY_EXHAUSTED') return undefined;
      throw error;
    }
  }

  private constructor(fd: number, params: Uint32Array, rings: MemoryMap, entries: MemoryMap) {
    this.fd = fd;
    this.#polled = (params[Params.FLAGS]! & SETUP_SQPOLL) !== 0;
    this.#sqEntries = params[Params.SQ_ENTRIES]!;
    this.inFlightMax = params[Params.CQ_ENTRIES]!;
    this.handles = {
      fd,
      polled: this.#polled,
      rings,
      entries,
      sqHead: params[Params.SQ_HEAD]! >>> 2,
      sqTail: params[Params.SQ_TAIL]! >>> 2,
      sqFlags: params[Params.SQ_FLAGS]! >>> 2,
      cqTail: params[Params.CQ_TAIL]! >>> 2,
    };
    this.#cqHeadWord = params[Params.CQ_HEAD]! >>> 2;
    this.#cqes = params[Params.CQ_CQES]! >>> 2;
    this.#rings = viewSigned32(rings.address, rings.length);
    this.#sqes = viewWords32(entries.address, entries.length);
    this.completedData = new Uint32Array(this.inFlightMax);
    this.completedResult = new Int32Array(this.inFlightMax);
    // The ring of indices into the entries says once and for all that each entry stands in its own place.
    const array = params[Params.SQ_ARRAY]! >>> 2;
    for (let i = 0; i < this.#sqEntries; i++) this.#rings[array + i] = i;
  }

  /**
   * Writes one operation, to be started by the next `submit`; a full ring is submitted first. False if it cannot be
   * taken now: completions have to be reaped first, or the kernel does not keep up.
   *
   * @param userData - comes back with the completion; 32 bits
   */
  prepare(fd: number, operation: Operation, userData: number): boolean {
    if (this.inFlight === this.inFlightMax) return false;
    if (this.#isFull() && !this.#makeRoom()) return false;
    const sqes = this.#sqes;
    const tail = this.#sqTail;
    const at = (tail & (this.#sqEntries - 1)) * Sqe.WORDS;
    const { address, offset } = operation;
    // Storing a number in 32 bits takes its lower half.
    sqes[at + Sqe.OPCODE] = operation.opcode;
    sqes[at + Sqe.FD] = fd;
    sqes[at + Sqe.OFFSET] = offset;
    sqes[at + Sqe.OFFSET + 1] = offset * HIGH;
    sqes[at + Sqe.ADDRESS] = address;
    sqes[at + Sqe.ADDRESS + 1] = address * HIGH;
    sqes[at + Sqe.LENGTH] = operation.length;
    sqes[at + Sqe.OP_FLAGS] = operation.flags;
    sqes[at + Sqe.USER_DATA] = userData;
    this.#sqTail = (tail + 1) | 0;
    this.inFlight++;
    return true;
  }

  /** Something was prepared that the kernel has not taken yet. */
  get hasPrepared(): boolean {
    return this.#sqTail !== this.#sqHead;
  }

  /** Starts all that was prepared. What the kernel does not take now is left to the next call. */
  submit(): void {
    const tail = this.#sqTail;
    if (tail === this.#sqHead) return;
    const { sqTail, sqHead, sqFlags } = this.handles;
    const rings = this.#rings;
    // The entries come before the tail, and the tail before the look at the flags.
    Atomics.store(rings, sqTail, tail);
    if (this.#polled) {
      if ((Atomics.load(rings, sqFlags) & SQ_NEED_WAKEUP) !== 0) this.#enter(0, ENTER_SQ_WAKEUP);
      this.#sqHead = Atomics.load(rings, sqHead);
      return;
    }
    for (let attempt = 0; attempt < SUBMIT_ATTEMPTS_MAX; attempt++) {
      const goOn = this.#enter((tail - this.#sqHead) | 0, 0);
      this.#sqHead = Atomics.load(rings, sqHead);
      if (this.#sqHead === tail || !goOn) return;
    }
  }

  /** Takes all completions. Returns how many entries of `completedData` and `completedResult` are filled. */
  reap(): number {
    if (this.inFlight === 0) return 0;
    const rings = this.#rings;
    const { cqTail } = this.handles;
    let tail = Atomics.load(rings, cqTail);
    if (tail === this.#cqHead) {
      if (!this.#kernelHasWork()) return 0;
      this.#enter(0, ENTER_GETEVENTS);
      tail = Atomics.load(rings, cqTail);
    }
    const count = (tail - this.#cqHead) | 0;
    const mask = this.inFlightMax - 1;
    for (let i = 0; i < count; i++) {
      const at = this.#cqes + ((this.#cqHead + i) & mask) * Cqe.WORDS;
      this.completedData[i] = rings[at + Cqe.USER_DATA]!;
      this.completedResult[i] = rings[at + Cqe.RESULT]!;
    }
    this.#cqHead = tail;
    Atomics.store(rings, this.#cqHeadWord, tail);
    this.inFlight -= count;
    return count;
  }

  /** Whether a turn would find something: completions, or operations that the kernel has not been told of. Ask before sleeping. */
  get hasCompletions(): boolean {
    if (this.inFlight === 0) return false;
    const told = this.#polled ? Atomics.load(this.#rings, this.handles.sqTail) : this.#sqHead;
    if (this.#sqTail !== told) return true;
    return Atomics.load(this.#rings, this.handles.cqTail) !== this.#cqHead || this.#kernelHasWork();
  }

  /** Gives the ring back. Nothing is in flight. */
  close(): void {
    assert(this.inFlight === 0, 'an io_uring is closed with operations in flight');
    giveBack(this.handles);
  }

  /** Completions that the kernel posts only when this thread enters it. */
  #kernelHasWork(): boolean {
    return (Atomics.load(this.#rings, this.handles.sqFlags) & (SQ_TASKRUN | SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Gets room in a full submission ring. */
  #makeRoom(): boolean {
    this.submit();
    // A polling thread takes an entry a little before it says so in the ring: hence more than one look.
    for (let attempt = 0; this.#polled && this.#isFull() && attempt < SUBMIT_ATTEMPTS_MAX; attempt++) {
      this.#enter(0, ENTER_SQ_WAIT);
      this.#sqHead = Atomics.load(this.#rings, this.handles.sqHead);
    }
    return !this.#isFull();
  }

  #isFull(): boolean {
    return ((this.#sqTail - this.#sqHead) | 0) === this.#sqEntries;
  }

  /** False if the kernel has no room now. */
  #enter(toSubmit: number, flags: number): boolean {
    if (syscall(SYS_IO_URING_ENTER, this.fd, toSubmit, 0, flags, 0, 0) >= 0) return true;
    const error = errno();
    if (error === Errno.EINTR) return true;
    if (error === Errno.EAGAIN || error === Errno.EBUSY || error === Errno.ENOMEM) return false;
    throw new SidecoreError('SYSTEM_CALL_FAILED', `io_uring_enter: ${errorText(error)}`);
  }
}

/** Rings of dead threads whose operations the kernel has been told to give up. */
const cancelled = new WeakSet<IoUringHandles>();

/**
 * Waits until all that a dead thread had submitted has completed, then unmaps and closes its ring. What it had prepared and
 * not submitted never runs, and what waits for something that may never come is given up. False if that took longer than
 * `timeoutMs`: the kernel may still use the memory that the operations name; call again.
 */
export function retireIoUring(handles: IoUringHandles, timeoutMs: number): boolean {
  const rings = viewSigned32(handles.rings.address, handles.rings.length);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const deadline = performance.now() + timeoutMs;
  if (!cancelled.has(handles) && cancelAll(handles, rings)) cancelled.add(handles);
  while (outstanding(handles, rings) !== 0) {
    if (performance.now() >= deadline) return false;
    Atomics.wait(pause, 0, 0, RETIRE_POLL_MS);
  }
  giveBack(handles);
  return true;
}

/**
 * Submits, in place of a dead thread, that all it had submitted be cancelled. Before 5.19 the kernel says that it cannot, and does
 * not. False if there is no room for that now, or the kernel has no time.
 */
function cancelAll(handles: IoUringHandles, rings: Int32Array): boolean {
  const { fd, polled, entries, sqHead, sqTail } = handles;
  const sqes = viewWords32(entries.address, entries.length);
  const capacity = sqes.length / Sqe.WORDS;
  const head = Atomics.load(rings, sqHead);
  // A polling thread takes all that is in the ring. Nobody else does, and what the kernel had left of it is not to run.
  const tail = polled ? Atomics.load(rings, sqTail) : head;
  if (((tail - head) | 0) === capacity) return false;
  const at = (tail & (capacity - 1)) * Sqe.WORDS;
  sqes.fill(0, at, at + Sqe.WORDS);
  sqes[at + Sqe.OPCODE] = UringOp.ASYNC_CANCEL;
  sqes[at + Sqe.FD] = -1;
  sqes[at + Sqe.OP_FLAGS] = ASYNC_CANCEL_ALL | ASYNC_CANCEL_ANY;
  Atomics.store(rings, sqTail, (tail + 1) | 0);
  return polled || syscall(SYS_IO_URING_ENTER, fd, 1, 0, 0) >= 0;
}

/** Operations that the kernel has taken, or will take by itself, and has not completed: each completes exactly once. */
function outstanding(handles: IoUringHandles, rings: Int32Array): number {
  const completed = Atomics.load(rings, handles.cqTail);
  if (!handles.polled) return (Atomics.load(rings, handles.sqHead) - completed) | 0;
  const head = Atomics.load(rings, handles.sqHead);
  const tail = Atomics.load(rings, handles.sqTail);
  // The thread died between publishing and waking.
  if (head !== tail && (Atomics.load(rings, handles.sqFlags) & SQ_NEED_WAKEUP) !== 0) {
    syscall(SYS_IO_URING_ENTER, handles.fd, 0, 0, ENTER_SQ_WAKEUP);
  }
  return (tail - completed) | 0;
}

function giveBack(handles: IoUringHandles): void {
  unmap(handles.entries);
  unmap(handles.rings);
  close(handles.fd);
}
