import { blockRowNames } from './filter-block.js';
import { BLOCK_ENTRIES } from './filter-entries.js';
import { frameRowNames, SIZES, titleOf } from './filter-frames.js';
import { FRAME_ENTRIES } from './frame-entries.js';
import type { Report, Row } from './report.js';

/** The tables of what each filter of ours costs, in Markdown, from a report of the benchmark. Filters that it has not are left out. */
export function costTables({ rows, date, machine, versions }: Report): string {
  const byName = new Map(rows.map((row) => [row.name, row]));
  const cpu = `${machine['cpus']} × ${machine['cpu']}`;
  return [
    `${date.slice(0, 10)}, ${cpu}, Node ${versions['node_daemon']}:`,
    table(
      ['block filter', 'alone, adds to a request, ns', 'depth 1: median latency, µs', 'depth 32: of the rate without'],
      BLOCK_ENTRIES.flatMap(({ name, does }) =>
        does.map((one) => [
          does.length === 1 ? name : `${name}: ${one}`,
          added(byName.get(blockRowNames.alone(name, one))),
          instead(byName.get(blockRowNames.p50(name, one, 1))),
          share(byName.get(blockRowNames.rate(name, one, 32))),
        ]),
      ),
    ),
    table(
      [
        'frame filter, on both cards',
        ...[`sent, ${SIZES[0]} B`, `received, ${SIZES[0]} B`, `sent, ${SIZES[1]} B`].map(
          (what) => `alone, adds, ns: ${what}`,
        ),
        `stream of ${SIZES[0]} B: of the rate without`,
        `of ${SIZES[1]} B`,
        'question and answer: median, µs',
      ],
      FRAME_ENTRIES.map((entry) => {
        const title = titleOf(entry);
        return [
          entry.name,
          added(byName.get(frameRowNames.alone(title, SIZES[0], 'outbound'))),
          added(byName.get(frameRowNames.alone(title, SIZES[0], 'inbound'))),
          added(byName.get(frameRowNames.alone(title, SIZES[1], 'outbound'))),
          share(byName.get(frameRowNames.rate(title, SIZES[0]))),
          share(byName.get(frameRowNames.rate(title, SIZES[1]))),
          instead(byName.get(frameRowNames.p50(title, SIZES[0]))),
        ];
      }),
    ),
  ].join('\n\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const measured = rows.filter(([, ...cells]) => cells.some((cell) => cell !== ''));
  return [line(head), line(head.map(() => '---')), ...measured.map(line)].join('\n');
}

/** Whether there are figures of both. */
const isMeasured = (row: Row | undefined): row is Row & { readonly peer: number; readonly ratio_median: number } =>
  row?.peer != null && Number.isFinite(row.ratio_median);

const disturbed = ({ note = '' }: Row): string => (note.startsWith('disturbed') ? ' (disturbed)' : '');

/** The difference of the medians. */
function added(row: Row | undefined): string {
  if (!isMeasured(row)) return '';
  const ns = row.ours - row.peer;
  return `${ns.toFixed(Math.abs(ns) < 10 ? 1 : 0)}${disturbed(row)}`;
}

function instead(row: Row | undefined): string {
  if (!isMeasured(row)) return '';
  return `${(row.ours / 1000).toFixed(2)} instead of ${(row.peer / 1000).toFixed(2)}${disturbed(row)}`;
}

function share(row: Row | undefined): string {
  if (!isMeasured(row)) return '';
  const percent = (ratio: number | null) => `${Math.round(100 * ratio!)}%`;
  return `${percent(row.ratio_median)} (${percent(row.ratio_min)} to ${percent(row.ratio_max)})${disturbed(row)}`;
}
