import { readNowNs } from '../host/clock.js';

/** A chain of filters, as the desk sees it. */
export interface DeskUser {
  /** Something of it has to be looked at. */
  readonly active: boolean;
  /** When, ns: zero if in each turn. */
  readonly dueNs: number;
  /** Looks at it. Returns how much was done. */
  turn(): number;
}

const NOBODY: DeskUser = { active: false, dueNs: Number.POSITIVE_INFINITY, turn: () => 0 };

/** Longest sleep of a sidecore while filters have something to do, ms. */
const SLEEP_MS_MAX = 1000;

/**
 * What filters of one sidecore have under way besides requests that go down and up: kept ones, operations of their own, answers of
 * helpers, times to be called at. Costs one look a turn while there is none.
 */
export class FilterDesk {
  /** The time of the turn, ns; the filters' too. */
  readonly now = new Float64Array(1);
  /** The first `#count` of them are active. A list that shrank and grew would be made anew each time. */
  readonly #users: DeskUser[] = [];
  #count = 0;
  /** Puts the time, ns, into a slot of an array. */
  readonly readNowNs: (into: Float64Array, slot: number) => void;

  constructor(clock = readNowNs) {
    this.readNowNs = clock;
  }

  get busy(): boolean {
    return this.#count > 0;
  }

  /** Has a chain looked at from now on, as long as it is active. */
  add(user: DeskUser): void {
    if (this.#indexOf(user) < 0) this.#users[this.#count++] = user;
  }

  remove(user: DeskUser): void {
    const at = this.#indexOf(user);
    if (at < 0) return;
    this.#users[at] = this.#users[--this.#count]!;
    // Not kept alive from here.
    this.#users[this.#count] = NOBODY;
  }

  #indexOf(user: DeskUser): number {
    for (let i = 0; i < this.#count; i++) if (this.#users[i] === user) return i;
    return -1;
  }

  /** Returns how much was done. */
  turn(): number {
    const users = this.#users;
    this.readNow();
    let work = 0;
    for (let i = this.#count - 1; i >= 0; i--) {
      const user = users[i]!;
      work += user.turn();
      if (!user.active) this.remove(user);
    }
    return work;
  }

  readNow(): void {
    this.readNowNs(this.now, 0);
  }

  /** How long a sidecore may sleep, ms; negative if until it is woken. */
  get sleepMs(): number {
    if (this.#count === 0) return -1;
    this.readNow();
    let due = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#count; i++) due = Math.min(due, this.#users[i]!.dueNs);
    const ms = Math.ceil((due - this.now[0]!) / 1e6);
    // A millisecond is the shortest that there is.
    return Math.max(1, Math.min(ms, SLEEP_MS_MAX));
  }
}
