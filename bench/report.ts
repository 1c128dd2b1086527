import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { version } from '../src/daemon/version.js';

/** One result, the same for every benchmark of the project. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  /** What it is held against; null where it is held against its goal alone. */
  readonly peer: number | null;
  readonly ratio_median: number | null;
  readonly ratio_min: number | null;
  readonly ratio_max: number | null;
  /** The condition that `ratio_median` (or `ours`, without a peer) has to meet; null for figures that are reported only. */
  readonly goal: string | null;
  readonly holds: boolean | null;
  readonly note?: string;
}

export interface Report {
  readonly experiment: string;
  readonly date: string;
  readonly machine: Record<string, string | number>;
  readonly versions: Record<string, string>;
  /** Round trip of a cache line between the two CPUs over the run, ns. */
  readonly probe: { readonly median: number; readonly min: number; readonly max: number };
  readonly rows: Row[];
}

export function machine(): Report['machine'] {
  const all = cpus();
  return {
    cpu: all[0]?.model ?? 'unknown',
    cpus: all.length,
    kernel: release(),
    memory_gib: Math.round(totalmem() / 2 ** 30),
  };
}

/** Versions of everything that was measured. */
export function versions(daemonNode: string): Report['versions'] {
  const ask = (command: string, ...args: string[]) => {
    try {
      return execFileSync(command, args, { encoding: 'utf8' }).split('\n')[0]!.trim();
    } catch {
      return 'not installed';
    }
  };
  return {
    sidecore: version,
    node_daemon: ask(daemonNode, '--version'),
    node_client: process.version,
    qemu_storage_daemon: ask('qemu-storage-daemon', '--version'),
    dpdk: ask('dpkg-query', '--show', 'dpdk-dev').replace('\t', ' '),
    open_vswitch: ask('ovs-vsctl', '--version'),
  };
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
};

const DISTURBED = 'disturbed throughout, counts for nothing';

/** "at least 1.5", "at most 0.5". */
export interface Goal {
  readonly sense: 'at least' | 'at most';
  readonly value: number;
}

export function row(
  name: string,
  unit: string,
  ours: readonly number[],
  peer: readonly number[] | null,
  goal: Goal | null,
  note?: string,
): Row {
  const ratios = peer === null ? [] : ours.map((value, index) => value / peer[index]!);
  const judged = peer === null ? median(ours) : median(ratios);
  return {
    name,
    unit,
    ours: median(ours),
    peer: peer === null ? null : median(peer),
    ratio_median: peer === null ? null : median(ratios),
    ratio_min: peer === null ? null : Math.min(...ratios),
    ratio_max: peer === null ? null : Math.max(...ratios),
    goal: goal === null ? null : `${goal.sense} ${goal.value}`,
    holds: goal === null ? null : goal.sense === 'at least' ? judged >= goal.value : judged <= goal.value,
    ...(note === undefined ? {} : { note }),
  };
}

/** The same without a verdict: something else on the machine took from every window. */
export function undecided(one: Row): Row {
  const note = one.note === undefined ? DISTURBED : `${DISTURBED}; ${one.note}`;
  return { ...one, holds: null, note };
}

export function writeJson(result: object, file: string): void {
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
}

/** The report as Markdown: machine, versions and placement, then all rows. */
export function printReport({ machine, versions, probe, date, rows }: Report, peers: string): void {
  process.stdout.write(
    `${date.slice(0, 10)}, ${machine['cpus']} × ${machine['cpu']}, Linux ${machine['kernel']}; daemon on Node ${versions['node_daemon']}, client on Node ${versions['node_client']}; ${peers}; cache line round trip ${Math.round(probe.median)} ns (${Math.round(probe.min)} to ${Math.round(probe.max)})\n\n`,
  );
  process.stdout.write(`${[TABLE_HEAD, ...rows.map(tableLine)].join('\n')}\n`);
}

const figure = (value: number | null): string => {
  if (value === null) return '';
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value === 0 ? '0' : value.toPrecision(3);
};

/** One result as a line of a Markdown table. */
export function tableLine(one: Row): string {
  const ratio =
    one.ratio_median === null
      ? ''
      : `${figure(one.ratio_median)} (${figure(one.ratio_min)} to ${figure(one.ratio_max)})`;
  const holds = one.holds === null ? '' : one.holds ? 'yes' : '**no**';
  return `| ${one.name} | ${one.unit} | ${figure(one.ours)} | ${figure(one.peer)} | ${ratio} | ${one.goal ?? ''} | ${holds} | ${one.note ?? ''} |`;
}

const TABLE_HEAD = [
  '| what | unit | ours | peer | ratio: median (spread) | goal | holds | note |',
  '| --- | --- | --- | --- | --- | --- | --- | --- |',
].join('\n');
