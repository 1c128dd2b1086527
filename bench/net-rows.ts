import { join } from 'node:path';
import { OurDaemon } from './back-ends.js';
import type { BenchGround } from './ground.js';
import type { Package } from './net-packages.js';
import {
  type FrontEndPlan,
  frontEndWindow,
  GUEST_MACS,
  type NetSide,
  type NetTiming,
  type NetWindow,
  SINK_MAC,
} from './net-window.js';
import { OpenVSwitch } from './open-vswitch.js';
import { type Goal, type Row, row } from './report.js';
import { Testpmd, vhost } from './testpmd.js';

/** What the rows of the network benchmark are made with. */
export interface NetContext {
  readonly ground: BenchGround;
  /** For sockets and configurations. */
  readonly folder: string;
  /** Node that runs the daemon. */
  readonly node: string;
  readonly timing: NetTiming;
  readonly pairs: number;
  readonly progress: (line: string) => void;
}

/** Rows that are measured together. */
export interface PlannedRows {
  readonly name: string;
  /** Measured in a quick run too. */
  readonly quick: boolean;
  readonly needs: readonly Package[];
  run(): Promise<Row[]>;
}

/** Bytes of frames, as testpmd counts them: without the checksum. */
const SIZES = [64, 256, 1518] as const;
const atLeast = (value: number): Goal => ({ sense: 'at least', value });

/** Guests at native speed, on our back end and on others in turn. */
export function againstRows(context: NetContext): PlannedRows[] {
  return [...SIZES.map((bytes) => guestSends(context, bytes)), ...SIZES.map((bytes) => guestReceives(context, bytes))].concat(
    SIZES.map((bytes) => twoGuests(context, bytes, 'Open vSwitch')),
    SIZES.map((bytes) => twoGuests(context, bytes, 'testpmd patch')),
  );
}

function guestSends(context: NetContext, frameBytes: number): PlannedRows {
  const name = `guest sends, ${frameBytes} B: against DPDK vhost`;
  const plan: FrontEndPlan = { frameBytes, mode: 'txonly', rate: ([port]) => port!.txPps };
  const ours = () =>
    ourSide(context, 'sends', ['a'], { sink: { type: 'generator', mac: SINK_MAC, send: false } });
  const peer = () => testpmdSide(context, 'takes', 1, ['set fwd rxonly']);
  return against(context, name, ['dpdk-dev'], plan, ours, peer, atLeast(frameBytes === 64 ? 0.8 : 1), frameBytes === 64);
}

function guestReceives(context: NetContext, frameBytes: number): PlannedRows {
  const name = `guest receives, ${frameBytes} B: against DPDK vhost`;
  const plan: FrontEndPlan = { frameBytes, mode: 'rxonly', rate: ([port]) => port!.rxPps };
  const source = { type: 'generator', frame_bytes: frameBytes, send: true, destination: GUEST_MACS[0] };
  const ours = () => ourSide(context, `source${frameBytes}`, ['a'], { source });
  const commands = [`set eth-peer 0 ${GUEST_MACS[0]}`, 'set fwd txonly', `set txpkts ${frameBytes}`];
  const peer = () => testpmdSide(context, 'sends', 1, commands);
  return against(context, name, ['dpdk-dev'], plan, ours, peer, atLeast(1), frameBytes === 64);
}

/**
 * Frames go round between two guests, 128 each way: what reaches the second leaves the first again as it is. So their addresses
 * are always those of a frame from one guest to the other, which both switches know.
 */
function twoGuests(context: NetContext, frameBytes: number, other: 'Open vSwitch' | 'testpmd patch'): PlannedRows {
  const learning = other === 'Open vSwitch';
  const name = `two guests through the switch, ${frameBytes} B: against ${other}${learning ? ' (NORMAL)' : ' (no switch)'}`;
  const rate: FrontEndPlan['rate'] = (ports) => ports.reduce((sum, port) => sum + port.rxPps, 0);
  const plan: FrontEndPlan = { frameBytes, mode: 'io', rate };
  // A port that would get whatever is flooded.
  const ours = () => ourSide(context, 'pair', ['a', 'b'], { witness: { type: 'generator', send: false } });
  const peer = () => (learning ? openVSwitchSide(context) : testpmdSide(context, 'patch', 2, ['set fwd io']));
  const needs: Package[] = learning ? ['dpdk-dev', 'openvswitch-switch-dpdk'] : ['dpdk-dev'];
  return against(context, name, needs, plan, ours, peer, learning ? atLeast(1) : null, frameBytes === 64);
}

function against(
  context: NetContext,
  name: string,
  needs: readonly Package[],
  plan: FrontEndPlan,
  startOurs: () => Promise<NetSide>,
  startPeer: () => Promise<NetSide>,
  goal: Goal | null,
  quick: boolean,
): PlannedRows {
  const { ground, folder, timing, pairs } = context;
  const run = async () => {
    const ours = await startOurs();
    const peer = await startPeer();
    const measure = (side: NetSide) => () => frontEndWindow(ground, folder, side, plan, timing);
    const { a, b } = await ground.inTurn(name, measure(ours), measure(peer), pairs);
    for (const { process } of [ours, peer]) await process.stop();
    const note = `features ${masks(a)}; peer ${masks(b)}`;
    return [row(name, 'frames/s', rates(a), rates(b), goal, note)];
  };
  return { name, quick, needs, run };
}

const rates = (windows: readonly NetWindow[]): number[] => windows.map(({ rate }) => rate);
const masks = (windows: readonly NetWindow[]): string =>
  [...new Set(windows.map(({ features }) => `0x${features.toString(16)}`))].join(', ');

/** Our daemon, standing still, with cards of one network and other ports of it. */
async function ourSide(
  { ground, folder, node }: NetContext,
  name: string,
  cards: readonly string[],
  ports: Record<string, object>,
): Promise<NetSide> {
  const nics = Object.fromEntries(cards.map((card, i) => [card, { network: 'lan', mac: GUEST_MACS[i] }]));
  const config = {
    cores: [ground.serverCpu],
    log: 'warn',
    networks: { lan: { ports } },
    // The guests' memory is a memfd that DPDK makes unsealable.
    vms: { bench: { unsealed_memory: 'allow', nics } },
  };
  const process = ground.keep(new OurDaemon(node, join(folder, name), config));
  const sockets = cards.map((card) => process.socket(card));
  await process.ready(sockets);
  process.pause();
  return { process, sockets };
}

/** DPDK's vhost-user back end, standing still, which does with frames what testpmd's mode says. */
export async function testpmdSide(
  { ground, folder }: NetContext,
  name: string,
  cards: number,
  commands: readonly string[],
): Promise<NetSide> {
  const sockets = Array.from({ length: cards }, (_, i) => join(folder, `${name}${i}.sock`));
  const process = ground.keep(new Testpmd(name, ground.serverCpu, sockets.map((socket, i) => vhost(i, socket)), folder));
  await process.prompt();
  for (const command of [...commands, 'start']) await process.command(command);
  process.pause();
  return { process, sockets };
}

async function openVSwitchSide({ ground }: NetContext): Promise<NetSide> {
  const folder = ground.folder('/tmp');
  const process = await OpenVSwitch.start(folder, ground.serverCpu, ground.clientCpu, 2, ground.keep);
  process.pause();
  return { process, sockets: [0, 1].map((port) => process.socket(port)), cardOptions: ',server=1' };
}
