import { readdirSync, readFileSync } from 'node:fs';
import { SidecoreError } from '../src/errors.js';
import { pinAllThreads } from '../src/host/affinity.js';
import type { RealGuest } from '../test/real-guest/guest.js';
import type { Pair } from '../test/real-guest/network.js';
import type { NetContext, PlannedRows } from './net-sides.js';
import { type Row, row } from './report.js';

const NAME = 'TCP between two real guests, with segmentation left to us against without';
const STREAM_SECONDS = 4;
/** What the stream needs to come to its rate. */
const OMITTED_SECONDS = 1;

/** What a stream has moved, and with how much CPU time. */
interface Stream {
  readonly bytes: number;
  /** Of the sidecore in turns with work, and of that and both guests together, s. */
  readonly coreSeconds: number;
  readonly allSeconds: number;
}

/** What offloads are worth: the same TCP stream with them and without, in turn, in guests that stay. */
export function realGuestRows(context: NetContext): PlannedRows[] {
  return [{ name: NAME, quick: false, needs: [], run: () => measure(context) }];
}

async function measure({ pairs, ground }: NetContext): Promise<Row[]> {
  const { Pair, ADDRESS } = await realGuests();
  const cleanups: (() => void | Promise<void>)[] = [];
  try {
    pinAllThreads([ground.clientCpu, ground.serverCpu]);
    const pair = await Pair.boot({ after: (clean) => cleanups.unshift(clean) }, { mode: 'sidecore' });
    // A guest on the sidecore's CPU would take time from it that counts as the sidecore's.
    for (const guest of [pair.a, pair.b]) pinAllThreads([ground.clientCpu], guest.pid);
    await pair.expectPing();
    await pair.b.must('iperf3 -s -D > /dev/null; sleep 1');
    const stream = async (offloads: boolean): Promise<Stream> => {
      const state = offloads ? 'on' : 'off';
      for (const guest of [pair.a, pair.b])
        await guest.must(`ethtool -K eth0 tx ${state} tso ${state} gso ${state} gro ${state} > /dev/null 2>&1`);
      const before = await cpuSeconds(pair);
      const report = await pair.a.must(
        `iperf3 -J -c ${ADDRESS.b} -t ${STREAM_SECONDS} -O ${OMITTED_SECONDS} | grep -A8 sum_received | grep '"bytes"' | tr -dc 0-9`,
      );
      const after = await cpuSeconds(pair);
      return {
        // The omitted second took CPU time too.
        bytes: (Number(report) * (STREAM_SECONDS + OMITTED_SECONDS)) / STREAM_SECONDS,
        coreSeconds: after.core - before.core,
        allSeconds: after.core + after.guests - before.core - before.guests,
      };
    };
    const streams: Record<'on' | 'off', Stream[]> = { on: [], off: [] };
    for (let i = 0; i < Math.min(3, pairs); i++) {
      for (const key of ['on', 'off'] as const) streams[key].push(await stream(key === 'on'));
    }
    const per = (key: 'on' | 'off', of: 'coreSeconds' | 'allSeconds') =>
      streams[key].map((one) => one.bytes / one[of] / 1e6);
    const goal = { sense: 'at least', value: 5 } as const;
    return [
      row(
        `${NAME}: MB for each CPU second of the sidecore`,
        'MB/s',
        per('on', 'coreSeconds'),
        per('off', 'coreSeconds'),
        goal,
      ),
      row(
        `${NAME}: MB for each CPU second of sidecore and guests`,
        'MB/s',
        per('on', 'allSeconds'),
        per('off', 'allSeconds'),
        goal,
        'guests under QEMU without KVM',
      ),
    ];
  } finally {
    pinAllThreads([ground.clientCpu]);
    for (const clean of cleanups) await clean();
  }
}

/** The tests' guests: they are in a checkout only. */
async function realGuests() {
  try {
    return await import('../test/real-guest/network.js');
  } catch (error) {
    const remedy = 'Run it in a checkout, after `npm test` has fetched a kernel.';
    throw new SidecoreError('UNSUPPORTED_PLATFORM', 'there are no real guests here', remedy, { cause: error });
  }
}

async function cpuSeconds(pair: Pair): Promise<{ core: number; guests: number }> {
  const { cores } = await pair.daemon.status();
  const core = cores.reduce((sum, { busy_ns }) => sum + busy_ns, 0) / 1e9;
  return { core, guests: processSeconds(pair.a) + processSeconds(pair.b) };
}

function processSeconds({ pid }: RealGuest): number {
  const ns = readdirSync(`/proc/${pid}/task`).map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
  );
  return ns.reduce((sum, one) => sum + one, 0) / 1e9;
}
