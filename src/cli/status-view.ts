import type { DaemonStatus } from '../daemon/daemon.js';
import { phases } from './phases.js';
import { Counts } from './rates.js';
import { networkTables } from './status-networks.js';
import { type Column, rightColumn as right, sizeText, table } from './table.js';

/** What the daemon said, and when, seconds of any clock. */
export interface StatusSample {
  readonly status: DaemonStatus;
  readonly at: number;
}

type CoreStatus = DaemonStatus['cores'][number];
type DiskStatus = DaemonStatus['vms'][string][string];
type QueueStatus = DiskStatus['queues'][number];

/**
 * Lays a status out for people, in lines of at most `width` characters. With an earlier sample, shares and counts are of the
 * time between the two, and counts are per second; without, of all the time since the daemon's start.
 */
export function renderStatus(now: StatusSample, before: StatusSample | undefined, width: number): string {
  const { status } = now;
  const { version, pid, mode, scheduler, uptime_s, cores, vms } = status;
  const seconds = before === undefined ? uptime_s : now.at - before.at;
  const disks = Object.entries(vms).flatMap(([vm, disks]) =>
    Object.entries(disks).map(([name, disk]) => ({ label: `${vm}/${name}`, disk })),
  );
  const counts = new Counts(before === undefined ? undefined : seconds);
  const coreRows = cores.map((core) => coreRow(core, before?.status.cores[core.index], seconds, modeText(core, mode)));
  const rowsOf = (kind: Queues, earlier: Queues | undefined) =>
    Object.entries(kind).flatMap(([vm, devices]) =>
      Object.entries(devices).flatMap(([name, device]) =>
        queueRowsOf(`${vm}/${name}`, device, earlier?.[vm]?.[name], counts),
      ),
    );
  const queueRows = [...rowsOf(vms, before?.status.vms), ...rowsOf(status.nics, before?.status.nics)];
  const parts = [
    `sidecore ${version}, process ${pid}, policy ${scheduler.policy}, up ${durationText(uptime_s)}${before === undefined ? '' : `; rates over ${seconds.toFixed(1)} s`}\n`,
    table(CORE_COLUMNS, coreRows, width),
  ];
  const diskRows = disks.map(({ label, disk }) => diskRow(label, disk));
  if (diskRows.length > 0) parts.push(table(DISK_COLUMNS, diskRows, width));
  parts.push(...networkTables(status, before?.status, seconds, width));
  if (parts.length === 2) parts.push('neither disks nor network cards\n');
  if (queueRows.length > 0) parts.push(table(queueColumns(counts), queueRows, width));
  const failed = [...failedOf(vms), ...failedOf(status.nics)].join('');
  if (failed !== '') parts.push(failed);
  const weights = Object.entries(status.weights).filter(([, weight]) => weight !== 1);
  if (weights.length > 0) parts.push(`weights: ${weights.map(([vm, weight]) => `${vm} ${weight}`).join(', ')}\n`);
  const changed = [...changedOf(vms), ...changedOf(status.nics)].join(', ');
  if (changed !== '') parts.push(`filters changed since the start, not as configured: ${changed}\n`);
  return parts.join('\n');
}

type Filters = readonly Pick<DiskStatus['filters'][number], 'name' | 'in_service' | 'last_fault'>[];

/** A line for each filter that is out of service. */
function failedOf(kind: Record<string, Record<string, { filters: Filters }>>): string[] {
  return Object.entries(kind).flatMap(([vm, devices]) =>
    Object.entries(devices).flatMap(([device, { filters }]) =>
      filters
        .filter(({ in_service }) => !in_service)
        .map(({ name, last_fault }) => `filter ${name} of ${vm}/${device} failed: ${last_fault ?? 'not known why'}\n`),
    ),
  );
}

/** Devices whose filters are others than the configuration names. */
function changedOf(kind: Record<string, Record<string, { filters_changed: boolean }>>): string[] {
  return Object.entries(kind).flatMap(([vm, devices]) =>
    Object.entries(devices).flatMap(([name, { filters_changed }]) => (filters_changed ? [`${vm}/${name}`] : [])),
  );
}

const CORE_COLUMNS: readonly Column[] = [
  right('CORE'),
  right('CPU'),
  { head: 'MODE', spare: 2 },
  right('BUSY'),
  right('EMPTY'),
  right('ASLEEP'),
  right('POLLED'),
  right('WATCHED'),
  right('DEATHS', 1),
];

function coreRow(core: CoreStatus, before: CoreStatus | undefined, seconds: number, mode: string): string[] {
  const busyNs = core.busy_ns - (before?.busy_ns ?? 0);
  const emptyNs = core.empty_ns - (before?.empty_ns ?? 0);
  // A core counts a sleep when it wakes: what is not accounted for is the sleep that it is in.
  const slept = core.sleeps > (before?.sleeps ?? 0) || core.queues_polled === 0;
  const asleepNs = slept ? Math.max(0, seconds * 1e9 - busyNs - emptyNs) : 0;
  const sum = busyNs + emptyNs + asleepNs;
  const share = (ns: number) => (sum > 0 ? `${Math.round((100 * ns) / sum)}%` : '-');
  return [
    String(core.index),
    core.cpus.join(','),
    mode,
    share(busyNs),
    share(emptyNs),
    share(asleepNs),
    String(core.queues_polled),
    String(core.queues_watched),
    String(core.deaths),
  ];
}

/** What a core does: it may not answer, be there for one device, be the one for when no other is in use, or not be in use itself. */
function modeText({ stalled, in_use, shared, quarantined }: CoreStatus, mode: string): string {
  if (stalled) return 'stalled';
  if (quarantined !== null) return `quarantine of ${quarantined}`;
  if (!in_use) return 'parked';
  return shared ? 'shared' : mode;
}

const DISK_COLUMNS: readonly Column[] = [
  { head: 'DISK' },
  { head: 'BACK END', spare: 2 },
  { ...right('SIZE'), spare: 1 },
  right('CORE', 3),
  { head: 'FRONT END' },
  { head: 'PHASE' },
  { head: 'FAULTS' },
];

function diskRow(label: string, disk: DiskStatus): string[] {
  const faults = Object.values(disk.faults).reduce((sum: number, count) => sum + (count ?? 0), 0);
  return [
    label,
    disk.backend,
    sizeText(disk.size_bytes),
    coresText(disk.queues),
    disk.connected ? 'connected' : 'none',
    phases(disk.queues),
    disk.last_fault === null ? String(faults) : `${faults}, last ${disk.last_fault.code} at ${disk.last_fault.at}`,
  ];
}

/** The cores that serve queues. */
function coresText(queues: readonly QueueStatus[]): string {
  const cores = [...new Set(queues.flatMap(({ core }) => core ?? []))].sort((a, b) => a - b);
  return cores.length === 0 ? '-' : cores.join(',');
}

function queueColumns({ per }: Counts): readonly Column[] {
  return [
    { head: 'QUEUE' },
    right(`REQUESTS${per}`),
    right(`MB READ${per}`),
    right(`MB WRITTEN${per}`),
    right(`ERRORS${per}`, 1),
    right(`KICKS${per}`, 3),
    right(`CALLS${per}`, 3),
    right('KICKS/REQ', 2),
    right('CALLS/REQ', 2),
    { head: 'FAULT' },
  ];
}

type Queued = Pick<DiskStatus, 'sessions' | 'queues'>;
type Queues = Record<string, Record<string, Queued>>;

/** Those that the front end has set up. What was counted for another front end is not this one's. */
function queueRowsOf(label: string, device: Queued, before: Queued | undefined, counts: Counts): string[][] {
  const same = before?.sessions === device.sessions ? before.queues : [];
  return device.queues.filter(({ size }) => size > 0).map((queue) => queueRow(label, queue, same[queue.index], counts));
}

/** @param before - missing if the front end was not yet there */
function queueRow(label: string, queue: QueueStatus, before: QueueStatus | undefined, counts: Counts): string[] {
  const grown = (count: 'requests' | 'kicks' | 'calls') => Math.max(0, queue[count] - (before?.[count] ?? 0));
  const requests = grown('requests');
  const perRequest = (count: number) => (requests === 0 ? '-' : (count / requests).toFixed(3));
  return [
    `${label} ${queue.index}`,
    counts.number(queue.requests, before?.requests),
    counts.megabytes(queue.bytes_read, before?.bytes_read),
    counts.megabytes(queue.bytes_written, before?.bytes_written),
    counts.number(queue.errors, before?.errors),
    counts.number(queue.kicks, before?.kicks),
    counts.number(queue.calls, before?.calls),
    perRequest(grown('kicks')),
    perRequest(grown('calls')),
    queue.fault ?? '',
  ];
}

function durationText(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}
