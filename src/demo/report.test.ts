import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXAMPLE_RUNS, EXAMPLE_SETTING, exampleRun } from '../../test/support/demo-runs.js';
import { barChart, escapeXml, ticksUpTo } from './chart.js';
import { renderReport } from './report.js';
import type { RunResult } from './run.js';

const report = (runs: readonly RunResult[], cpu = 'Some CPU') =>
  renderReport({
    date: '2026-01-02T03:04:05.678Z',
    machine: { cpu, cpus: 4, memory_gib: 8, kernel: '6.1.0', node: 'v20.20.2', sidecore: '0.1.0', file_system: 'ext4' },
    setting: EXAMPLE_SETTING,
    runs,
    configuration: 'cores: [3]\n',
    command: 'sidecore demo --seconds 8',
  });

/** Tags that are opened and not closed, or the other way round; what has no end tag does not count. */
function unbalanced(page: string): string[] {
  const open: string[] = [];
  for (const [, end, name, own] of page.matchAll(/<(\/?)([a-z0-9]+)[^>]*?(\/?)>/g)) {
    if (own === '/' || ['meta', 'br'].includes(name!)) continue;
    if (end !== '/') open.push(name!);
    else if (open.pop() !== name) return [`</${name}>`];
  }
  return open;
}

describe('the report', () => {
  const page = report(EXAMPLE_RUNS);

  it('is whole', () => {
    assert.match(page, /^<!doctype html>/);
    assert.deepEqual(unbalanced(page), []);
  });

  it('asks nothing of anybody', () => {
    assert.doesNotMatch(page, /https?:|\bsrc=|\bhref=|url\(|@import|<script/i);
  });

  it('says what, where, when and how', () => {
    for (const part of [
      '2026-01-02 03:04 UTC',
      '4 × Some CPU',
      'Linux 6.1.0',
      'Node v20.20.2',
      'cores: [3]',
      'ext4',
      '--seconds 8',
    ]) {
      assert.ok(page.includes(part), part);
    }
  });

  it('has like against like at its head: guests that sleep, in both', () => {
    const [polled, called, baseline] = EXAMPLE_RUNS;
    const faster = [exampleRun('polled', { iops: 900_000 }), { ...called!, all: { ...called!.all, iops: 200_000 } }];
    const { all } = baseline!;
    const tile = /<div class="tile"><b>(.*?)<\/b><span>(.*?)<\/span>/.exec(report([...faster, baseline!]))!;
    assert.equal(tile[1], `${(200_000 / all.iops).toFixed(1)}×`);
    assert.match(tile[2]!, /^the IOPS of a thread per disk, guests sleep in both: 200,000 instead of /);
    assert.doesNotMatch(report([polled!]), /class="tile"/);
  });

  it('takes the colour from its head if the machine was busy', () => {
    const busy = EXAMPLE_RUNS.map((run) => ({ ...run, others: { load: 0.5, core: 0 } }));
    assert.match(report(busy), /class="tiles doubtful"/);
    assert.match(page, /class="tiles">/);
  });

  it('has all figures of all guests, a chart for each comparison, and both appearances', () => {
    assert.equal(page.match(/<td>guest[12]<\/td>/g)?.length, 6);
    assert.equal(page.match(/<svg /g)?.length, 4);
    assert.match(page, /prefers-color-scheme: dark/);
    assert.match(
      page,
      /1,680,000 reads were compared with what had been written, and 900,000 frames with what had been sent: all were right/,
    );
  });

  it('says what went wrong instead, if anything did', () => {
    const failed = report([exampleRun('polled', {}, { problems: ['guest1: 3 reads gave other data'] })]);
    assert.match(failed, /class="result bad">guest1: 3 reads gave other data/);
    assert.doesNotMatch(failed, /all were right/);
    assert.deepEqual(unbalanced(failed), []);
  });

  it('cannot be broken by names', () => {
    const evil = report(EXAMPLE_RUNS, '<script>alert("x")</script>');
    assert.doesNotMatch(evil, /<script/);
    assert.ok(evil.includes(escapeXml('<script>')));
  });
});

describe('a bar chart', () => {
  it('has an axis from zero in round steps, with a unit', () => {
    assert.deepEqual(ticksUpTo(97), [0, 25, 50, 75, 100]);
    assert.deepEqual(ticksUpTo(1234), [0, 500, 1000, 1500]);
    assert.deepEqual(ticksUpTo(0.3), [0, 0.1, 0.2, 0.3]);
    assert.deepEqual(ticksUpTo(0), [0, 1]);
    assert.deepEqual(ticksUpTo(Number.NaN), [0, 1]);
  });

  it('draws lengths in proportion, and parts of a bar after each other', () => {
    const bars = [
      { label: ['a', 'b'], segments: [{ value: 50, colour: 'ours' }], text: '50' },
      {
        label: ['c', 'd'],
        segments: [
          { value: 25, colour: 'theirs' },
          { value: 75, colour: 'theirs-light' },
        ],
        text: '100',
      },
    ] as const;
    const svg = barChart({ title: 'A & B', unit: 'things', bars });
    const rects = Array.from(svg.matchAll(/x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g), ([, x, width]) => [
      Number(x),
      Number(width),
    ]);
    const [[left, half], [first, quarter], [second, rest]] = rects as [
      [number, number],
      [number, number],
      [number, number],
    ];
    assert.equal(first, left);
    assert.ok(Math.abs(half - 2 * quarter) < 0.3 && Math.abs(rest - 3 * quarter) < 0.3);
    assert.ok(Math.abs(second - (first + quarter)) < 0.2);
    assert.match(svg, /A &#38; B/);
    assert.match(svg, />things</);
    assert.deepEqual(unbalanced(svg), []);
  });
});
