import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LoadCounters } from '../guest/load-counters.js';
import { Histogram } from './histogram.js';

/** Largest relative error of a quantile. */
const ERROR = 1 / 32;

function near(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= Math.max(1, expected * ERROR), `${actual} instead of ${expected}`);
}

describe('a histogram', () => {
  it('gives every time back within its error, alone', () => {
    for (let ns = 1; ns < 2 ** 38; ns = Math.ceil(ns * 1.01)) {
      const one = new Histogram();
      one.add(ns);
      near(one.quantile(0.5), ns);
      assert.equal(one.total, 1);
    }
  });

  it('gives quantiles', () => {
    const histogram = new Histogram();
    for (let ns = 1; ns <= 100_000; ns++) histogram.add(ns);
    for (const share of [0.01, 0.5, 0.99, 0.999, 1]) near(histogram.quantile(share), share * 100_000);
    assert.equal(new Histogram().quantile(0.5), 0);
  });

  it('keeps what cannot be: negative and endless times', () => {
    const histogram = new Histogram();
    for (const ns of [-5, 0, 2 ** 52]) histogram.add(ns);
    assert.equal(histogram.total, 3);
    assert.equal(histogram.quantile(0.5), 0);
  });

  it('is added, copied, and subtracted', () => {
    const histogram = new Histogram();
    histogram.add(100);
    const earlier = histogram.copy();
    histogram.add(5000);
    near(histogram.since(earlier).quantile(1), 5000);
    assert.equal(histogram.since(earlier).total, 1);
    assert.equal(earlier.total, 1);
    earlier.merge(histogram);
    assert.equal(earlier.total, 3);
    histogram.clear();
    assert.equal(histogram.total, 0);
  });
});

it('counters are the same to all who share their memory', () => {
  const memory = new SharedArrayBuffer(LoadCounters.BYTES);
  const [writer, reader] = [new LoadCounters(memory), new LoadCounters(memory)];
  writer.countTurn(3, 1);
  writer.countError();
  writer.countCheck(true);
  writer.countCheck(false);
  writer.latency.add(1000);
  const { requests, kicks, errors, checked, mismatches } = reader;
  assert.deepEqual(
    { requests, kicks, errors, checked, mismatches },
    { requests: 3, kicks: 1, errors: 1, checked: 2, mismatches: 1 },
  );
  assert.equal(reader.latency.total, 1);
  writer.clear();
  assert.equal(reader.requests + reader.latency.total, 0);
});
