import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_COSTS } from './costs.js';
import { experimentText, type SimExtent, simulateExperiment, simulateExperiments } from './experiments.js';

const SHORT: SimExtent = { guests: [1, 2, 8], cores: [1, 4], seeds: 2, requests: 1500 };

describe('experiments beyond the machine', () => {
  const all = simulateExperiments(DEFAULT_COSTS, 1, SHORT);

  it('give a figure for each question, with a value for each number of guests or cores', () => {
    assert.deepEqual(
      all.map(({ number }) => number),
      [1, 2, 3, 4, 5],
    );
    const points = all.flatMap(({ figures }) =>
      figures.flatMap(({ series }) => series.flatMap(({ points }) => points)),
    );
    for (const { y } of points) {
      assert.equal(y.count, SHORT.seeds);
      assert.ok(Number.isFinite(y.median) && y.min <= y.median && y.median <= y.max);
    }
    const titles = all.flatMap(({ figures }) => figures.map(({ title }) => title));
    assert.equal(new Set(titles).size, titles.length);
  });

  it('show more throughput on more sidecores', () => {
    const byCores = all[0]!.figures.filter(({ xLabel }) => xLabel === 'sidecores');
    assert.equal(byCores.length, 4);
    const rates = byCores[1]!.series[0]!.points.map(({ y }) => y.median);
    assert.ok(rates[1]! > 2.5 * rates[0]!, rates.join(' '));
  });

  it('are the same with the same seed', () => {
    assert.deepEqual(simulateExperiment(5, DEFAULT_COSTS, 1, SHORT), all[4]);
    assert.equal(simulateExperiment(6, DEFAULT_COSTS, 1, SHORT), undefined);
  });

  it('can be read as text', () => {
    const text = experimentText(all);
    assert.match(text, /5: What idle guests cost/);
    assert.doesNotMatch(text, /NaN|undefined/);
  });
});
