/**
 * Measures one thing in a process of its own, in which V8 compiles nothing for others: argument 1 is an `AloneTask`, as JSON. Writes what
 * it gave, as JSON.
 */
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { type ChainRow, measureChains } from './filter-chain.js';
import { BLOCK_ENTRIES, backendsOf, type Does } from './filter-entries.js';
import { FilterRig } from './filter-rig.js';

/** What is measured, how often, and by how much of it each time. */
export type AloneTask = { readonly rounds: number; readonly count: number } & (
  | { readonly what: 'block chains' }
  | { readonly what: 'block filter'; readonly entry: string; readonly does: Does; readonly folder: string }
);

/** CPU time of each request or frame, ns, by round: through the filter, and without it. */
export interface AloneTimes {
  readonly filtered: readonly number[];
  readonly plain: readonly number[];
}

/** Rounds that do not count: they have the code compiled. */
const WARM_UP = 3;

function inTurn(rounds: number, filtered: () => number, plain: () => number): AloneTimes {
  const times = { filtered: [] as number[], plain: [] as number[] };
  for (let round = -WARM_UP; round < rounds; round++) {
    const [one, other] = [filtered(), plain()];
    if (round < 0) continue;
    times.filtered.push(one);
    times.plain.push(other);
  }
  return times;
}

async function blockFilter({ rounds, count, entry, does, folder }: Extract<AloneTask, { entry: string }>) {
  const { use, setUp } = BLOCK_ENTRIES.find(({ name }) => name === entry)!;
  const made = setUp(folder);
  const [backend, without] = backendsOf(made);
  const filtered = new FilterRig(backend, { definition: BLOCK_FILTERS[use]!, options: made.options ?? {} }, folder);
  const plain = new FilterRig(without, undefined, folder);
  const times = inTurn(
    rounds,
    () => filtered.measure(does, count),
    () => plain.measure(does, count),
  );
  for (const rig of [filtered, plain]) await rig.close();
  return times;
}

async function measure(task: AloneTask): Promise<ChainRow[] | AloneTimes> {
  switch (task.what) {
    case 'block chains':
      return measureChains({ rounds: task.rounds, requests: task.count });
    case 'block filter':
      return blockFilter(task);
  }
}

process.stdout.write(JSON.stringify(await measure(JSON.parse(process.argv[2]!) as AloneTask)));
