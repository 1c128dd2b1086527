import type { Package } from './net-packages.js';
import { type NetContext, type OurSide, openVSwitchSide, ourSide, type PlannedRows, testpmdSide } from './net-sides.js';
import { type FrontEndPlan, frontEndWindow, GUEST_MACS, type NetSide, type NetWindow, SINK_MAC } from './net-window.js';
import { type Goal, type Row, row } from './report.js';

/** Bytes of frames, as testpmd counts them: without the checksum. */
const SIZES = [64, 256, 1518] as const;
const atLeast = (value: number): Goal => ({ sense: 'at least', value });

/** Rows for each size of frame: what is measured, against whom, and what our side is asked when it is done. */
interface Comparison {
  readonly name: string;
  readonly needs: readonly Package[];
  readonly plan: FrontEndPlan;
  readonly ours: () => Promise<OurSide>;
  readonly peer: () => Promise<NetSide>;
  readonly goal: Goal | null;
  readonly note?: (ours: OurSide) => Promise<string>;
}

/** Guests at native speed, on our back end and on others in turn. */
export function againstRows(context: NetContext): PlannedRows[] {
  const comparisons = [
    guestSends,
    guestReceives,
    (context: NetContext, bytes: number) => twoGuests(context, bytes, 'Open vSwitch'),
    (context: NetContext, bytes: number) => twoGuests(context, bytes, 'testpmd'),
  ];
  return comparisons.flatMap((compare) =>
    SIZES.map((bytes) => {
      const comparison = compare(context, bytes);
      return { ...comparison, quick: bytes === SIZES[0], run: () => run(context, comparison) };
    }),
  );
}

/** The frames end in private memory on both sides. */
function guestSends(context: NetContext, frameBytes: number): Comparison {
  return {
    name: `guest sends, ${frameBytes} B: against DPDK vhost`,
    needs: ['dpdk-dev'],
    plan: { frameBytes, mode: 'txonly', rate: ([port]) => port!.txPps },
    ours: () => ourSide(context, ['a'], { sink: { type: 'generator', mac: SINK_MAC, send: false } }),
    peer: () => testpmdSide(context, 1, ['set fwd rxonly']),
    goal: atLeast(frameBytes === 64 ? 0.8 : 1),
  };
}

function guestReceives(context: NetContext, frameBytes: number): Comparison {
  const [mac] = GUEST_MACS;
  const source = { type: 'generator', frame_bytes: frameBytes, send: true, destination: mac };
  return {
    name: `guest receives, ${frameBytes} B: against DPDK vhost`,
    needs: ['dpdk-dev'],
    plan: { frameBytes, mode: 'rxonly', rate: ([port]) => port!.rxPps },
    ours: () => ourSide(context, ['a'], { source }),
    peer: () => testpmdSide(context, 1, [`set eth-peer 0 ${mac}`, 'set fwd txonly', `set txpkts ${frameBytes}`]),
    goal: atLeast(1),
  };
}

/**
 * Frames go round between two guests, 128 each way: what reaches the second leaves the first again as it is. So they always are
 * frames from one guest to the other, whose addresses both switches have learned.
 */
function twoGuests(context: NetContext, frameBytes: number, peer: 'Open vSwitch' | 'testpmd'): Comparison {
  const learns = peer === 'Open vSwitch';
  return {
    name: `two guests, ${frameBytes} B: against ${learns ? 'Open vSwitch (NORMAL)' : 'testpmd (no switch)'}`,
    needs: learns ? ['dpdk-dev', 'openvswitch-switch-dpdk'] : ['dpdk-dev'],
    plan: { frameBytes, mode: 'io', rate: (ports) => ports.reduce((sum, port) => sum + port.rxPps, 0) },
    ours: () => ourSide(context, ['a', 'b'], { witness: { type: 'generator', send: false } }),
    peer: () => (learns ? openVSwitchSide(context) : testpmdSide(context, 2, ['set fwd io'])),
    goal: learns ? atLeast(1) : null,
    note: async ({ process }) => {
      process.resume();
      // A third port gets a copy of whatever is flooded.
      const { networks } = await process.status();
      return `${networks['lan']!['witness']!.frames_out} frames flooded`;
    },
  };
}

async function run({ ground, timing, pairs }: NetContext, comparison: Comparison): Promise<Row[]> {
  const { name, plan, goal, note } = comparison;
  const sides: NetSide[] = [];
  try {
    const ours = await comparison.ours();
    sides.push(ours);
    const peer = await comparison.peer();
    sides.push(peer);
    const measure = (side: NetSide) => () => frontEndWindow(ground, side, plan, timing);
    // One that does not count: V8 compiles the way of these frames while they pass.
    await measure(ours)();
    const { a, b } = await ground.inTurn(name, measure(ours), measure(peer), pairs);
    const notes = [featuresOf(a, b)];
    if (note !== undefined) notes.push(await note(ours));
    return [row(name, 'frames/s', rates(a), rates(b), goal, notes.join('; '))];
  } finally {
    for (const { process } of sides) await process.stop();
  }
}

const rates = (windows: readonly NetWindow[]): number[] => windows.map(({ rate }) => rate);

/** What was negotiated: a comparison of unlike features is to be seen as one. */
export function featuresOf(ours: readonly { features: bigint }[], peers: readonly { features: bigint }[]): string {
  const [our, peer] = [ours, peers].map((windows) =>
    [...new Set(windows.map(({ features }) => `0x${features.toString(16)}`))].join(' and '),
  );
  return our === peer ? `features ${our} on both` : `**unlike features** ${our}, peer ${peer}`;
}
