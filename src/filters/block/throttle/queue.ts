import type { BlockFilterContext, FilterRequest, Next } from '../../../filter/contract.js';
import { RequestType } from '../../../filter/index.js';
import { THROTTLE_HURRY_S_MAX } from '../../../limits.js';
import type { Budget } from './budget.js';
import { Line } from './line.js';

/** Requests that go on in one turn at most, so that it stays short. */
const GO_ON_MAX = 64;

/** Lines of a queue: of all requests, or of reads and of writes. */
export const LINES = 2;

/** What serves one queue: lets requests pass as the budget has it, and keeps the others in line. */
export class ThrottledQueue {
  readonly #context: BlockFilterContext;
  readonly #budget: Budget;
  readonly #first: number;
  /** Of all requests, or of reads where writes have a line of their own. */
  readonly #all: Line;
  readonly #writes: Line;
  readonly #since: Float64Array;
  readonly #now = new Float64Array(1);
  /** When to ask next, ns. */
  readonly #due = new Float64Array(1);
  /** Since when it is to become empty, ns; zero if it is not. */
  readonly #hurriedAt = new Float64Array(1);
  #version = 0;
  readonly #passed;
  readonly #deferred;
  readonly #waited;

  /** @param first - member of the budget that its first line is */
  constructor(context: BlockFilterContext, budget: Budget, first: number) {
    this.#context = context;
    this.#budget = budget;
    this.#first = first;
    this.#all = new Line(context.slots);
    this.#writes = new Line(context.slots);
    this.#since = new Float64Array(context.slots);
    this.#passed = context.counter('passed');
    this.#deferred = context.counter('deferred');
    this.#waited = context.histogram('waited_ns');
  }

  submit(request: FilterRequest, next: Next): void {
    if (!this.#budget.limited && this.#all.count === 0 && this.#writes.count === 0) {
      this.#passed.add(1);
      return next(request);
    }
    const { type } = request;
    if (type === RequestType.FLUSH) {
      this.#passed.add(1);
      return next(request);
    }
    const now = this.#now;
    this.#context.readNowNs(now, 0);
    const read = type === RequestType.IN;
    const number = read || !this.#budget.split ? 0 : 1;
    const line = number === 0 ? this.#all : this.#writes;
    if (line.count === 0 && this.#budget.take(this.#first + number, read, bytesOf(request), true, now)) {
      this.#passed.add(1);
      return next(request);
    }
    this.#since[request.slot] = now[0]!;
    const isFirst = line.count === 0;
    line.push(request.defer(), now);
    this.#deferred.add(1);
    if (isFirst) this.#wake(this.#budget.due[0]!);
  }

  #wake(due: number): void {
    if (due < this.#due[0]! || this.#due[0] === 0) this.#due[0] = due;
    this.#context.wakeAt(this.#due[0]!);
  }

  tick(): void {
    const { now } = this.#context;
    this.#hurriedAt[0] = 0;
    if (now[0]! < this.#due[0]! && this.#version === this.#budget.version) return;
    this.#version = this.#budget.version;
    this.#goOn(false, false);
  }

  /**
   * All go on, with tokens or without, as far as they may be owed; the rest as it has tokens, and what is left after some seconds: whoever
   * stops its queue again and again has its requests done no sooner by that.
   */
  hurry(): void {
    const { now } = this.#context;
    if (this.#hurriedAt[0] === 0) this.#hurriedAt[0] = now[0]!;
    this.#goOn(true, now[0]! >= this.#hurriedAt[0]! + THROTTLE_HURRY_S_MAX * 1e9);
  }

  close(): void {
    for (let number = 0; number < LINES; number++) this.#budget.rest(this.#first + number);
  }

  #goOn(hurries: boolean, anyhow: boolean): void {
    const { now } = this.#context;
    const all = this.#all;
    const writes = this.#writes;
    let allWaits = false;
    let writesWait = false;
    let due = Number.POSITIVE_INFINITY;
    let left = GO_ON_MAX;
    for (; left > 0; left--) {
      const tryAll = !allWaits && all.count > 0;
      const tryWrites = !writesWait && writes.count > 0;
      if (!tryAll && !tryWrites) break;
      // The older one first.
      const number = tryAll && (!tryWrites || all.since[all.head]! <= writes.since[writes.head]!) ? 0 : 1;
      const line = number === 0 ? all : writes;
      const token = line.tokens[line.head]!;
      const request = this.#context.requestOf(token);
      const read = request.type === RequestType.IN;
      const member = this.#first + number;
      const bytes = bytesOf(request);
      const goes =
        (hurries && this.#budget.owe(member, read, bytes, anyhow, now)) ||
        this.#budget.take(member, read, bytes, false, now);
      if (!goes) {
        due = Math.min(due, this.#budget.due[0]!);
        if (number === 0) allWaits = true;
        else writesWait = true;
        continue;
      }
      line.shift();
      this.#passed.add(1);
      this.#waited.add(now[0]! - this.#since[request.slot]!);
      this.#context.goOn(token);
    }
    this.#due[0] = left === 0 ? now[0]! : due;
    if (all.count > 0 || writes.count > 0) this.#context.wakeAt(this.#due[0]!);
    else this.#hurriedAt[0] = 0;
  }
}

/** What counts in bytes per second: ranges move none. */
const bytesOf = (request: FilterRequest): number =>
  request.type === RequestType.IN || request.type === RequestType.OUT ? request.bytes : 0;
