import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { legend, linearAxis, linePlot, logAxis, tickText, valueText } from './plot.js';
import type { Figure } from './results.js';

const y = (median: number, min = median, max = median) => ({ median, min, max, count: 3 });

const figure = (change: Partial<Figure> = {}): Figure => ({
  title: 'A & B',
  xLabel: 'guests',
  yLabel: 'IOPS < all',
  better: 'more is better',
  log: false,
  series: [
    { name: 'ours <1>', look: 'sidecore', points: [1, 4].map((x) => ({ x, y: y(10 * x, 9 * x, 12 * x) })) },
    { name: 'theirs', look: 'baseline', points: [{ x: 4, y: y(5), disturbed: true }] },
  ],
  ...change,
});

/** Numbers that stand in attributes of some name. */
const numbers = (svg: string, name: string): number[] =>
  [...svg.matchAll(new RegExp(` ${name}="(-?[\\d.]+)"`, 'g'))].map(([, number]) => Number(number));

describe('plots of the evaluation', () => {
  it('begins a linear axis at zero and ends it above everything', () => {
    const { ticks, place } = linearAxis(37);
    assert.deepEqual(ticks, [0, 10, 20, 30, 40]);
    assert.deepEqual([place(0), place(20), place(40)], [0, 0.5, 1]);
  });

  it('has powers of ten on a long axis, and 1, 2, 5 on a short one', () => {
    assert.deepEqual(logAxis(0.5, 8000).ticks, [0.1, 1, 10, 100, 1000, 10_000]);
    assert.deepEqual(logAxis(3, 40).ticks, [2, 5, 10, 20, 50]);
    assert.equal(logAxis(1, 10_000).place(100), 0.5);
  });

  it('holds every value on its axis', () => {
    const positive = fc.double({ min: 1e-6, max: 1e9, noNaN: true });
    fc.assert(
      fc.property(positive, positive, (a, b) => {
        const [least, most] = [Math.min(a, b), Math.max(a, b)];
        const { ticks, place } = logAxis(least, most);
        assert.ok(
          ticks.length >= 2 && ticks[0]! <= least * (1 + 1e-9) && ticks.at(-1)! >= most * (1 - 1e-9),
          `${ticks}`,
        );
        for (const value of [least, most]) assert.ok(place(value) >= -1e-9 && place(value) <= 1 + 1e-9);
        assert.ok(linearAxis(most).place(most) <= 1 + 1e-9);
      }),
    );
  });

  it('is well-formed, with everything within its frame', () => {
    for (const log of [false, true]) {
      const svg = linePlot(figure({ log }));
      for (const at of numbers(svg, 'y')) assert.ok(at >= 0 && at <= 320, `y ${at}`);
      for (const at of [...numbers(svg, 'x'), ...numbers(svg, 'cx')]) assert.ok(at >= 0 && at <= 560, `x ${at}`);
      assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
      assert.equal(svg.match(/<g[ >]/g)!.length, svg.match(/<\/g>/g)!.length);
      assert.match(svg, /^<svg [\s\S]*<\/svg>$/);
    }
  });

  it('takes no markup from names', () => {
    const svg = linePlot(figure());
    assert.doesNotMatch(svg, /IOPS < all|<1>|A & B/);
    assert.match(svg, /IOPS &#60; all \(more is better\)/);
    assert.match(legend(figure().series), /ours &#60;1&#62;/);
  });

  it('says which points were disturbed, and what a point’s values are', () => {
    const svg = linePlot(figure());
    assert.equal(svg.match(/class="mark disturbed"/g)!.length, 1);
    assert.match(svg, /<title>ours &#60;1&#62;, 4: 40 \(36 to 48\)<\/title>/);
    assert.match(svg, /<title>theirs, 4: 5 \(5 to 5\), disturbed<\/title>/);
  });

  it('leaves out what was not measured, and says so if nothing was', () => {
    const points = [{ x: 1, y: y(Number.NaN) }];
    const nothing = figure({ series: [{ name: 'a', look: 'direct', points }] });
    assert.match(linePlot(nothing), /nothing was measured/);
    const zero = figure({ log: true, series: [{ name: 'a', look: 'direct', points: [{ x: 1, y: y(0) }] }] });
    assert.match(linePlot(zero), /nothing was measured/);
    assert.doesNotMatch(linePlot(figure({ series: [...figure().series, ...nothing.series] })), /NaN/);
  });

  it('has a shape of its own for each look', () => {
    const looks = [
      'sidecore',
      'sidecore-light',
      'baseline',
      'baseline-light',
      'direct',
      'third',
      'fourth',
      'fifth',
    ] as const;
    const shapes = looks.map((look) => legend([{ name: '', look, points: [] }]).replaceAll(look, ''));
    assert.equal(new Set(shapes).size, looks.length);
  });

  it('writes numbers for people', () => {
    assert.deepEqual([0, 2.5, 1500, 2_500_000].map(tickText), ['0', '2.5', '1,500', '2.5M']);
    assert.deepEqual([0.123456, 12.345, 1234.5, Number.NaN].map(valueText), ['0.123', '12.3', '1,235', '-']);
  });
});
