import { assert } from '../errors.js';
import { type Actor, EventQueue } from './event-queue.js';
import { Random } from './random.js';

/** FNV-1a, 32 bits. */
const HASH_START = 0x811c9dc5;
const HASH_PRIME = 0x01000193;

/** Virtual time and chance: everything else in a simulation follows from these and a seed. */
export class Simulation {
  /** Virtual time, ns. */
  now = 0;
  /** Events so far. */
  events = 0;
  readonly random: Random;
  readonly #queue = new EventQueue();
  readonly #bits = new Float64Array(1);
  readonly #words = new Uint32Array(this.#bits.buffer);
  #hash = HASH_START;
  #actors = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** A number for another actor. */
  nextId(): number {
    return this.#actors++;
  }

  /** Plans an event at a time, ns, which is not past. */
  at(time: number, actor: Actor, code: number, argument = 0): void {
    assert(time >= this.now, 'nothing happens before now');
    this.#queue.push(time, actor, code, argument);
  }

  /** Lets everything happen up to a time, ns. */
  run(until: number): void {
    const queue = this.#queue;
    while (queue.nextTime <= until && queue.pop()) {
      this.now = queue.time;
      this.events++;
      const actor = queue.actor!;
      this.#trace(actor.id, queue.code, queue.argument);
      actor.act(queue.code, queue.argument);
    }
    this.now = until;
  }

  /** Of all events so far, their times and their order: the same for the same scenario, costs and seed. */
  get hash(): string {
    return this.#hash.toString(16).padStart(8, '0');
  }

  #trace(id: number, code: number, argument: number): void {
    this.#bits[0] = this.now;
    let hash = this.#hash;
    hash = Math.imul(hash ^ this.#words[0]!, HASH_PRIME);
    hash = Math.imul(hash ^ this.#words[1]!, HASH_PRIME);
    hash = Math.imul(hash ^ (id << 8) ^ code, HASH_PRIME);
    this.#hash = Math.imul(hash ^ argument, HASH_PRIME) >>> 0;
  }
}
