import type { DaemonStatus } from '../daemon/daemon.js';
import { phases } from './phases.js';
import { Counts } from './rates.js';
import { type Column, rightColumn, table } from './table.js';
import { vlanText } from './vlan-text.js';

type NicStatus = DaemonStatus['nics'][string][string];
type PortStatus = DaemonStatus['networks'][string][string];
type Networks = Pick<DaemonStatus, 'nics' | 'networks'>;

/**
 * Tables of the network cards and of the other ports of networks, those that have rows. Counts are since the daemon's start, or
 * per second if there was a look before.
 *
 * @param seconds - between the two
 */
export function networkTables(now: Networks, before: Networks | undefined, seconds: number, width: number): string[] {
  const counts = new Counts(before === undefined ? undefined : seconds);
  const rows = <Status>(
    all: Record<string, Record<string, Status>>,
    earlier: Record<string, Record<string, Status>> | undefined,
    row: (owner: string, name: string, status: Status, before: Status | undefined) => string[],
  ) =>
    Object.entries(all).flatMap(([owner, named]) =>
      Object.entries(named).map(([name, status]) => row(owner, name, status, earlier?.[owner]?.[name])),
    );
  const nics = rows(now.nics, before?.nics, (vm, name, nic, earlier) => [
    ...nicCells(`${vm}/${name}`, nic),
    ...trafficCells(nic, earlier, counts),
  ]);
  const ports = rows(now.networks, before?.networks, (network, name, port, earlier) => [
    ...portCells(network, name, port),
    ...trafficCells(port, earlier, counts),
  ]);
  const tables: string[] = [];
  if (nics.length > 0) tables.push(table([...NIC_COLUMNS, ...trafficColumns('GUEST', counts)], nics, width));
  if (ports.length > 0) tables.push(table([...PORT_COLUMNS, ...trafficColumns('PORT', counts)], ports, width));
  return tables;
}

const NIC_COLUMNS: readonly Column[] = [
  { head: 'NETWORK CARD' },
  { head: 'NETWORK', spare: 1 },
  { head: 'VLAN', spare: 1 },
  { head: 'MAC', spare: 2 },
  { head: 'LINK' },
  { head: 'FRONT END' },
  { head: 'PHASE' },
];

function nicCells(label: string, nic: NicStatus): string[] {
  const link = nic.link_up ? 'up' : 'down';
  return [
    label,
    nic.network,
    vlanText(nic),
    nic.mac,
    link,
    nic.connected ? 'connected' : 'none',
    phases(nic.queues.filter(({ phase }) => phase !== 'passive')),
  ];
}

const PORT_COLUMNS: readonly Column[] = [
  { head: 'NETWORK' },
  { head: 'PORT' },
  { head: 'TYPE' },
  { head: 'VLAN', spare: 1 },
  rightColumn('CORE', 2),
];

function portCells(network: string, name: string, port: PortStatus): string[] {
  const { type, device, core } = port;
  return [network, name, device === null ? type : `${type} ${device}`, vlanText(port), String(core)];
}

/** @param whom - who is behind the port */
function trafficColumns(whom: string, { per }: Counts): Column[] {
  return [
    rightColumn(`FROM ${whom}${per}`),
    rightColumn(`MB FROM${per}`, 3),
    rightColumn(`TO ${whom}${per}`),
    rightColumn(`MB TO${per}`, 3),
    rightColumn(`DROPPED${per}`),
  ];
}

/** Frames that came from it, and that went to it, as seen from the switch; and those that it sent or should have got and that were dropped. */
function trafficCells(
  now: PortStatus | NicStatus,
  before: PortStatus | NicStatus | undefined,
  counts: Counts,
): string[] {
  return [
    counts.number(now.frames_in, before?.frames_in),
    counts.megabytes(now.bytes_in, before?.bytes_in),
    counts.number(now.frames_out, before?.frames_out),
    counts.megabytes(now.bytes_out, before?.bytes_out),
    counts.number(dropped(now), before && dropped(before)),
  ];
}

/** All that was dropped, for whatever reason. */
function dropped(port: PortStatus | NicStatus): number {
  return Object.entries(port).reduce((sum, [key, count]) => sum + (key.startsWith('dropped_') ? Number(count) : 0), 0);
}
