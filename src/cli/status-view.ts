import type { DaemonStatus } from '../daemon/daemon.js';
import { type Column, sizeText, table } from './table.js';

/** What the daemon said, and when, seconds of any clock. */
export interface StatusSample {
  readonly status: DaemonStatus;
  readonly at: number;
}

type CoreStatus = DaemonStatus['cores'][number];
type DiskStatus = DaemonStatus['vms'][string][string];
type NicStatus = DaemonStatus['nics'][string][string];
type PortStatus = DaemonStatus['networks'][string][string];
type QueueStatus = DiskStatus['queues'][number];

/**
 * Lays a status out for people, in lines of at most `width` characters. With an earlier sample, shares and counts are of the
 * time between the two, and counts are per second; without, of all the time since the daemon's start.
 */
export function renderStatus(now: StatusSample, before: StatusSample | undefined, width: number): string {
  const { status } = now;
  const { version, pid, mode, uptime_s, cores, vms } = status;
  const seconds = before === undefined ? uptime_s : now.at - before.at;
  const disks = Object.entries(vms).flatMap(([vm, disks]) =>
    Object.entries(disks).map(([name, disk]) => ({ label: `${vm}/${name}`, vm, name, disk })),
  );
  const coreRows = cores.map((core) => coreRow(core, before?.status.cores[core.index], seconds, mode));
  const queueRows = disks.flatMap(({ label, vm, name, disk }) => {
    const earlier = before?.status.vms[vm]?.[name];
    const same = earlier?.sessions === disk.sessions ? earlier.queues : [];
    return disk.queues.map((queue, index) => queueRow(label, queue, before && { queue: same[index], seconds }));
  });
  const parts = [
    `sidecore ${version}, process ${pid}, up ${durationText(uptime_s)}${before === undefined ? '' : `; rates over ${seconds.toFixed(1)} s`}\n`,
    table(CORE_COLUMNS, coreRows, width),
    disks.length === 0
      ? 'no disks\n'
      : table(
          DISK_COLUMNS,
          disks.map(({ label, disk }) => diskRow(label, disk)),
          width,
        ),
  ];
  const nics = Object.entries(status.nics).flatMap(([vm, cards]) =>
    Object.entries(cards).map(([name, nic]) => nicRow(`${vm}/${name}`, nic)),
  );
  if (nics.length > 0) parts.push(table(NIC_COLUMNS, nics, width));
  const ports = Object.entries(status.networks).flatMap(([network, named]) =>
    Object.entries(named).map(([name, port]) => portRow(network, name, port)),
  );
  if (ports.length > 0) parts.push(table(PORT_COLUMNS, ports, width));
  if (queueRows.length > 0)
    parts.push(table(before === undefined ? QUEUE_COLUMNS : QUEUE_RATE_COLUMNS, queueRows, width));
  return parts.join('\n');
}

const right = (head: string, spare = 0): Column => ({ head, right: true, spare });

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
    String(disk.core),
    disk.connected ? 'connected' : 'none',
    phases(disk.queues),
    disk.last_fault === null ? String(faults) : `${faults}, last ${disk.last_fault.code} at ${disk.last_fault.at}`,
  ];
}

const NIC_COLUMNS: readonly Column[] = [
  { head: 'NETWORK CARD' },
  { head: 'NETWORK', spare: 1 },
  { head: 'MAC', spare: 2 },
  { head: 'FRONT END' },
  { head: 'PHASE' },
  right('FRAMES IN'),
  right('FRAMES OUT'),
  right('DROPPED'),
];

/** Counts since the daemon's start: what came from the card, what went to it, and what was meant for it or sent by it and dropped. */
function nicRow(label: string, nic: NicStatus): string[] {
  return [
    label,
    nic.network,
    nic.mac,
    nic.connected ? (nic.link_up ? 'connected' : 'link down') : 'none',
    phases(nic.queues),
    String(nic.frames_in),
    String(nic.frames_out),
    String(dropped(nic)),
  ];
}

/** All that was dropped, for whatever reason. */
function dropped(port: PortStatus | NicStatus): number {
  return Object.entries(port).reduce((sum, [key, count]) => sum + (key.startsWith('dropped_') ? Number(count) : 0), 0);
}

const PORT_COLUMNS: readonly Column[] = [
  { head: 'NETWORK' },
  { head: 'PORT' },
  { head: 'TYPE' },
  right('CORE'),
  right('FRAMES IN'),
  right('FRAMES OUT'),
  right('DROPPED'),
];

/** Counts as of a card. */
function portRow(network: string, name: string, port: PortStatus): string[] {
  const { type, device, core, frames_in, frames_out } = port;
  const what = device === null ? type : `${type} ${device}`;
  return [network, name, what, String(core), String(frames_in), String(frames_out), String(dropped(port))];
}

/** The phase that all queues are in, or how many are in which. */
function phases(queues: readonly QueueStatus[]): string {
  const counts = new Map<string, number>();
  for (const { phase = '?' } of queues) counts.set(phase, (counts.get(phase) ?? 0) + 1);
  if (counts.size === 0) return '-';
  if (counts.size === 1) return [...counts.keys()][0]!;
  return [...counts].map(([phase, count]) => `${count} ${phase}`).join(', ');
}

function queueColumns(per: string): readonly Column[] {
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

const QUEUE_COLUMNS = queueColumns('');
const QUEUE_RATE_COLUMNS = queueColumns('/s');

/** @param since - what the rates are of; its queue is missing if the front end was not yet there */
function queueRow(
  label: string,
  queue: QueueStatus,
  since: { queue: QueueStatus | undefined; seconds: number } | undefined,
): string[] {
  type Count = 'requests' | 'bytes_read' | 'bytes_written' | 'errors' | 'kicks' | 'calls';
  const grown = (count: Count) => Math.max(0, queue[count] - (since?.queue?.[count] ?? 0));
  const number = (value: number) => (since === undefined ? String(value) : rateText(value / since.seconds));
  const megabytes = (bytes: number) => (bytes / 1e6 / (since?.seconds ?? 1)).toFixed(1);
  const requests = grown('requests');
  const perRequest = (count: number) => (requests === 0 ? '-' : (count / requests).toFixed(3));
  return [
    `${label} ${queue.index}`,
    number(requests),
    megabytes(grown('bytes_read')),
    megabytes(grown('bytes_written')),
    number(grown('errors')),
    number(grown('kicks')),
    number(grown('calls')),
    perRequest(grown('kicks')),
    perRequest(grown('calls')),
    queue.fault ?? '',
  ];
}

/** Small rates have a decimal: one request in ten seconds is not none. */
function rateText(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

function durationText(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}
