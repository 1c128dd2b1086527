import { Account } from './account.js';
import { Entry } from './entry.js';
import { SCHEDULER_DEFAULTS, type SchedulerOptions } from './policy.js';
import { Scheduler } from './scheduler.js';

/** Items and bytes of a piece, as a sidecore has them. */
const PIECE_ITEMS = 32;
const PIECE_BYTES = 65_536;

/** A queue in a machine whose time is a number: each of its items takes the same time, in pieces of so many bytes. */
export class TestQueue extends Entry {
  /** Items that wait, the first of them with so many bytes left. */
  waiting = 0;
  itemBytes: number;
  itemNs: number;
  /** What an item leaves to be done with all others' of the round, or when the scheduler has it done, ns. */
  laterNs = 0;
  /** Items done, time spent, and when turns began. */
  done = 0;
  ns = 0;
  readonly begun: number[] = [];
  /** Takes nothing, though something waits: the sidecore is out of requests. */
  blocked = false;
  /** Called when an item is done. */
  onDone: () => void = () => {};
  #leftBytes: number;

  constructor(item: { bytes: number; ns: number }, account = new Account(1)) {
    super(account);
    this.itemBytes = item.bytes;
    this.itemNs = item.ns;
    this.#leftBytes = item.bytes;
  }

  pending(): number {
    return this.waiting;
  }

  /** One piece of work. Returns its items, bytes and time. */
  serve(): { items: number; bytes: number; ns: number } {
    let items = 0;
    let bytes = 0;
    let ns = 0;
    while (this.waiting > 0 && !this.blocked && items < PIECE_ITEMS && bytes < PIECE_BYTES) {
      const part = Math.min(this.#leftBytes, PIECE_BYTES);
      items++;
      bytes += part;
      ns += this.itemBytes === 0 ? this.itemNs : (this.itemNs * part) / this.itemBytes;
      this.#leftBytes -= part;
      if (this.#leftBytes > 0) break;
      this.#leftBytes = this.itemBytes;
      this.waiting--;
      this.done++;
      this.onDone();
    }
    return { items, bytes, ns };
  }
}

/** A core with nothing but a scheduler and a clock that moves when work is done. */
export class TestMachine {
  now = 1e9;
  /** Each turn's queue, in their order. */
  readonly turns: TestQueue[] = [];
  notified = false;
  /** Time that the host takes away within a piece, ns. */
  stolen: () => number = () => 0;
  readonly scheduler: Scheduler<TestQueue>;
  /** What was left to be done, ns. */
  #left = 0;
  readonly #due: { at: number; call: () => void }[] = [];

  constructor(options: Partial<SchedulerOptions> = {}) {
    const clock = (into: Float64Array, slot: number) => {
      into[slot] = this.now;
    };
    const settle = () => this.#settle();
    this.scheduler = new Scheduler({ ...SCHEDULER_DEFAULTS, ...options }, clock, () => this.notified, settle);
  }

  add(item: { bytes: number; ns: number }, account?: Account): TestQueue {
    const queue = new TestQueue(item, account);
    this.scheduler.add(queue);
    return queue;
  }

  /** Always has so many items. */
  keepBusy(queue: TestQueue, depth: number): TestQueue {
    queue.waiting = depth;
    queue.onDone = () => {
      queue.waiting++;
    };
    return queue;
  }

  after(ns: number, call: () => void): void {
    this.#due.push({ at: this.now + ns, call });
  }

  /** A round; time passes even if there is nothing to do. */
  round(): void {
    const { scheduler } = this;
    for (let queue = scheduler.next(); queue !== undefined; queue = scheduler.next()) {
      this.turns.push(queue);
      queue.begun.push(this.now);
      let piece: ReturnType<TestQueue['serve']>;
      do {
        piece = queue.serve();
        const leftNs = piece.items * queue.laterNs;
        queue.ns += piece.ns + leftNs;
        this.#left += leftNs;
        this.#pass(piece.ns + this.stolen());
      } while (piece.items > 0 && scheduler.goOn(queue, piece.items, piece.bytes));
    }
    this.#settle();
    this.#pass(20);
  }

  #settle(): void {
    const ns = this.#left;
    this.#left = 0;
    this.#pass(ns);
  }

  runFor(ns: number): void {
    for (const end = this.now + ns; this.now < end; ) this.round();
  }

  #pass(ns: number): void {
    this.now += ns;
    for (let i = this.#due.length - 1; i >= 0; i--) {
      if (this.#due[i]!.at <= this.now) this.#due.splice(i, 1)[0]!.call();
    }
  }
}
