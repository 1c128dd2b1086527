/** Bar charts as SVG, for a page that has the style of `report-style.ts`. */

/** A part of a bar. */
export interface Segment {
  readonly value: number;
  /** Which of the page's colours: `ours`, `ours-light`, `theirs`, `theirs-light`. */
  readonly colour: string;
}

export interface Bar {
  /** Two lines at its left. */
  readonly label: readonly [string, string];
  readonly segments: readonly Segment[];
  /** Stands at its end. */
  readonly text: string;
}

export interface Chart {
  readonly title: string;
  /** Of the axis. */
  readonly unit: string;
  readonly bars: readonly Bar[];
}

/** Sizes, in SVG user units. */
const WIDTH = 480;
const LABEL_WIDTH = 112;
const TEXT_WIDTH = 66;
const BAR_HEIGHT = 26;
const ROW_HEIGHT = 46;
const AXIS_HEIGHT = 40;
const PLOT_WIDTH = WIDTH - LABEL_WIDTH - TEXT_WIDTH;
const TICKS_WANTED = 4;

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** Horizontal bars over one axis that starts at zero. */
export function barChart({ title, unit, bars }: Chart): string {
  const sums = bars.map(({ segments }) => segments.reduce((sum, { value }) => sum + value, 0));
  const ticks = ticksUpTo(Math.max(...sums));
  const end = ticks.at(-1)!;
  const x = (value: number) => round(LABEL_WIDTH + (value / end) * PLOT_WIDTH);
  const bottom = bars.length * ROW_HEIGHT;
  const grid = ticks.flatMap((tick) => [
    `<line class="grid" x1="${x(tick)}" y1="0" x2="${x(tick)}" y2="${bottom}"/>`,
    `<text class="tick" x="${x(tick)}" y="${bottom + 16}" text-anchor="middle">${tickText(tick)}</text>`,
  ]);
  const unitText = `<text class="unit" x="${x(end / 2)}" y="${bottom + 34}" text-anchor="middle">${escapeXml(unit)}</text>`;
  const description = bars.map(({ label, text }) => `${label.join(', ')}: ${text}`).join('; ');
  return [
    `<figure><figcaption>${escapeXml(title)}</figcaption>`,
    `<svg viewBox="0 0 ${WIDTH} ${bottom + AXIS_HEIGHT}" role="img" aria-label="${escapeXml(`${title}, ${unit}. ${description}`)}">`,
    ...grid,
    ...bars.map((bar, index) => drawBar(bar, index * ROW_HEIGHT, x)),
    unitText,
    '</svg></figure>',
  ].join('\n');
}

function drawBar({ label, segments, text }: Bar, top: number, x: (value: number) => number): string {
  const middle = top + ROW_HEIGHT / 2;
  const y = middle - BAR_HEIGHT / 2;
  let from = 0;
  const parts = segments.map(({ value, colour }) => {
    const left = x(from);
    from += value;
    return `<rect class="${colour}" x="${left}" y="${y}" width="${round(x(from) - left)}" height="${BAR_HEIGHT}"/>`;
  });
  return [
    `<text class="label" x="${LABEL_WIDTH - 10}" y="${middle - 3}" text-anchor="end">${escapeXml(label[0])}</text>`,
    `<text class="sub" x="${LABEL_WIDTH - 10}" y="${middle + 11}" text-anchor="end">${escapeXml(label[1])}</text>`,
    ...parts,
    `<text class="value" x="${round(x(from) + 6)}" y="${middle + 5}">${escapeXml(text)}</text>`,
  ].join('\n');
}

/** Round numbers from zero to the first that is not below `most`. */
export function ticksUpTo(most: number): number[] {
  if (!(most > 0)) return [0, 1];
  const rough = most / TICKS_WANTED;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

const tickText = (tick: number): string => tick.toLocaleString('en', { maximumFractionDigits: 4 });
const round = (value: number): number => Math.round(value * 10) / 10;
