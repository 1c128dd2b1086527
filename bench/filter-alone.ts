/**
 * Measures one thing in a process of its own, in which V8 compiles nothing for others: argument 1 is an `AloneTask`, as JSON. Writes what
 * it gave, as JSON.
 */
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { NET_FILTERS } from '../src/filters/net/index.js';
import { type ChainRow, measureChains } from './filter-chain.js';
import { BLOCK_ENTRIES, backendsOf, type Does, NOWHERE } from './filter-entries.js';
import { FilterRig } from './filter-rig.js';
import { type FirewallRow, measureFirewall } from './firewall.js';
import { FRAME_ENTRIES } from './frame-entries.js';
import { measureFrameChains } from './frame-filter-chain.js';
import { burstOf, FrameRig } from './frame-rig.js';

/** What is measured, how often, and by how much of it each time. */
export type AloneTask = { readonly rounds: number; readonly count: number } & (
  | { readonly what: 'block chains' }
  | { readonly what: 'frame chains' }
  | { readonly what: 'block filter'; readonly entry: string; readonly does: Does; readonly folder: string }
  | {
      readonly what: 'frame filter';
      readonly entry: string;
      readonly frameBytes: number;
      readonly way: 'outbound' | 'inbound';
      readonly folder: string;
    }
  | { readonly what: 'firewall' }
);

/** CPU time of each request or frame, ns, by round: through the filter, and without it. */
export interface AloneTimes {
  readonly filtered: readonly number[];
  readonly plain: readonly number[];
}

/** Rounds that do not count: they have the code compiled. */
const WARM_UP = 3;
/** Of a round, to know how long a request takes. */
const WARM_UP_SHARE = 10;
/** A round takes no longer than so, ns, but has so many requests at least. */
const ROUND_NS_MAX = 5e7;
const MIN_COUNT = 3200;

type Measure = () => number | Promise<number>;

async function inTurn(rounds: number, filtered: Measure, plain: Measure): Promise<AloneTimes> {
  const times = { filtered: [] as number[], plain: [] as number[] };
  for (let round = -WARM_UP; round < rounds; round++) {
    const [one, other] = [await filtered(), await plain()];
    if (round < 0) continue;
    times.filtered.push(one);
    times.plain.push(other);
  }
  return times;
}

async function blockFilter({ rounds, count, entry, does, folder }: Extract<AloneTask, { what: 'block filter' }>) {
  const { use, setUp, needs = NOWHERE, asks } = BLOCK_ENTRIES.find(({ name }) => name === entry)!;
  const made = setUp(folder);
  const [backend, without] = backendsOf(made, needs);
  const filtered = new FilterRig(backend, { definition: BLOCK_FILTERS[use]!, options: made.options ?? {} }, folder);
  const plain = new FilterRig(without, undefined, folder);
  if (asks !== undefined) await filtered.ask(asks.command, asks.given);
  // Those that take long are asked less often.
  const ns = filtered.measure(does, Math.ceil(count / WARM_UP_SHARE));
  const each = Math.max(Math.min(MIN_COUNT, count), Math.min(count, Math.floor(ROUND_NS_MAX / ns)));
  const times = await inTurn(
    rounds,
    () => filtered.measure(does, each),
    () => plain.measure(does, each),
  );
  for (const rig of [filtered, plain]) await rig.close();
  return times;
}

async function frameFilter(task: Extract<AloneTask, { what: 'frame filter' }>) {
  const { rounds, count, entry, frameBytes, way, folder } = task;
  const { use, options, keeps = Number.POSITIVE_INFINITY } = FRAME_ENTRIES.find(({ name }) => name === entry)!;
  const filtered = new FrameRig(NET_FILTERS[use]!, options, folder);
  const plain = new FrameRig(undefined, {}, folder);
  const burst = burstOf(frameBytes, false);
  const each = Math.min(count, keeps);
  const run = (rig: FrameRig) => async () => {
    const parts: number[] = [];
    for (let done = 0; done < count; done += each) {
      await rig.flush();
      parts.push(rig.measure(burst, way, each));
    }
    return parts.reduce((sum, ns) => sum + ns, 0) / parts.length;
  };
  const times = await inTurn(rounds, run(filtered), run(plain));
  for (const rig of [filtered, plain]) await rig.close();
  return times;
}

async function measure(task: AloneTask): Promise<ChainRow[] | FirewallRow[] | AloneTimes> {
  switch (task.what) {
    case 'block chains':
      return measureChains({ rounds: task.rounds, requests: task.count });
    case 'frame chains':
      return measureFrameChains({ rounds: task.rounds, frames: task.count });
    case 'frame filter':
      return frameFilter(task);
    case 'firewall':
      return measureFirewall({ rounds: task.rounds, frames: task.count });
    case 'block filter':
      return blockFilter(task);
  }
}

process.stdout.write(JSON.stringify(await measure(JSON.parse(process.argv[2]!) as AloneTask)));
