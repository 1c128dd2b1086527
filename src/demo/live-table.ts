import { type Column, table } from '../cli/table.js';
import type { Figures } from './figures.js';
import { bar, micros, percent, perRequest, sparkline, whole } from './numbers.js';
import type { RunPlan } from './plan.js';
import type { RunFigures } from './run.js';
import type { Style } from './style.js';

const right = (head: string, spare = 0): Column => ({ head, right: true, spare });

const COLUMNS: readonly Column[] = [
  { head: 'GUEST' },
  right('IOPS'),
  right('MB/S', 3),
  right('P50 US'),
  right('P99 US', 1),
  right('P99.9 US', 4),
  right('KICKS/REQ', 2),
  right('CALLS/REQ', 2),
];

/** Least widths of the cells, so that columns keep their places while figures change. */
const CELL_WIDTHS = [8, 9, 6, 7, 8, 9, 9, 9];

function cells(figures: Figures): string[] {
  const { name, iops, mb_per_s, p50_us, p99_us, p999_us, kicks_per_request, calls_per_request } = figures;
  const texts = [
    name,
    whole(iops),
    whole(mb_per_s),
    micros(p50_us),
    micros(p99_us),
    micros(p999_us),
    perRequest(kicks_per_request),
    perRequest(calls_per_request),
  ];
  return texts.map((text, index) =>
    COLUMNS[index]!.right ? text.padStart(CELL_WIDTHS[index]!) : text.padEnd(CELL_WIDTHS[index]!),
  );
}

/** Where and in what the table is shown. */
export interface View {
  readonly width: number;
  /** Lines of the terminal; guests that do not fit are left out. */
  readonly height: number;
  readonly style: Style;
}

/** A line for each guest and one for all, under their heads. */
export function guestTable({ guests, all }: RunFigures, { width, height, style }: View): string[] {
  const shown = guests.length > height ? guests.slice(0, Math.max(1, height - 1)) : guests;
  const [head, ...lines] = table(COLUMNS, [...shown, all].map(cells), width)
    .trimEnd()
    .split('\n');
  const last = lines.pop()!;
  const more = shown.length < guests.length ? [style.dim(`… and ${guests.length - shown.length} more guests`)] : [];
  return [style.dim(head!), ...lines, ...more, style.bold(last)];
}

/** What a run is, in one line. */
export function runTitle(number: number, runs: number, plan: RunPlan): string {
  const host = plan.mode === 'baseline' ? 'a thread per disk, kicked' : 'one sidecore polls all disks';
  const guest = plan.sleeping ? 'guests sleep until called' : 'guests poll too';
  return `${number}/${runs} ${host}; ${guest}`;
}

const BAR_CHARS = 20;

/** How much of its CPU the back end has used for work. */
export function workLine(share: number | null, cpu: number, sleeps: boolean, { style }: Pick<View, 'style'>): string {
  if (share === null) return '';
  const rest = sleeps ? 'sleeping and waking' : 'looking at empty rings';
  return `CPU ${cpu} at work ${percent(share).padStart(4)} ${style.accent(bar(share, BAR_CHARS))} ${style.dim(`the rest: ${rest}`)}`;
}

/** What the comparison of data has given. */
export function checkLine({ checked, mismatches, errors }: Figures, { style }: Pick<View, 'style'>): string {
  const text = `${whole(checked)} reads verified: ${whole(mismatches)} wrong; ${whole(errors)} requests failed`;
  return mismatches + errors > 0 ? style.bad(text) : text;
}

/** How the two guests fare that talk through the switch. */
export function talkLine(talk: Figures, { style }: Pick<View, 'style'>): string {
  const { iops, p50_us, p99_us, checked, mismatches, errors } = talk;
  const text = `switch: ${whole(iops)} round trips/s, p50 ${micros(p50_us)} µs, p99 ${micros(p99_us)} µs; ${whole(checked)} frames verified: ${whole(mismatches)} wrong, ${whole(errors)} lost`;
  return mismatches + errors > 0 ? style.bad(text) : text;
}

/** The figures over time. */
export function historyLine(history: readonly number[], { width, style }: View): string {
  const label = 'IOPS ';
  return `${label}${style.accent(sparkline(history, Math.min(width - label.length, 60)))}`;
}
