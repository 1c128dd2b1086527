import type { Result } from './result.js';

const us = (ns: number): string => (ns / 1000).toFixed(ns < 100_000 ? 2 : 0);
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** A result as a person reads it. */
export function resultText({ classes, cores, loadBusy, events, trace, seconds, seed }: Result): string {
  const head = [
    'guests',
    'number',
    'requests/s',
    'MB/s',
    'p50 µs',
    'p99 µs',
    'p99.9 µs',
    'kicks/request',
    'calls/request',
  ];
  const rows = classes.map((one) => [
    one.name,
    String(one.guests),
    Math.round(one.perSecond).toLocaleString('en'),
    Math.round(one.bytesPerSecond / 1e6).toLocaleString('en'),
    ...[one.p50Ns, one.p99Ns, one.p999Ns].map(us),
    one.kicksPerRequest.toFixed(3),
    one.callsPerRequest.toFixed(3),
  ]);
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  return [
    ...columns([head, ...rows]),
    '',
    `cores: ${cores.length}; busy ${percent(mean(cores.map(({ busy }) => busy)))}, polling in vain ${percent(mean(cores.map(({ empty }) => empty)))}, asleep ${percent(mean(cores.map(({ asleep }) => asleep)))}`,
    `guests' threads: ${loadBusy.length}; busy ${percent(mean(loadBusy))}`,
    `${(1000 * seconds).toFixed(0)} ms simulated, ${events.toLocaleString('en')} events, trace ${trace}, seed ${seed}`,
    '',
  ].join('\n');
}

/** Rows with columns of the same width: the first to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}
