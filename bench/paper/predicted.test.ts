import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_COSTS } from '../../src/sim/costs.js';
import { type Predicted, predict, predictionTable, type SimCosts } from './predicted.js';
import type { RawPoint } from './results.js';

const HERE: SimCosts = { costs: DEFAULT_COSTS, whose: 'costs of this run', here: true };

const point = (rate: number, p50Ns: number, change: Partial<Predicted> = {}): Predicted => ({
  workload: 'block-1',
  contender: 'sidecore',
  guests: 4,
  disturbed: false,
  measured: { perSecond: 1e6, p50Ns: 2000 },
  simulated: { perSecond: rate, p50Ns },
  ...change,
});

describe('what the simulator says of measured points', () => {
  it('is shown beside them with its error, and holds if all are near enough', () => {
    const { rows, verdicts } = predictionTable([point(1.15e6, 1800), point(0.9e6, 2300)], HERE);
    assert.deepEqual(rows[0], ['block-1, sidecore, 4', '1,000,000', '1,150,000', '+15 %', '2.00', '1.80', '-10 %']);
    assert.equal(verdicts![0]!.holds, true);
  });

  it('does not hold if one is not, and says how many are', () => {
    const [verdict] = predictionTable([point(1e6, 2000), point(1.2e6, 2000)], HERE).verdicts!;
    assert.equal(verdict!.holds, false);
    assert.equal(verdict!.measured, 'throughput of 1 of 2 points within 15 %, the median of 2 of 2');
  });

  it('counts no point that was disturbed, and no latency of a stream', () => {
    const stream = { workload: 'stream-1500', measured: { perSecond: 1e6, p50Ns: Number.NaN } };
    const table = predictionTable([point(9e6, 2000, { disturbed: true }), point(1e6, Number.NaN, stream)], HERE);
    assert.equal(table.rows[1]![6], '-');
    const [disks, cards] = table.verdicts!;
    assert.deepEqual([disks!.holds, disks!.why], [null, 'no point was undisturbed']);
    assert.equal(cards!.measured, 'throughput of 1 of 1 points within 15 %, the median of 0 of 0');
  });

  it('decides nothing with costs of another run, and says whose they are', () => {
    const [verdict] = predictionTable([point(1e6, 2000)], { ...HERE, here: false, whose: 'costs of x.json' }).verdicts!;
    assert.equal(verdict!.holds, null);
    assert.match(verdict!.why!, /costs of x\.json/);
  });

  it('is that of the same guests, and nothing of those that it does not have', () => {
    const raw = (workload: string, contender: string): RawPoint => ({
      workload,
      contender,
      at: { guests: 2 },
      disturbed: false,
      windows: [],
    });
    const one = predict(raw('block-1', 'sidecore'), DEFAULT_COSTS, 1)!;
    const talk = predict(raw('request-response', 'baseline'), DEFAULT_COSTS, 1)!;
    assert.ok(one.simulated.perSecond > talk.simulated.perSecond && talk.simulated.perSecond > 0);
    assert.equal(predict(raw('stream-64k', 'sidecore'), DEFAULT_COSTS, 1), undefined);
    assert.equal(predict(raw('block-1', 'direct'), DEFAULT_COSTS, 1), undefined);
  });
});
