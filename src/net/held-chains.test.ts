import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Random, seeded } from '../../test/support/seed.js';
import { Burst } from '../virtio/burst.js';
import type { Virtqueue } from '../virtio/virtqueue.js';
import { HeldChains } from './held-chains.js';

/** The part of a ring that chains are given back to. */
class ReturnsOnly {
  readonly returned: number[] = [];

  push(head: number, writtenBytes: number): void {
    assert.equal(writtenBytes, 0);
    this.returned.push(head);
  }

  pushBurst(burst: Burst, from: number, to: number): void {
    for (let i = from; i < to; i++) this.push(burst.head[i]!, burst.written[i]!);
  }
}

/** A chain as the model knows it. */
interface Held {
  readonly head: number;
  /** Tokens that ports have and have not given back. */
  readonly tokens: number[];
}

/** Holds the chains of a ring of that size against the plain model: a list, given back from its front. */
function drive(size: number, random: Random, steps: number): void {
  const ring = new ReturnsOnly();
  let told = 0;
  const held = new HeldChains(ring as unknown as Virtqueue, size, () => told++);
  const burst = new Burst(32);
  const queue: Held[] = [];
  const free = Array.from({ length: size }, (_, head) => head);
  const expected: number[] = [];
  const settle = () => {
    while (queue.length > 0 && queue[0]!.tokens.length === 0) {
      const { head } = queue.shift()!;
      expected.push(head);
      free.push(head);
    }
  };
  const release = () => {
    const kept = queue.filter(({ tokens }) => tokens.length > 0);
    if (kept.length === 0) return;
    const { tokens } = random.pick(kept);
    held.release(tokens.splice(random.below(tokens.length), 1)[0]!);
  };
  for (let step = 0; step < steps; step++) {
    const count = Math.min(random.below(33), free.length);
    if (count > 0 && random.chance(0.6)) {
      const fresh: Held[] = [];
      const first = held.begin();
      for (let i = 0; i < count; i++) {
        const head = free.splice(random.below(free.length), 1)[0]!;
        burst.head[i] = head;
        fresh.push({ head, tokens: [] });
      }
      const keeps = random.chance(0.5);
      for (const [i, { tokens }] of fresh.entries()) {
        // A port may be done with a frame before the next one, and others with what they had kept earlier.
        for (let ports = keeps ? random.below(3) : 0; ports > 0; ports--) {
          const token = held.hold(first + i);
          if (random.chance(0.2)) held.release(token);
          else tokens.push(token);
        }
        if (random.chance(0.1)) {
          release();
          settle();
        }
      }
      queue.push(...fresh);
      held.end(burst, count);
    } else {
      const before = told;
      release();
      const were = expected.length;
      settle();
      assert.equal(told - before, expected.length > were ? 1 : 0, 'told whenever something is given back later');
    }
    settle();
    assert.deepEqual(ring.returned.splice(0), expected.splice(0));
    assert.equal(held.count, queue.length);
  }
}

describe('chains that ports keep', () => {
  for (const size of [1, 2, 3, 8, 64, 256]) {
    it(`are given back in the order in which they were taken, in a ring of ${size}`, () =>
      seeded(size, (random) => {
        for (let round = 0; round < 40; round++) drive(size, random, 400);
      }));
  }

  it('that nobody keeps go back at once, together', () => {
    const ring = new ReturnsOnly();
    const held = new HeldChains(ring as unknown as Virtqueue, 8, () => assert.fail('nothing was kept'));
    const burst = new Burst(8);
    burst.head.set([5, 3, 1]);
    held.begin();
    held.end(burst, 3);
    assert.deepEqual(ring.returned, [5, 3, 1]);
    assert.equal(held.count, 0);
  });

  it('hold up those behind them, and no others', () => {
    const ring = new ReturnsOnly();
    const held = new HeldChains(ring as unknown as Virtqueue, 4, () => {});
    const burst = new Burst(4);
    burst.head.set([0, 1, 2]);
    const first = held.begin();
    const token = held.hold(first + 1);
    held.end(burst, 3);
    assert.deepEqual(ring.returned, [0]);
    burst.head.set([3]);
    held.begin();
    held.end(burst, 1);
    assert.deepEqual(ring.returned, [0]);
    assert.equal(held.count, 3);
    held.release(token);
    assert.deepEqual(ring.returned, [0, 1, 2, 3]);
  });
});
