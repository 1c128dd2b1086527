import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SESSION_MESSAGES_BURST, SESSION_MESSAGES_PER_SECOND } from '../limits.js';
import { Pace } from './pace.js';

class TestClock {
  ms = 1000;
  now(): number {
    return this.ms;
  }
  async sleep(ms: number): Promise<void> {
    this.ms += ms;
  }
}

describe('the pace of a session', () => {
  it('lets a start-up pass at once', async () => {
    const clock = new TestClock();
    const pace = new Pace(clock);
    for (let i = 0; i < SESSION_MESSAGES_BURST; i++) await pace.take(1);
    assert.equal(clock.ms, 1000);
  });

  it('bounds what follows, whatever it costs', async () => {
    for (const cost of [1, 4, 64]) {
      const clock = new TestClock();
      const pace = new Pace(clock);
      const seconds = 20;
      let taken = 0;
      while (clock.ms < 1000 + seconds * 1000) {
        await pace.take(cost);
        taken += cost;
      }
      const most = SESSION_MESSAGES_BURST + seconds * SESSION_MESSAGES_PER_SECOND;
      assert.ok(taken <= most + cost && taken >= most - 2 * cost, `${taken} of ${most}`);
    }
  });

  it('gives a front end that rests its burst back, and no more', async () => {
    const clock = new TestClock();
    const pace = new Pace(clock);
    await pace.take(SESSION_MESSAGES_BURST);
    clock.ms += 3600_000;
    const before = clock.ms;
    await pace.take(SESSION_MESSAGES_BURST);
    assert.equal(clock.ms, before);
    await pace.take(SESSION_MESSAGES_PER_SECOND);
    assert.ok(Math.abs(clock.ms - before - 1000) < 1e-6);
  });
});
