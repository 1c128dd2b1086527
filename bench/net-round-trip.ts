import { setTimeout as sleep } from 'node:timers/promises';
import { SidecoreError } from '../src/errors.js';
import { Histogram } from '../src/filter/histogram.js';
import { NetDriver } from '../src/guest/net-driver.js';
import { nowNs, threadCpuNs } from '../src/host/clock.js';
import { NET_FEATURES, NET_HEADER_BYTES } from '../src/net/features.js';
import { CPU_SHARE_MIN, type Measured } from './duel.js';
import { writeFrames } from './net-load.js';
import { featuresOf } from './net-rows.js';
import { type NetContext, ourSide, type PlannedRows, testpmdSide } from './net-sides.js';
import { GUEST_MACS, type NetSide, sharesOf } from './net-window.js';
import { row } from './report.js';

const SIZES = [64, 1518] as const;
const WARM_UP_TRIPS = 20_000;
/** More than a back end is kept from its CPU on a busy machine. */
const ANSWER_MS_MAX = 10_000;
const READY_MS_MAX = 5000;
/** Looks between two at the clock. */
const LOOKS = 1_000_000;

interface TripWindow extends Measured {
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly features: bigint;
}

/** One frame in flight from one card of a guest to the other, both polled by one thread: how long it takes. */
export function roundTripRows(context: NetContext): PlannedRows[] {
  return SIZES.map((bytes) => ({
    name: `one frame in flight, ${bytes} B: against DPDK vhost`,
    quick: bytes === 64,
    needs: ['dpdk-dev'],
    run: () => measure(context, bytes),
  }));
}

async function measure(context: NetContext, frameBytes: number) {
  const { ground, timing, pairs } = context;
  const name = `one frame in flight, ${frameBytes} B`;
  const sides: NetSide[] = [];
  try {
    sides.push(await ourSide(context, ['a', 'b'], {}));
    sides.push(await testpmdSide(context, 2, ['set fwd io']));
    const [ours, peer] = sides.map((side) => () => trips(side, frameBytes, timing.windowMs));
    const { a, b } = await ground.inTurn(`${name}: against DPDK vhost`, ours!, peer!, pairs);
    const of = (windows: readonly TripWindow[], key: 'p50Ns' | 'p99Ns') => windows.map((one) => one[key]);
    return [
      row(`${name}: p50`, 'ns', of(a, 'p50Ns'), of(b, 'p50Ns'), { sense: 'at most', value: 1.5 }, featuresOf(a, b)),
      row(`${name}: p99`, 'ns', of(a, 'p99Ns'), of(b, 'p99Ns'), null),
    ];
  } finally {
    for (const { process } of sides) await process.stop();
  }
}

async function trips({ process, sockets }: NetSide, frameBytes: number, ms: number): Promise<TripWindow> {
  process.resume();
  const guests: NetDriver[] = [];
  try {
    for (const socket of sockets) guests.push(await NetDriver.connect({ socket, features: NET_FEATURES.MRG_RXBUF }));
    const [sender, receiver] = guests as [NetDriver, NetDriver];
    writeFrames(sender, GUEST_MACS[0], GUEST_MACS[1], frameBytes);
    await untilFramesArrive(sender, receiver, frameBytes);
    const latency = new Histogram();
    for (let i = 0; i < WARM_UP_TRIPS; i++) trip(sender, receiver, frameBytes);
    const clock = clockNs();
    const [start, cpu, shares] = [nowNs(), threadCpuNs(), sharesOf([process])];
    const end = start + ms * 1e6;
    while (nowNs() < end) for (let i = 0; i < 100; i++) latency.add(trip(sender, receiver, frameBytes) - clock);
    const clientShare = (threadCpuNs() - cpu) / (nowNs() - start);
    return {
      p50Ns: latency.quantile(0.5),
      p99Ns: latency.quantile(0.99),
      features: sender.frontEnd.features,
      undisturbed: Math.min(clientShare, ...shares()) >= CPU_SHARE_MIN,
    };
  } finally {
    for (const guest of guests) guest.close();
    process.pause();
  }
}

/** A back end may take a while to see that both cards are there, and lose frames until then. */
async function untilFramesArrive({ tx }: NetDriver, { rx }: NetDriver, frameBytes: number): Promise<void> {
  let isFree = true;
  for (const deadline = nowNs() + READY_MS_MAX * 1e6; nowNs() < deadline; ) {
    if (isFree) {
      tx.offer(0, NET_HEADER_BYTES + frameBytes);
      tx.publish();
    }
    await sleep(20);
    const slot = rx.ring.take();
    isFree = tx.ring.take() >= 0;
    if (slot < 0) continue;
    if (!isFree) taken(tx.ring, nowNs());
    // Those that were late come too, or each trip would end with the frame of the one before.
    await sleep(20);
    for (let late = slot; late >= 0; late = rx.ring.take()) rx.offer(late, rx.bufferBytes);
    rx.publish();
    return;
  }
  throw new SidecoreError('DAEMON_UNREACHABLE', `no frame arrived within ${READY_MS_MAX} ms`);
}

/** Sends the frame in the first buffer, and waits for it at the other card. Returns how long that took, and a reading of the clock, ns. */
function trip({ tx }: NetDriver, { rx }: NetDriver, frameBytes: number): number {
  const start = nowNs();
  tx.offer(0, NET_HEADER_BYTES + frameBytes);
  tx.publish();
  const slot = taken(rx.ring, start);
  const ns = nowNs() - start;
  rx.offer(slot, rx.bufferBytes);
  rx.publish();
  taken(tx.ring, start);
  return ns;
}

function taken(ring: { take(): number }, start: number): number {
  for (;;) {
    for (let i = 0; i < LOOKS; i++) {
      const slot = ring.take();
      if (slot >= 0) return slot;
    }
    if (nowNs() - start > ANSWER_MS_MAX * 1e6)
      throw new SidecoreError('DAEMON_UNREACHABLE', `a frame did not arrive within ${ANSWER_MS_MAX} ms`);
  }
}

/** What a reading of the clock takes, ns. */
function clockNs(): number {
  const readings = new Histogram();
  for (let i = 0; i < WARM_UP_TRIPS; i++) {
    const start = nowNs();
    readings.add(nowNs() - start);
  }
  return readings.quantile(0.5);
}
