import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exampleFigures, exampleRun } from '../../test/support/demo-runs.js';
import { checkLine, guestTable, historyLine, runTitle, workLine } from './live-table.js';
import { bar, micros, perRequest, sparkline, times } from './numbers.js';
import { RUNS } from './plan.js';
import { COLOURED, cutTo, PLAIN, wrap } from './style.js';

const view = (width: number, height = 40) => ({ width, height, style: PLAIN });
const many = { ...exampleRun('polled'), guests: Array.from({ length: 32 }, (_, i) => exampleFigures(`guest${i + 1}`)) };
/** Figures as wide as they get. */
const wide = exampleRun('baseline', {
  iops: 12_345_678,
  mb_per_s: 50_567,
  p50_us: 123_456,
  p99_us: 1_234_567,
  p999_us: 9_999_999,
});

describe('the table', () => {
  it('has a line for each guest and one for all, in columns that keep their places', () => {
    const run = exampleRun('called', { calls_per_request: null, kicks_per_request: 0.0001, p50_us: 123.4 });
    assert.deepEqual(guestTable(run, view(80)), [
      'GUEST          IOPS    MB/S   P50 US    P99 US   P99.9 US  KICKS/REQ  CALLS/REQ',
      'guest1      100,000     410      123      45.6        789     <0.001          -',
      'guest2      100,000     410      123      45.6        789     <0.001          -',
      'all         100,000     410      123      45.6        789     <0.001          -',
    ]);
  });

  it('is never wider than the terminal, and keeps guest and IOPS', () => {
    for (const run of [exampleRun('polled'), wide])
      for (let width = 24; width <= 120; width++) {
        const lines = guestTable(run, view(width));
        for (const line of lines) assert.ok(line.length <= width, `${line.length} characters in ${width}: ${line}`);
        assert.match(lines[0]!, /^GUEST +IOPS/);
      }
  });

  it('leaves guests out that do not fit, and says how many', () => {
    const lines = guestTable(many, view(80, 10));
    assert.equal(lines.length, 1 + 9 + 1 + 1);
    assert.equal(lines.at(-2), '… and 23 more guests');
    assert.match(lines.at(-1)!, /^all /);
    assert.equal(guestTable(many, view(80, 32)).length, 34);
  });

  it('has titles that fit 80 columns, with the clock', () => {
    for (const [index, plan] of RUNS.entries()) assert.ok(runTitle(index + 1, RUNS.length, plan).length <= 80 - 18);
  });
});

describe('the lines below it', () => {
  it('say how much of its CPU the back end worked', () => {
    assert.equal(
      workLine(0.5, 3, false, view(80)),
      'CPU 3 at work  50% ██████████·········· the rest: looking at empty rings',
    );
    assert.equal(
      workLine(1, 3, true, view(80)),
      'CPU 3 at work 100% ████████████████████ the rest: sleeping and waking',
    );
    assert.equal(workLine(null, 3, true, view(80)), '');
  });

  it('say whether all data were right', () => {
    assert.equal(checkLine(exampleFigures('all'), view(80)), '560,000 reads verified: 0 wrong; 0 requests failed');
    const bad = checkLine(exampleFigures('all', { mismatches: 2 }), { style: COLOURED });
    assert.ok(bad.startsWith(COLOURED.bad('').slice(0, 5)) && bad.includes('2 wrong'), bad);
  });

  it('show the figures over time, the last at the right', () => {
    assert.equal(historyLine([1, 2, 3, 4], view(80)), 'IOPS ▃▅▇█');
    assert.equal(historyLine([9, 9, 1, 2], view(7)), 'IOPS ▅█');
    assert.equal(sparkline([0, 0], 5), '▁▁');
  });
});

describe('numbers and text', () => {
  it('are short', () => {
    assert.deepEqual([0, 0.0004, 0.0005, 0.25, null].map(perRequest), ['0.000', '<0.001', '0.001', '0.250', '-']);
    assert.deepEqual([9.87, 99.94, 123.4, 12345].map(micros), ['9.9', '99.9', '123', '12,345']);
    assert.deepEqual([0.456, 1, 3.44, 12.3].map(times), ['0.46', '1.0', '3.4', '12']);
    assert.deepEqual(
      [-1, 0, 0.3, 1, 2].map((share) => bar(share, 4)),
      ['····', '····', '█▎··', '████', '████'],
    );
  });

  it('are broken at spaces', () => {
    assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
    assert.deepEqual(wrap('a-long-word b', 4), ['a-long-word', 'b']);
  });

  it('are cut without losing colours', () => {
    assert.equal(cutTo(`${COLOURED.bold('bold')} plain`, 6), '\x1b[1mbold\x1b[0m p');
    assert.equal(cutTo(COLOURED.dim('dimmed'), 3), '\x1b[2mdim\x1b[0m');
  });
});
