import { burstOf, LIMITS, type Limits, OPERATION_RATES, RATES } from './limits.js';

/** 32-bit words. */
const Word = {
  /** Number of the member that has the lock, and one; zero if none has. */
  LOCK: 0,
  /** Changes with the limits. */
  VERSION: 1,
  /** The version that the buckets are made for. */
  APPLIED: 2,
  /** One if there are limits. */
  LIMITED: 3,
  /** One if reads and writes have limits of their own: they wait in lines of their own then. */
  SPLIT: 4,
  /** Members that there are, free ones between them included. */
  MEMBERS: 5,
  /** Number of the last disk that has joined. */
  LAST_DISK: 6,
} as const;
const WORDS_BYTES = 32;

/** Doubles. */
const LOCKED_AT = 0;
/** Virtual time: how far those have come that wait for the budget. */
const VIRTUAL = 1;
const LIMITS_AT = 2;
const NS_PER = LIMITS_AT + LIMITS.length;
const BURST = NS_PER + RATES.length;
/** When a bucket will be full again, ns. */
const FULL_AT = BURST + RATES.length;
const MEMBERS_AT = FULL_AT + RATES.length;

/** Of each member: its disk (zero: it is free), how much it has had, when it will come for more (zero: it wants nothing), and the buckets it waits for. */
const Member = { DISK: 0, HAD: 1, DUE: 2, BUCKETS: 3, DOUBLES: 4 } as const;

/** Which buckets a read and a write take from. */
const READ = [0, 1, 3, 4] as const;
const WRITE = [0, 2, 3, 5] as const;

/** How far one may be ahead of another that waits, ns of the budget: so that nobody waits for a sidecore that is about to come. */
const AHEAD_NS = 5e6;
/** Pause before one that is ahead looks again, and before one that did not get the lock does, ns. */
const RETRY_NS = 100e3;
/** Who has not come so long after it said it would, ns, is not waited for. */
const LATE_NS = 20e6;
/** Attempts to get the lock. */
const SPINS = 100;
/** Who has the lock for so long, ns, has died with it. */
const DEAD_NS = 50e6;
/** Most that is owed after requests went on without tokens, ns. */
const DEBT_NS = 1e9;

/**
 * A budget of requests and bytes in memory that several sidecores share. A token bucket is one number, the time at which it will be full
 * again: what is taken moves it on, time does the rest. Members, the lines of requests of each queue of each disk, are served in the
 * order of how much each disk has had (start-time fair queueing), where several wait for the same bucket.
 *
 * A lock guards it, for some ten nanoseconds at a time. Nobody waits for it: who does not get it comes again. One that was taken by a
 * thread that has died is taken over.
 */
export class Budget {
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  /** When to ask again after `take` has refused, ns. */
  readonly due = new Float64Array(1);

  static bytesFor(members: number): number {
    return WORDS_BYTES + 8 * (MEMBERS_AT + members * Member.DOUBLES);
  }

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS_BYTES / 4);
    this.#numbers = new Float64Array(memory, WORDS_BYTES);
  }

  get limited(): boolean {
    return this.#words[Word.LIMITED] === 1;
  }

  get split(): boolean {
    return this.#words[Word.SPLIT] === 1;
  }

  get version(): number {
    return this.#words[Word.VERSION]!;
  }

  // --- on the main thread --------------------------------------------------------------------------------------

  /** Makes a disk's lines members. Returns the first; undefined if there is no room. */
  join(lines: number): number | undefined {
    const numbers = this.#numbers;
    const most = Math.floor((numbers.length - MEMBERS_AT) / Member.DOUBLES);
    let first = 0;
    for (let at = 0; at < most && at - first < lines; at++) if (numbers[memberAt(at)] !== 0) first = at + 1;
    if (first + lines > most) return undefined;
    const disk = Atomics.add(this.#words, Word.LAST_DISK, 1) + 1;
    for (let line = first; line < first + lines; line++) numbers.set([disk, numbers[VIRTUAL]!, 0, 0], memberAt(line));
    if (first + lines > this.#words[Word.MEMBERS]!) Atomics.store(this.#words, Word.MEMBERS, first + lines);
    return first;
  }

  leave(first: number, lines: number): void {
    this.#numbers.fill(0, memberAt(first), memberAt(first + lines));
  }

  /** Undefined if nobody has said any. */
  get limits(): Limits | undefined {
    if (this.version === 0) return undefined;
    return Object.fromEntries(LIMITS.map((key, i) => [key, this.#numbers[LIMITS_AT + i]!])) as Limits;
  }

  /** From the next request on; tokens that are there stay, as far as the new buckets hold them. */
  set limits(limits: Limits) {
    const words = this.#words;
    LIMITS.forEach((key, i) => {
      this.#numbers[LIMITS_AT + i] = limits[key];
    });
    const has = (bucket: number) => limits[RATES[bucket]!] > 0;
    Atomics.store(words, Word.SPLIT, has(1) || has(2) || has(4) || has(5) ? 1 : 0);
    Atomics.store(words, Word.LIMITED, RATES.some((_, bucket) => has(bucket)) ? 1 : 0);
    Atomics.add(words, Word.VERSION, 1);
  }

  /** Lines in which requests wait. */
  get waiting(): number {
    let count = 0;
    for (let at = 0; at < this.#words[Word.MEMBERS]!; at++) if (this.#numbers[memberAt(at) + Member.DUE] !== 0) count++;
    return count;
  }

  // --- on sidecores --------------------------------------------------------------------------------------------

  /**
   * Takes what a request costs. False if it has to wait: `due` says until when.
   *
   * @param fresh - nothing of this member was waiting
   * @param now - in its slot zero, ns
   */
  take(member: number, read: boolean, bytes: number, fresh: boolean, now: Float64Array): boolean {
    if (!this.#lock(member, now)) {
      this.due[0] = now[0]! + RETRY_NS;
      return false;
    }
    if (this.#words[Word.APPLIED] !== this.#words[Word.VERSION]) this.#apply(now);
    const good = this.#decide(member, read, bytes, fresh, now);
    Atomics.store(this.#words, Word.LOCK, 0);
    return good;
  }

  /**
   * The same for one that should not wait: what is not there is owed. False if that would be too much.
   *
   * @param anyhow - it cannot wait: what is too much is forgotten
   */
  owe(member: number, read: boolean, bytes: number, anyhow: boolean, now: Float64Array): boolean {
    if (!this.#lock(member, now)) return anyhow;
    const good = anyhow || this.#mayOwe(read, bytes, now);
    if (good) {
      this.#charge(member, read, bytes, 1, now);
      this.#numbers[memberAt(member) + Member.DUE] = 0;
    }
    Atomics.store(this.#words, Word.LOCK, 0);
    return good;
  }

  /** A member wants nothing any more. */
  rest(member: number): void {
    this.#numbers[memberAt(member) + Member.DUE] = 0;
  }

  #decide(member: number, read: boolean, bytes: number, fresh: boolean, now: Float64Array): boolean {
    const numbers = this.#numbers;
    const own = memberAt(member);
    // Who wanted nothing has saved nothing.
    if (fresh && numbers[own + Member.HAD]! < numbers[VIRTUAL]!) numbers[own + Member.HAD] = numbers[VIRTUAL]!;
    const used = read ? READ : WRITE;
    let short = 0;
    let uses = 0;
    let due = 0;
    for (let i = 0; i < used.length; i++) {
      const bucket = used[i]!;
      const nsPer = numbers[NS_PER + bucket]!;
      if (nsPer === 0) continue;
      uses |= 1 << bucket;
      const burst = numbers[BURST + bucket]!;
      // What is larger than the bucket goes when that is full.
      const left = (burst - Math.min(burst, this.#costIn(bucket, bytes))) * nsPer;
      const at = numbers[FULL_AT + bucket]! - left;
      if (at <= now[0]!) continue;
      short |= 1 << bucket;
      if (at > due) due = at;
    }
    if (short !== 0) return this.#refuse(own, short, due);
    // Those that wait for what this one is about to take: whoever has had least, and how many lines its own disk has among them.
    let least = Number.POSITIVE_INFINITY;
    let lines = 1;
    for (let at = memberAt(0), end = memberAt(this.#words[Word.MEMBERS]!); at < end; at += Member.DOUBLES) {
      const comes = numbers[at + Member.DUE]!;
      if (comes === 0 || at === own || comes + LATE_NS < now[0]!) continue;
      if ((numbers[at + Member.BUCKETS]! & uses) === 0) continue;
      if (numbers[at + Member.HAD]! < least) least = numbers[at + Member.HAD]!;
      if (numbers[at + Member.DISK] === numbers[own + Member.DISK]) lines++;
    }
    const had = numbers[own + Member.HAD]!;
    if (had > least + AHEAD_NS) return this.#refuse(own, uses, now[0]! + RETRY_NS);
    const reached = Math.min(had, least);
    if (reached > numbers[VIRTUAL]!) numbers[VIRTUAL] = reached;
    numbers[own + Member.DUE] = 0;
    this.#charge(member, read, bytes, lines, now);
    return true;
  }

  #mayOwe(read: boolean, bytes: number, now: Float64Array): boolean {
    const numbers = this.#numbers;
    const used = read ? READ : WRITE;
    for (let i = 0; i < used.length; i++) {
      const bucket = used[i]!;
      const nsPer = numbers[NS_PER + bucket]!;
      const full = Math.max(numbers[FULL_AT + bucket]! - now[0]!, 0) + this.#costIn(bucket, bytes) * nsPer;
      if (nsPer > 0 && full > numbers[BURST + bucket]! * nsPer + DEBT_NS) return false;
    }
    return true;
  }

  #refuse(own: number, buckets: number, due: number): boolean {
    this.#numbers[own + Member.DUE] = due;
    this.#numbers[own + Member.BUCKETS] = buckets;
    this.due[0] = due;
    return false;
  }

  #charge(member: number, read: boolean, bytes: number, lines: number, now: Float64Array): void {
    const numbers = this.#numbers;
    const used = read ? READ : WRITE;
    let most = 0;
    for (let i = 0; i < used.length; i++) {
      const bucket = used[i]!;
      const cost = this.#costIn(bucket, bytes) * numbers[NS_PER + bucket]!;
      if (cost === 0) continue;
      if (cost > most) most = cost;
      const full = numbers[FULL_AT + bucket]!;
      const next = (full > now[0]! ? full : now[0]!) + cost;
      const hole = Math.max(numbers[BURST + bucket]! * numbers[NS_PER + bucket]!, cost);
      numbers[FULL_AT + bucket] = Math.min(next, now[0]! + hole + DEBT_NS);
    }
    numbers[memberAt(member) + Member.HAD]! += most * lines;
  }

  #costIn(bucket: number, bytes: number): number {
    if (bucket >= OPERATION_RATES) return bytes;
    const each = this.#numbers[LIMITS_AT + LIMITS.length - 1]!;
    return each === 0 || bytes <= each ? 1 : Math.ceil(bytes / each);
  }

  /** Makes the buckets anew for limits that have changed. */
  #apply(now: Float64Array): void {
    const numbers = this.#numbers;
    this.#words[Word.APPLIED] = this.#words[Word.VERSION]!;
    const limits = this.limits!;
    for (let bucket = 0; bucket < RATES.length; bucket++) {
      const rate = limits[RATES[bucket]!];
      const burst = burstOf(limits, bucket);
      const before = numbers[NS_PER + bucket]!;
      const nsPer = rate === 0 ? 0 : 1e9 / rate;
      // As many tokens as there were. One that there was not is full.
      const missing = before === 0 ? 0 : Math.max(0, numbers[FULL_AT + bucket]! - now[0]!) / before;
      const tokens = before === 0 ? burst : Math.min(burst, numbers[BURST + bucket]! - missing);
      numbers[FULL_AT + bucket] = now[0]! + (burst - tokens) * nsPer;
      numbers[NS_PER + bucket] = nsPer;
      numbers[BURST + bucket] = burst;
    }
  }

  #lock(member: number, now: Float64Array): boolean {
    const words = this.#words;
    let holder = 0;
    for (let i = 0; i < SPINS; i++) {
      holder = Atomics.compareExchange(words, Word.LOCK, 0, member + 1);
      if (holder !== 0) continue;
      this.#numbers[LOCKED_AT] = now[0]!;
      return true;
    }
    if (now[0]! < this.#numbers[LOCKED_AT]! + DEAD_NS) return false;
    if (Atomics.compareExchange(words, Word.LOCK, holder, member + 1) !== holder) return false;
    this.#numbers[LOCKED_AT] = now[0]!;
    return true;
  }
}

const memberAt = (member: number): number => MEMBERS_AT + member * Member.DOUBLES;
