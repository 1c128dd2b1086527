import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { claimText } from './results.js';
import { type Judged, judge, microsText, percentText, rangeText, timesText } from './verdicts.js';

const claim = (change: Partial<Judged>): Judged => ({
  claim: 'it is faster',
  by: 'paper',
  bound: { sense: 'at least', value: 1.2 },
  text: timesText,
  figures: [],
  ...change,
});

describe('verdicts of the evaluation', () => {
  it('is decided by the worst figure', () => {
    const figures = [
      { of: '1 guest', value: 3 },
      { of: '4 guests', value: 1.1 },
    ];
    assert.deepEqual(judge(claim({ figures })), {
      claim: 'it is faster',
      by: 'paper',
      threshold: 'at least 1.2 times',
      measured: '1.1 times (4 guests, the least of 2)',
      holds: false,
    });
    const most = judge(claim({ figures, bound: { sense: 'at most', value: 3 } }));
    assert.deepEqual([most.measured, most.holds], ['3.0 times (1 guest, the most of 2)', true]);
  });

  it('keeps what the claim is about apart from it', () => {
    const verdict = judge(claim({ subject: 'Block', figures: [{ of: '1 guest', value: 2 }] }));
    assert.deepEqual(
      [verdict.subject, verdict.claim, claimText(verdict)],
      ['Block', 'it is faster', 'Block: it is faster'],
    );
    assert.equal(claimText(judge(claim({}))), 'it is faster');
  });

  it('holds on its bound', () => {
    const figures = [{ of: '1 guest', value: 1.2 }];
    assert.equal(judge(claim({ figures })).holds, true);
    assert.equal(judge(claim({ figures, bound: { sense: 'at most', value: 1.2 } })).holds, true);
    assert.equal(judge(claim({ figures, bound: { sense: 'at most', value: 1.19 } })).holds, false);
  });

  it('says what a figure varied by', () => {
    const spread = { median: 2, min: 1.5, max: 3, count: 3 };
    const { measured } = judge(claim({ figures: [{ of: '1 guest', value: 2, spread }] }));
    assert.equal(measured, '2.0 times (1 guest; 1.5 times to 3.0 times in 3 rounds)');
  });

  it('decides nothing of nothing', () => {
    const { holds, why } = judge(claim({ figures: [{ of: '1 guest', value: Number.NaN }] }));
    assert.equal(holds, null);
    assert.match(why!, /not measured/);
  });

  it('decides nothing by a figure that was disturbed', () => {
    const good = { of: '1 guest', value: 3 };
    const bad = { of: '4 guests', value: 1, disturbed: true };
    const { holds, why, measured } = judge(claim({ figures: [good, bad] }));
    assert.equal(holds, null);
    assert.match(why!, /something else on the machine/);
    assert.match(measured, /1\.0 times/);
    // One that does not decide may be disturbed.
    assert.equal(
      judge(
        claim({
          figures: [
            { ...good, value: 2 },
            { ...bad, value: 5 },
          ],
        }),
      ).holds,
      true,
    );
  });

  it('writes figures for people', () => {
    assert.deepEqual([0.034, 0.5, -0.02].map(percentText), ['3.4%', '50%', '-2.0%']);
    assert.deepEqual([1234, 45_678].map(microsText), ['1.23 µs', '46 µs']);
    assert.equal(rangeText([3, 2, Number.NaN], timesText), '2.0 to 3.0 times');
    assert.equal(rangeText([2, 2], timesText), '2.0 times');
    assert.equal(rangeText([], timesText), 'nothing that was measured');
  });

  it('decides nothing of a median that may lie on either side of its bound', () => {
    const bound = { sense: 'at most', value: 0.02 } as const;
    const of = (low: number, high: number) => {
      const estimate = { median: 0.01, low, high, confidence: 0.961, count: 12 };
      return judge(claim({ bound, text: percentText, figures: [{ of: '256 guests', value: 0.01, estimate }] }));
    };
    assert.equal(of(-0.01, 0.015).holds, true);
    assert.equal(of(-0.01, 0.03).holds, null);
    assert.match(of(-0.01, 0.03).why!, /either side/);
    assert.equal(of(-0.01, 0.015).measured, '1.0% (256 guests; -1.0% to 1.5% with 96%, from 12 pairs of windows)');
    const few = { median: 0.01, low: 0.005, high: 0.015, confidence: 0.5, count: 2 };
    const unsure = judge(claim({ bound, text: percentText, figures: [{ of: '', value: 0.01, estimate: few }] }));
    assert.deepEqual([unsure.holds, unsure.why], [null, 'too few pairs of windows were undisturbed']);
    const over = { median: 0.05, low: 0.03, high: 0.06, confidence: 0.97, count: 12 };
    const judged = judge(claim({ bound, text: percentText, figures: [{ of: '', value: 0.05, estimate: over }] }));
    assert.equal(judged.holds, false);
  });
});
