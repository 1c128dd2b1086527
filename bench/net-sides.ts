import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OurDaemon } from './back-ends.js';
import type { BenchGround } from './ground.js';
import type { Package } from './net-packages.js';
import { GUEST_MACS, type NetSide, type NetTiming } from './net-window.js';
import { OpenVSwitch } from './open-vswitch.js';
import type { Row } from './report.js';
import { Testpmd, vhost } from './testpmd.js';

/** What the rows of the network benchmark are made with. */
export interface NetContext {
  readonly ground: BenchGround;
  /** Node that runs the daemon. */
  readonly node: string;
  readonly timing: NetTiming;
  readonly pairs: number;
}

/** Rows that are measured together. */
export interface PlannedRows {
  readonly name: string;
  /** Measured in a quick run too. */
  readonly quick: boolean;
  readonly needs: readonly Package[];
  run(): Promise<Row[]>;
}

/** Our back end. */
export interface OurSide extends NetSide {
  readonly process: OurDaemon;
}

/** Our daemon, standing still, with cards of one network and other ports of it. */
export async function ourSide(
  { ground, node }: NetContext,
  cards: readonly string[],
  ports: Record<string, object>,
): Promise<OurSide> {
  const nics = Object.fromEntries(cards.map((card, i) => [card, { network: 'lan', mac: GUEST_MACS[i] }]));
  const config = {
    cores: [ground.serverCpu],
    log: 'warn',
    networks: { lan: { ports } },
    // DPDK's guests cannot have their memory sealed.
    vms: { bench: { unsealed_memory: 'allow', nics } },
  };
  const process = ground.keep(new OurDaemon(node, join(ground.folder(tmpdir()), 'run'), config));
  const sockets = cards.map((card) => process.socket(card));
  await process.ready(sockets);
  process.pause();
  return { process, sockets };
}

/** DPDK's vhost-user back end, standing still, which does with frames what testpmd is told. */
export async function testpmdSide(
  { ground }: NetContext,
  cards: number,
  commands: readonly string[],
): Promise<NetSide> {
  const folder = ground.folder(tmpdir());
  const sockets = Array.from({ length: cards }, (_, i) => join(folder, `${i}.sock`));
  const process = ground.keep(
    new Testpmd(
      'back-end',
      ground.serverCpu,
      sockets.map((socket, i) => vhost(i, socket)),
      folder,
    ),
  );
  await process.prompt();
  for (const command of [...commands, 'start']) await process.command(command);
  process.pause();
  return { process, sockets };
}

/** Open vSwitch, standing still, with two ports. */
export async function openVSwitchSide({ ground }: NetContext): Promise<NetSide> {
  const folder = ground.folder(tmpdir());
  const process = await OpenVSwitch.start(folder, ground.serverCpu, ground.clientCpu, 2, ground.keep);
  process.pause();
  return { process, sockets: [0, 1].map((port) => process.socket(port)), cardOptions: ',server=1' };
}
