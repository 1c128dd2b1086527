import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ChainLog } from './chain-log.js';
import { QueueCounter, QueuePhase, QueueState } from './queue-state.js';

describe('QueueState', () => {
  it('knows its ring’s size and layout from its memory', () => {
    for (let size = 1; size <= 32_768; size *= 2) {
      const state = QueueState.create(size);
      assert.equal(state.queueSize, size);
      assert.equal(new QueueState(state.buffer).queueSize, size);
      assert.equal(new QueueState(state.buffer).kind, 'split');
    }
    for (const size of [1, 3, 1000, 32_768]) {
      const packed = new QueueState(QueueState.create(size, 'packed').buffer);
      assert.deepEqual([packed.queueSize, packed.kind], [size, 'packed']);
      assert.ok(packed.inflight instanceof ChainLog);
    }
  });

  it('is the same in every thread', () => {
    const state = QueueState.create(16);
    const other = new QueueState(state.buffer);
    state.phase = QueuePhase.FAULTED;
    state.fault = -20;
    state.counters[QueueCounter.FLUSHES] = 2 ** 53 - 1;
    state.inflight.take(15);
    assert.equal(other.phase, QueuePhase.FAULTED);
    assert.equal(other.fault, -20);
    assert.equal(other.counters[QueueCounter.FLUSHES], 2 ** 53 - 1);
    assert.deepEqual(other.inflight.inFlight(), [15]);
  });

  it('keeps its parts apart', () => {
    const state = QueueState.create(4);
    state.counters.fill(Number.NaN);
    assert.equal(state.phase, QueuePhase.STOPPED);
    assert.equal(state.fault, 0);
    assert.deepEqual(state.inflight.inFlight(), []);
    state.phase = QueuePhase.POLLED;
    state.fault = -1;
    for (let head = 0; head < 4; head++) assert.equal(state.inflight.take(head), true);
    state.inflight.settle(65_535);
    assert.ok(state.counters.every(Number.isNaN));
    state.counters.fill(0);
    assert.equal(state.phase, QueuePhase.POLLED);
    assert.equal(state.fault, -1);
    assert.equal(state.inflight.settled, 65_535);
    assert.deepEqual(state.inflight.inFlight(), [0, 1, 2, 3]);
  });

  it('has a slot for each counter', () => {
    const slots = Object.values(QueueCounter);
    assert.deepEqual(
      slots.toSorted((a, b) => a - b),
      Array.from(slots.keys()),
    );
    assert.equal(QueueState.create(1).counters.length, slots.length);
  });
});
