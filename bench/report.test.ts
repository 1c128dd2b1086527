import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { row, tableLine, undecided } from './report.js';

describe('a row of a report', () => {
  const rates = row(
    'frames',
    'frames/s',
    [6e6, 4e6, 9e6],
    [4e6, 4e6, 3e6],
    { sense: 'at least', value: 1.5 },
    'mask 1',
  );

  it('is judged by the median of what each pair of windows gave, not by the medians', () => {
    assert.deepEqual([rates.ours, rates.peer], [6e6, 4e6]);
    assert.deepEqual([rates.ratio_min, rates.ratio_median, rates.ratio_max], [1, 1.5, 3]);
    assert.equal(rates.holds, true);
    assert.equal(
      tableLine(rates),
      '| frames | frames/s | 6,000,000 | 4,000,000 | 1.50 (1.00 to 3.00) | at least 1.5 | yes | mask 1 |',
    );
    assert.equal(row('p50', 'ns', [700], [400], { sense: 'at most', value: 1.5 }).holds, false);
    assert.equal(row('p50', 'ns', [700], [400], null).holds, null);
  });

  it('has no verdict if all of it was disturbed, and says so', () => {
    const one = undecided(rates);
    assert.equal(one.holds, null);
    assert.match(tableLine(one), /\| at least 1\.5 \| {2}\| disturbed throughout, counts for nothing; mask 1 \|$/);
    assert.match(undecided(row('p50', 'ns', [1], [1], null)).note!, /^disturbed throughout/);
  });
});
