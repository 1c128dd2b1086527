import type { Burst } from '../virtio/burst.js';
import type { Virtqueue } from '../virtio/virtqueue.js';
import type { FrameOwner } from './frame.js';

/**
 * Chains of a sender whose frames a port still uses, in the order in which they were taken. They are given back in that order,
 * each as soon as nobody uses it or one before it; those that nobody has kept, and none before them, at once.
 */
export class HeldChains implements FrameOwner {
  /** Chains that were taken and not yet given back. */
  count = 0;
  readonly #ring: Virtqueue;
  readonly #onRelease: () => void;
  readonly #heads: Uint16Array;
  /** How many ports use each. */
  readonly #holds: Uint16Array;
  #first = 0;
  /** Holds on the chains between `begin` and `end`. */
  #fresh = 0;

  /** @param size - entries of the ring, which no more chains are in flight than */
  constructor(ring: Virtqueue, size: number, onRelease: () => void) {
    this.#ring = ring;
    this.#onRelease = onRelease;
    this.#heads = new Uint16Array(size);
    this.#holds = new Uint16Array(size);
  }

  /** Frames of chains are being delivered that were just taken. Returns the slot of the first; the others follow. */
  begin(): number {
    this.#fresh = 0;
    return this.#first + this.count;
  }

  hold(slot: number): number {
    this.#fresh++;
    const token = slot % this.#heads.length;
    this.#holds[token]!++;
    return token;
  }

  /** They have been delivered: the chains `0` … `count - 1` of `chains` go back, or stay if they are kept. */
  end(chains: Burst, count: number): void {
    if (this.#fresh === 0 && this.count === 0) {
      this.#ring.pushBurst(chains, 0, count);
      return;
    }
    const size = this.#heads.length;
    for (let i = 0; i < count; i++) this.#heads[(this.#first + this.count + i) % size] = chains.head[i]!;
    this.count += count;
    this.#giveBack();
  }

  release(token: number): void {
    this.#holds[token]!--;
    if (token === this.#first) this.#giveBack();
  }

  #giveBack(): void {
    const before = this.count;
    while (this.count > 0 && this.#holds[this.#first] === 0) {
      this.#ring.push(this.#heads[this.#first]!, 0);
      this.#first = this.#first + 1 === this.#heads.length ? 0 : this.#first + 1;
      this.count--;
    }
    if (this.count !== before) this.#onRelease();
  }
}
