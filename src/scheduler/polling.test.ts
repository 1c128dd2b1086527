import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { POLLING_RULES, Polling, type PollingRule } from './polling.js';

const isIdle = (polling: Polling, nowNs: number, lastWorkNs: number): boolean =>
  polling.isIdle(Float64Array.of(nowNs), Float64Array.of(lastWorkNs));

const MS = 1e6;
const { adaptive: RULE, sidecore: ALWAYS, baseline: NEVER } = POLLING_RULES;

/** One queue under a rule, whose requests come as told, in simulated time. */
class TestQueue {
  readonly polling: Polling;
  kicks = 0;
  entered = 0;
  /** Time in which it was polled, ns. */
  polledNs = 0;
  polled = false;
  now = 1e9;
  #lastWork = 0;
  #enteredAt = 0;
  #found = false;

  constructor(rule: PollingRule) {
    this.polling = new Polling(rule);
  }

  /** Time passes, then a request comes. */
  request(afterNs: number): void {
    this.rest(afterNs);
    if (this.polled) {
      this.#found = true;
    } else {
      this.kicks++;
      this.polling.kicked(this.now);
      this.polled = this.polling.polls;
      if (this.polled) this.entered++;
      this.#enteredAt = this.now;
      this.#found = false;
    }
    this.#lastWork = this.now;
  }

  rest(ns: number): void {
    const end = this.now + ns;
    // As often as a core looks for idle queues.
    while (this.polled && this.now < end) {
      this.now = Math.min(end, this.now + 10_000);
      if (!isIdle(this.polling, this.now, this.#lastWork)) continue;
      this.polled = false;
      this.polledNs += this.now - this.#enteredAt;
      this.polling.left(this.now, this.#found);
    }
    this.now = end;
  }
}

describe('the polling of a queue', () => {
  it('begins after a few quick kicks, and not before', () => {
    const queue = new TestQueue(RULE);
    queue.request(0);
    assert.equal(queue.polled, false, 'one kick tells nothing');
    for (let i = 0; i < 3; i++) queue.request(20_000);
    assert.equal(queue.polled, true);
    assert.ok(queue.kicks <= 4);
    for (let i = 0; i < 1000; i++) queue.request(20_000);
    assert.ok(queue.kicks <= 4, 'a polled queue needs no kick');
  });

  it('does not begin for requests that are rarer than the rule says', () => {
    const queue = new TestQueue(RULE);
    for (let i = 0; i < 1000; i++) queue.request(1.5 * MS);
    assert.deepEqual([queue.kicks, queue.polledNs], [1000, 0]);
  });

  it('ends after the idle time, and begins anew with the next quick kicks', () => {
    const queue = new TestQueue(RULE);
    for (let i = 0; i < 10; i++) queue.request(20_000);
    queue.rest(0.9 * MS);
    assert.equal(queue.polled, true);
    queue.rest(0.2 * MS);
    assert.equal(queue.polled, false);
    queue.rest(100 * MS);
    const { kicks } = queue;
    for (let i = 0; i < 10; i++) queue.request(20_000);
    assert.equal(queue.polled, true);
    assert.ok(queue.kicks - kicks <= 4);
  });

  it('goes on longer where the queue comes back just after it has left', () => {
    const queue = new TestQueue(RULE);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 10; i++) queue.request(20_000);
      queue.rest(1.5 * MS);
    }
    const { entered, kicks } = queue;
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 10; i++) queue.request(20_000);
      queue.rest(1.5 * MS);
    }
    assert.deepEqual([queue.entered, queue.kicks], [entered, kicks], 'it stays');
  });

  it('and no longer than at first where it stays away', () => {
    const queue = new TestQueue(RULE);
    const burst = (pauseNs: number) => {
      for (let i = 0; i < 10; i++) queue.request(20_000);
      queue.rest(pauseNs);
    };
    for (let round = 0; round < 20; round++) burst(1.5 * MS);
    for (let round = 0; round < 20; round++) burst(1000 * MS);
    const { polledNs } = queue;
    burst(1000 * MS);
    assert.ok(queue.polledNs - polledNs < 1.3 * MS, `${queue.polledNs - polledNs}`);
  });

  it('needs a higher rate where it has brought nothing', () => {
    const queue = new TestQueue(RULE);
    // Three quick kicks, then nothing: each time it is polled for nothing.
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 3; i++) queue.request(300_000);
      queue.rest(50 * MS);
    }
    const { entered } = queue;
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 3; i++) queue.request(300_000);
      queue.rest(50 * MS);
    }
    assert.ok(queue.entered - entered <= 1, `${queue.entered - entered} of 50`);
    for (let i = 0; i < 10; i++) queue.request(20_000);
    assert.equal(queue.polled, true, 'and a high one still suffices');
  });

  it('begins at the first kick where the core polls in any case, and still ends', () => {
    const queue = new TestQueue(ALWAYS);
    queue.request(0);
    assert.equal(queue.polled, true);
    queue.rest(99 * MS);
    assert.equal(queue.polled, true);
    queue.rest(2 * MS);
    assert.equal(queue.polled, false);
    queue.rest(10_000 * MS);
    queue.request(0);
    assert.equal(queue.polled, true);
  });

  it('never begins in a baseline', () => {
    const queue = new TestQueue(NEVER);
    queue.polling.started();
    assert.equal(queue.polling.polls, false);
    for (let i = 0; i < 1000; i++) queue.request(1000);
    assert.deepEqual([queue.kicks, queue.entered], [1000, 0]);
  });

  it('has an idle time between its two bounds, whatever comes', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 20_000_000 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(gaps, (all) => {
        const queue = new TestQueue(RULE);
        for (const gap of all) {
          queue.request(gap);
          const { now } = queue;
          assert.equal(isIdle(queue.polling, now + RULE.idleNsMax, now), true);
          if (queue.polling.polls) assert.equal(isIdle(queue.polling, now + RULE.idleNs - 1, now), false);
        }
      }),
    );
  });
});
