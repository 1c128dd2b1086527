import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { nowNs } from '../src/host/clock.js';
import type { BackEndProcess } from './back-ends.js';
import { CPU_SHARE_MIN, type Measured } from './duel.js';
import type { BenchGround } from './ground.js';
import { Testpmd, virtioUser } from './testpmd.js';
import type { PortStats } from './testpmd-output.js';

/** What the guests of a row do. */
export interface FrontEndPlan {
  /** Bytes of each frame as they are in the ring: without the four of a checksum. */
  readonly frameBytes: number;
  /** testpmd's forwarding mode. */
  readonly mode: 'txonly' | 'rxonly' | 'io';
  /** What is counted. */
  readonly rate: (ports: readonly PortStats[]) => number;
}

/** One side of a comparison: a back end, and where its guests connect. */
export interface NetSide {
  readonly process: BackEndProcess;
  readonly sockets: readonly string[];
  /** Of its cards beyond what all have: `server=1` where the back end connects. */
  readonly cardOptions?: string;
}

export interface NetWindow extends Measured {
  /** Frames a second. */
  readonly rate: number;
  /** Features that the cards have negotiated, all the same. */
  readonly features: bigint;
}

export interface NetTiming {
  readonly warmUpMs: number;
  readonly windowMs: number;
}

/** Addresses of the guests' cards, on every side. */
export const GUEST_MACS = ['52:54:00:00:00:0a', '52:54:00:00:00:0b', '52:54:00:00:00:0c', '52:54:00:00:00:0d'] as const;
/** Of whom a single guest sends to. */
export const SINK_MAC = '52:54:00:00:00:0e';

/** Wakes a back end, connects a testpmd to it as its guests, counts for a while, and leaves. */
export async function frontEndWindow(
  ground: BenchGround,
  side: NetSide,
  plan: FrontEndPlan,
  { warmUpMs, windowMs }: NetTiming,
): Promise<NetWindow> {
  const { process, sockets, cardOptions = '' } = side;
  process.resume();
  const cards = sockets.map((socket, i) => virtioUser(i, socket, GUEST_MACS[i]!, cardOptions));
  const guest = ground.keep(new Testpmd('guest', ground.clientCpu, cards, ground.folder(tmpdir())));
  try {
    await guest.prompt();
    for (const [port] of sockets.entries())
      await guest.command(`set eth-peer ${port} ${sockets.length === 1 ? SINK_MAC : GUEST_MACS[1 - port]}`);
    await guest.command(`set fwd ${plan.mode}`);
    await guest.command(`set txpkts ${plan.frameBytes}`);
    await guest.command(plan.mode === 'io' ? 'start tx_first 4' : 'start');
    await sleep(warmUpMs);
    await guest.stats();
    const shares = sharesOf([guest, process]);
    await sleep(windowMs);
    const hadTheirCpus = shares().every((share) => share >= CPU_SHARE_MIN);
    const rate = plan.rate(await guest.stats());
    const features = new Set(guest.features);
    if (features.size !== 1) throw new Error(`cards with different features: ${[...features].join(', ')}`);
    await guest.command('stop');
    return { rate, undisturbed: hadTheirCpus && rate > 0, features: [...features][0]! };
  } finally {
    await guest.quit();
    // The connection that ends is to be noticed before the back end stands still.
    await sleep(50);
    process.pause();
  }
}

/** Begins to measure the share of its CPU that each process's busiest thread has: the one that polls. Returns what ends it. */
export function sharesOf(processes: readonly BackEndProcess[]): () => number[] {
  const start = nowNs();
  const before = processes.map((process) => process.threadsNs());
  return () => processes.map((process, i) => busiest(before[i]!, process.threadsNs()) / (nowNs() - start));
}

/** CPU time of the thread that had most of it, ns. */
function busiest(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return Math.max(...[...after].map(([thread, ns]) => ns - (before.get(thread) ?? 0)));
}
