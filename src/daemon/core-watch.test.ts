import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CORE_ANSWER_MS_MAX, CORE_START_MS_MAX } from '../limits.js';
import { CoreState } from '../sidecore/core-state.js';
import { CoreWatch, SUPERVISE_MS, type Unanswered } from './core-watch.js';

const LOOKS = CORE_ANSWER_MS_MAX / SUPERVISE_MS;

/** A thread that has begun. */
function begun(): [CoreWatch, CoreState] {
  const state = new CoreState();
  state.threadId = 1;
  return [new CoreWatch(), state];
}

function look(watch: CoreWatch, state: CoreState, unanswered: Unanswered[], times: number): void {
  for (let i = 0; i < times; i++) watch.look(state, unanswered);
}

it('a core whose turns do not go by is stuck, then stalled, until they do', () => {
  const [watch, state] = begun();
  look(watch, state, [], 1);
  assert.deepEqual([watch.stuck, watch.stalled], [false, false]);
  look(watch, state, [], 1);
  assert.deepEqual([watch.stuck, watch.stalled], [true, false]);
  look(watch, state, [], LOOKS - 3);
  assert.ok(!watch.stalled);
  look(watch, state, [], 1);
  assert.ok(watch.stalled);
  state.countBeat();
  look(watch, state, [], 1);
  assert.deepEqual([watch.stuck, watch.stalled], [false, false]);
});

it('a core that sleeps is not', () => {
  const [watch, state] = begun();
  state.asleep = true;
  look(watch, state, [], 2 * LOOKS);
  assert.deepEqual([watch.stuck, watch.stalled], [false, false]);
});

it('a core that leaves unanswered what it could answer is stalled, but not one that waits for what is in flight', () => {
  const [watch, state] = begun();
  state.asleep = true;
  const unanswered: Unanswered[] = [{ request: { id: 1, op: 'detach', key: 7 }, looks: 0 }];
  look(watch, state, unanswered, 2 * LOOKS);
  assert.ok(!watch.stalled);
  unanswered.push({ request: { id: 2, op: 'retain', key: 7 }, looks: 0 });
  look(watch, state, unanswered, LOOKS);
  assert.deepEqual([watch.stuck, watch.stalled], [false, true]);
  watch.restart(unanswered);
  look(watch, state, unanswered, 1);
  assert.ok(!watch.stalled, 'another thread has its time');
  look(watch, state, unanswered, LOOKS);
  assert.ok(watch.stalled);
  look(watch, state, [], 1);
  assert.ok(!watch.stalled);
});

it('a thread that starts has more time, for its turns and for its answers', () => {
  const [watch, state] = [new CoreWatch(), new CoreState()];
  const unanswered: Unanswered[] = [{ request: { id: 1, op: 'retain', key: 7 }, looks: 0 }];
  const starting = CORE_START_MS_MAX / SUPERVISE_MS;
  look(watch, state, unanswered, starting - 1);
  assert.deepEqual([watch.stuck, watch.stalled], [false, false]);
  look(watch, state, unanswered, 1);
  assert.ok(watch.stalled);
  state.threadId = 1;
  state.countBeat();
  look(watch, state, unanswered, LOOKS - 1);
  assert.ok(!watch.stalled);
});
