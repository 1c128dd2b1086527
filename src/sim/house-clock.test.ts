import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HOUSEKEEPING_TURNS } from '../limits.js';
import { HouseClock } from './house-clock.js';

/** Rounds until a look is due. */
function roundsLeft(clock: HouseClock): number {
  for (let rounds = 1; ; rounds++) if (clock.count()) return rounds;
}

describe('the rounds between two looks at idle queues and kicks', () => {
  it('are counted, those in vain as if they had happened', () => {
    const clock = new HouseClock();
    assert.equal(clock.nextNs(1000, 1000, 50), 1000 + 50 * HOUSEKEEPING_TURNS);
    clock.passed(50 * 10, 50);
    assert.equal(roundsLeft(clock), HOUSEKEEPING_TURNS - 10);
  });

  it('come to a look that is due now if so many have passed, or if it is to hurry', () => {
    for (const times of [1, 3]) {
      const clock = new HouseClock();
      clock.passed(50 * HOUSEKEEPING_TURNS * times, 50);
      assert.equal(roundsLeft(clock), 1);
    }
    const clock = new HouseClock();
    clock.hurry();
    clock.passed(0, 50);
    assert.equal(roundsLeft(clock), 1);
  });

  it('go on behind looks that found nothing', () => {
    const clock = new HouseClock();
    clock.passed(50 * (HOUSEKEEPING_TURNS + 5), 50);
    assert.equal(roundsLeft(clock), HOUSEKEEPING_TURNS - 5);
    clock.restart();
    assert.equal(clock.nextNs(1000 + 50 * 100, 1000, 50), 1000 + 50 * HOUSEKEEPING_TURNS * 4);
  });
});
