import { escapeXml, ticksUpTo } from '../../src/demo/chart.js';
import type { Figure, Look, Point, Series } from './results.js';

/** Line plots as SVG, for a page that has the style of `page-style.ts`. */

/** Sizes, in SVG user units. */
const WIDTH = 560;
const HEIGHT = 320;
const LEFT = 58;
const RIGHT = 16;
const TOP = 28;
const BOTTOM = 46;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT = HEIGHT - TOP - BOTTOM;
/** Half of a marker. */
const MARK = 4.5;
/** Half of a whisker's ends. */
const WHISKER = 4;
/** Spans of at most so many powers of ten have 2 and 5 on their axis too. */
const FINE_DECADES = 2;
/** Lines at the same place are drawn so far apart. */
const DODGE = 2.5;

/** A vertical axis: what stands at it, and where a value is, 0 (bottom) to 1. */
export interface Axis {
  readonly ticks: readonly number[];
  place(value: number): number;
}

/** From zero to a round number that is not below `most`. */
export function linearAxis(most: number): Axis {
  const ticks = ticksUpTo(most);
  const end = ticks.at(-1)!;
  return { ticks, place: (value) => value / end };
}

/** From a round number that is not above the least value to one that is not below the largest; all have to be above zero. */
export function logAxis(least: number, most: number): Axis {
  if (!(least > 0) || !(most >= least)) return linearAxis(most);
  const fine = Math.log10(most / least) <= FINE_DECADES;
  const steps = fine ? [1, 2, 5] : [1];
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(least)) - 1; power <= Math.ceil(Math.log10(most)) + 1; power++)
    for (const step of steps) all.push(Number((step * 10 ** power).toPrecision(3)));
  const first = all.findLastIndex((tick) => tick <= least);
  const last = Math.max(
    first + 1,
    all.findIndex((tick) => tick >= most),
  );
  const ticks = all.slice(first, last + 1);
  const [low, high] = [Math.log10(ticks[0]!), Math.log10(ticks.at(-1)!)];
  return { ticks, place: (value) => (Math.log10(value) - low) / (high - low) };
}

/** "1,500", "0.25", "2.5M". */
export function tickText(tick: number): string {
  if (tick >= 1e6) return `${Number((tick / 1e6).toPrecision(4))}M`;
  return tick.toLocaleString('en', { maximumSignificantDigits: 4 });
}

/** Values of both axes that a figure has, and that can be shown on it. */
function shown({ series, log }: Figure): { xs: number[]; values: number[] } {
  const points = series.flatMap(({ points }) => points).filter(({ y }) => isShown(y.median, log));
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const values = points.flatMap(({ y }) => [y.min, y.median, y.max]).filter((value) => isShown(value, log));
  return { xs, values };
}

const isShown = (value: number, log: boolean): boolean => Number.isFinite(value) && (!log || value > 0);

/** Series as lines over an axis on which all values stand equally far apart. */
export function linePlot(figure: Figure): string {
  const { xs, values } = shown(figure);
  if (values.length === 0) return '<p class="quiet">nothing was measured</p>';
  const axis = figure.log ? logAxis(Math.min(...values), Math.max(...values)) : linearAxis(Math.max(...values));
  const y = (value: number) => round(TOP + PLOT_HEIGHT * (1 - Math.min(1, Math.max(0, axis.place(value)))));
  const step = PLOT_WIDTH / xs.length;
  const x = (value: number, index: number) =>
    round(LEFT + step * (xs.indexOf(value) + 0.5) + DODGE * (index - (figure.series.length - 1) / 2));
  const description = `${figure.title}: ${figure.yLabel} by ${figure.xLabel}; ${figure.better}`;
  return [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeXml(description)}">`,
    `<text class="unit" x="6" y="14">${escapeXml(`${figure.yLabel} (${figure.better})`)}</text>`,
    ...axis.ticks.flatMap((tick) => [
      `<line class="grid" x1="${LEFT}" y1="${y(tick)}" x2="${WIDTH - RIGHT}" y2="${y(tick)}"/>`,
      `<text class="tick" x="${LEFT - 8}" y="${y(tick) + 4}" text-anchor="end">${tickText(tick)}</text>`,
    ]),
    ...xs.map(
      (value, i) =>
        `<text class="tick" x="${round(LEFT + step * (i + 0.5))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${tickText(value)}</text>`,
    ),
    `<text class="unit" x="${LEFT + PLOT_WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escapeXml(figure.xLabel)}</text>`,
    ...figure.series.map((series, index) => drawSeries(series, figure.log, (value) => x(value, index), y)),
    '</svg>',
  ].join('\n');
}

function drawSeries(
  { name, look, points }: Series,
  log: boolean,
  x: (value: number) => number,
  y: (value: number) => number,
): string {
  const drawn = points.filter((point) => isShown(point.y.median, log));
  const path = drawn.map((point, i) => `${i === 0 ? 'M' : 'L'}${x(point.x)} ${y(point.y.median)}`).join('');
  return [
    `<g class="series ${look}">`,
    `<path class="line" d="${path}"/>`,
    ...drawn.map((point) => drawPoint(point, name, look, log, x(point.x), y)),
    '</g>',
  ].join('\n');
}

function drawPoint(
  point: Point,
  name: string,
  look: Look,
  log: boolean,
  x: number,
  y: (value: number) => number,
): string {
  const { median, min, max } = point.y;
  const [top, bottom] = [y(max), y(isShown(min, log) ? min : median)];
  const whisker = `<path class="whisker" d="M${x - WHISKER} ${top}h${2 * WHISKER}M${x} ${top}V${bottom}M${x - WHISKER} ${bottom}h${2 * WHISKER}"/>`;
  const disturbed = point.disturbed === true;
  const text = `${name}, ${tickText(point.x)}: ${valueText(median)} (${valueText(min)} to ${valueText(max)})${disturbed ? ', disturbed' : ''}`;
  return `${bottom - top > 1 ? whisker : ''}<g class="mark${disturbed ? ' disturbed' : ''}"><title>${escapeXml(text)}</title>${marker(look, x, y(median))}</g>`;
}

/** A shape for each look, so that no colour has to be told from another. */
function marker(look: Look, x: number, y: number): string {
  const m = MARK;
  switch (look) {
    case 'sidecore':
      return `<circle cx="${x}" cy="${y}" r="${m}"/>`;
    case 'sidecore-light':
      return `<circle class="hollow" cx="${x}" cy="${y}" r="${m - 0.5}"/>`;
    case 'baseline':
      return `<rect x="${round(x - m + 0.5)}" y="${round(y - m + 0.5)}" width="${2 * m - 1}" height="${2 * m - 1}"/>`;
    case 'baseline-light':
      return `<rect class="hollow" x="${round(x - m + 1)}" y="${round(y - m + 1)}" width="${2 * m - 2}" height="${2 * m - 2}"/>`;
    case 'direct':
      return `<path d="M${x} ${round(y - m - 1)}L${round(x + m)} ${round(y + m - 1)}H${round(x - m)}Z"/>`;
    case 'third':
      return `<path d="M${x} ${round(y - m - 1)}L${round(x + m)} ${y}L${x} ${round(y + m + 1)}L${round(x - m)} ${y}Z"/>`;
    case 'fifth':
      return `<path d="M${round(x - m)} ${y}H${round(x + m)}M${x} ${round(y - m)}V${round(y + m)}" fill="none" stroke="var(--c)" stroke-width="2.4"/>`;
    case 'fourth':
      return `<path d="M${x} ${round(y + m + 1)}L${round(x + m)} ${round(y - m + 1)}H${round(x - m)}Z"/>`;
  }
}

/** The names of a figure's series with what they look like. */
export function legend(series: readonly Series[]): string {
  const items = series.map(({ name, look }) => {
    const line = `<path class="line" d="M2 8H30"/><g class="mark">${marker(look, 16, 8)}</g>`;
    return `<li><svg class="key" viewBox="0 0 32 16" aria-hidden="true"><g class="series ${look}">${line}</g></svg>${escapeXml(name)}</li>`;
  });
  return `<ul class="legend">${items.join('')}</ul>`;
}

/** A measured value: three figures, or all of a whole number. */
export function valueText(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(3)));
}

const round = (value: number): number => Math.round(value * 10) / 10;
