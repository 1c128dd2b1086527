import type { FilterRequest } from '../../../filter/contract.js';
import { RequestType } from '../../../filter/index.js';
import { FAULT_RULES_MAX } from '../../../limits.js';
import { bitOf, FIELDS, type Rule, sectorsOf } from './rules.js';

/** 32-bit words: the rules' version (odd while they are written), how many there are, the seed, how often all were cleared; then of each rule how many requests it has matched and met. */
const Word = { VERSION: 0, COUNT: 1, SEED: 2, CLEARED: 3, COUNTS: 4 } as const;
const WORDS = Word.COUNTS + 2 * FAULT_RULES_MAX;
const WORDS_BYTES = 8 * Math.ceil(WORDS / 2);

const [KINDS, FROM, TO, AFTER, EVERY, PROBABILITY, TIMES, ACTION, VALUE, LIE] = FIELDS.map((_, i) => i) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];

/**
 * The rules of a disk in memory that all its sidecores share, with their counts: which of the requests that match a rule are met depends
 * on how many there were before, on the rule's place and on the seed, and on nothing else.
 */
export class RuleTable {
  static readonly BYTES = WORDS_BYTES + 8 * FIELDS.length * FAULT_RULES_MAX;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  /** Of the rule that a request has met. */
  action = 0;
  lie = false;
  readonly value = new Float64Array(1);
  /** A number that chance gives for this request: 32 bits. */
  readonly chance = new Uint32Array(1);

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, WORDS);
    this.#numbers = new Float64Array(memory, WORDS_BYTES);
  }

  get count(): number {
    return this.#words[Word.COUNT]!;
  }

  get cleared(): number {
    return this.#words[Word.CLEARED]!;
  }

  // --- on the main thread --------------------------------------------------------------------------------------

  set seed(seed: number) {
    this.#words[Word.SEED] = seed | 0;
  }

  get rules(): readonly { rule: Rule; matched: number; met: number }[] {
    return Array.from({ length: this.count }, (_, at) => {
      const values = FIELDS.map((_, field) => this.#numbers[at * FIELDS.length + field]!);
      const rule = Object.fromEntries(FIELDS.map((key, field) => [key, values[field]])) as unknown as Rule;
      const [matched, met] = [0, 1].map((which) => Atomics.load(this.#words, countAt(at, which)) >>> 0);
      return { rule: { ...rule, lie: values[LIE] === 1 }, matched: matched!, met: met! };
    });
  }

  /** Adds one, after all others. False if there is no room. */
  add(rule: Rule): boolean {
    const at = this.count;
    if (at === FAULT_RULES_MAX) return false;
    this.#numbers.set(
      FIELDS.map((key) => Number(rule[key])),
      at * FIELDS.length,
    );
    for (const which of [0, 1]) Atomics.store(this.#words, countAt(at, which), 0);
    Atomics.store(this.#words, Word.COUNT, at + 1);
    return true;
  }

  /** What was kept because of them goes on. */
  clear(): void {
    Atomics.store(this.#words, Word.COUNT, 0);
    Atomics.add(this.#words, Word.CLEARED, 1);
  }

  // --- on sidecores --------------------------------------------------------------------------------------------

  /** Whether a rule meets this request; the first that does counts, those before it have seen it. `action` and so on say what is to be done. */
  meets(request: FilterRequest): boolean {
    const numbers = this.#numbers;
    const kind = bitOf(request.type);
    for (let at = 0, count = this.count; at < count; at++) {
      const rule = at * FIELDS.length;
      if ((numbers[rule + KINDS!]! & kind) === 0 || !touches(request, numbers[rule + FROM!]!, numbers[rule + TO!]!))
        continue;
      const number = Atomics.add(this.#words, countAt(at, 0), 1) >>> 0;
      const since = number - numbers[rule + AFTER!]!;
      if (since < 0 || (since + 1) % numbers[rule + EVERY!]! !== 0) continue;
      this.#draw(at, number);
      if (this.chance[0]! >= numbers[rule + PROBABILITY!]! * 2 ** 32) continue;
      const met = Atomics.add(this.#words, countAt(at, 1), 1) >>> 0;
      const times = numbers[rule + TIMES!]!;
      if (times !== 0 && met >= times) {
        Atomics.sub(this.#words, countAt(at, 1), 1);
        continue;
      }
      this.action = numbers[rule + ACTION!]!;
      this.value[0] = numbers[rule + VALUE!]!;
      this.lie = numbers[rule + LIE!]! === 1;
      return true;
    }
    return false;
  }

  /** The number that belongs to a rule's nth request. */
  #draw(rule: number, number: number): void {
    let x = (this.#words[Word.SEED]! ^ Math.imul(rule + 1, 0x9e3779b1)) | 0;
    x = mix((x + Math.imul(number + 1, 0x85ebca6b)) | 0);
    this.chance[0] = mix(x ^ number);
  }
}

const countAt = (rule: number, which: number): number => Word.COUNTS + 2 * rule + which;

/** Spreads 32 bits over 32 bits (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Whether a request has to do with any of these sectors; a flush has with all. */
function touches(request: FilterRequest, from: number, to: number): boolean {
  const { type } = request;
  if (type === RequestType.FLUSH) return true;
  if (type === RequestType.IN || type === RequestType.OUT)
    return request.sector <= to && request.sector + sectorsOf(request.bytes) > from;
  for (let i = 0; i < request.rangeCount; i++)
    if (request.rangeSector(i) <= to && request.rangeSector(i) + request.rangeSectors(i) > from) return true;
  return false;
}
