import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendOptions } from '../src/block/backends/index.js';
import { askDaemon } from '../src/daemon/control-server.js';
import { controlSocketPath } from '../src/daemon/daemon.js';
import type { LoadPattern } from '../src/guest/load.js';
import { OurDaemon } from './back-ends.js';
import { type Side, type WindowResult, window } from './duel.js';
import { CHAIN_LENGTHS, nsPerFilter } from './filter-chain.js';
import { alone, type FilterContext, type PlannedFilterRows, spreadText } from './filter-context.js';
import { BLOCK_ENTRIES, type BlockEntry, backendsOf, DISK_BYTES, type Does } from './filter-entries.js';
import { row } from './report.js';

/** What a filter that passes everything on may add to a request or frame, ns. */
export const PASS_NS_MAX = 5;
const BLOCK_BYTES = 4096;
const DEPTHS = [1, 32];

export const PASS_FILTER = `export default {
  name: 'pass',
  create: () => ({ submit(request, next) { next(request); }, complete(request, status) { return status; } }),
};
`;

/** Names of rows, by which the table of costs finds them. */
export const blockRowNames = {
  alone: (entry: string, does: Does) => `${entry}: alone, 4 KiB ${does}`,
  rate: (entry: string, does: Does, depth: number) => `${entry}: 4 KiB random ${does}, depth ${depth}`,
  p50: (entry: string, does: Does, depth: number) => `${blockRowNames.rate(entry, does, depth)}: p50`,
};

/** Chains of filters that do nothing, alone. */
export function chainAloneRows(context: FilterContext): PlannedFilterRows {
  const { ground, options, timing } = context;
  const name = 'chains of filters that pass requests on, alone';
  const run = async () => {
    options.progress(name);
    const rows = alone(context, { what: 'block chains', rounds: timing.rounds, count: 5 * timing.count });
    for (const one of rows.filter(({ length }) => length > 0)) {
      const each = nsPerFilter(one, rows);
      const title = `chain of ${one.length}, each filter ${one.filter}: a filter adds to a request, alone`;
      const note = `${spreadText(each, 2)} in ${each.length} rounds; the chain: ${spreadText(one.rounds)}`;
      ground.add([row(title, 'ns', each, null, { sense: 'at most', value: PASS_NS_MAX }, note)]);
    }
  };
  return { name, quick: true, run };
}

/** The same in a daemon, under the load of a guest. */
export function chainRows(context: FilterContext): PlannedFilterRows {
  const { options } = context;
  const name = 'chains of filters that pass requests on, in a daemon';
  const run = async () => {
    const folder = context.ground.folder('/dev/shm');
    writeFileSync(join(folder, 'pass.ts'), PASS_FILTER);
    const disk = (count: number) => ({
      backend: { type: 'memory', size: DISK_BYTES },
      filters: Array.from({ length: count }, () => ({ use: './pass.ts' })),
    });
    const disks = Object.fromEntries(CHAIN_LENGTHS.map((count) => [`chain${count}`, disk(count)]));
    const daemon = await startDaemon(context, folder, disks);
    const lengths = CHAIN_LENGTHS.filter((count) => count > 0 && (!options.quick || count === CHAIN_LENGTHS.at(-1)));
    for (const count of lengths) {
      const sides = [daemon.socket(`chain${count}`), daemon.socket('chain0')] as const;
      await compare(context, `chain of ${count}`, 'read', sides);
    }
    await daemon.stop();
  };
  return { name, quick: true, run };
}

/** Each of ours: alone, and in a daemon. */
export function entryRows(context: FilterContext): PlannedFilterRows[] {
  return BLOCK_ENTRIES.flatMap((entry) => [
    { name: `${entry.name}: alone`, quick: true, run: async () => measureAlone(context, entry) },
    { name: `${entry.name}: in a daemon`, quick: false, run: () => measureInDaemon(context, entry) },
  ]);
}

function measureAlone(context: FilterContext, entry: BlockEntry): void {
  const { ground, options, timing } = context;
  for (const does of entry.does) {
    const title = blockRowNames.alone(entry.name, does);
    options.progress(title);
    const folder = ground.folder('/dev/shm');
    const { rounds, count } = timing;
    const { filtered, plain } = alone(context, {
      what: 'block filter',
      entry: entry.name,
      does,
      folder,
      rounds,
      count,
    } as const);
    const added = filtered.map((ns, round) => ns - plain[round]!);
    const note = `adds ${spreadText(added)}; peer: the disk without it`;
    ground.add([row(title, 'ns', filtered, plain, null, note)]);
  }
}

async function measureInDaemon(context: FilterContext, entry: BlockEntry): Promise<void> {
  const folder = context.ground.folder('/dev/shm');
  const made = entry.setUp(folder);
  const [backend, plain] = backendsOf(made);
  const filters = [{ use: entry.use, options: made.options ?? {} }];
  const daemon = await startDaemon(context, folder, {
    filtered: { backend: configured(backend), filters },
    plain: { backend: configured(plain) },
  });
  const sides = [daemon.socket('filtered'), daemon.socket('plain')] as const;
  if (entry.asks !== undefined) {
    const question = { device: 'bench/filtered', which: entry.use, ...entry.asks };
    await askDaemon(controlSocketPath(daemon.runDir), 'POST', '/filters/ask', question);
  }
  for (const does of entry.does) await compare(context, entry.name, does, sides);
  await daemon.stop();
}

/** A back end as a configuration has it. */
function configured(backend: BackendOptions): object {
  if (backend.type !== 'file') return backend;
  const { readOnly, ...rest } = backend;
  return { ...rest, read_only: readOnly === true };
}

async function startDaemon(
  { ground, options }: FilterContext,
  folder: string,
  disks: Record<string, object>,
): Promise<OurDaemon> {
  const config = { cores: [ground.serverCpu], log: 'warn', vms: { bench: { disks } } };
  // The configuration is beside the folder's other files, from which paths in options start.
  const daemon = ground.keep(new OurDaemon(options.node, join(folder, 'run'), config));
  await daemon.ready(Object.keys(disks).map((name) => daemon.socket(name)));
  // Memory is written once, so that reads read pages of its own and not the kernel's one page of zeros: all of it, or none.
  const isReadOnly = JSON.stringify(disks).includes('readonly');
  if (!isReadOnly) for (const name of Object.keys(disks)) await fill(daemon.socket(name));
  return daemon;
}

async function fill(socket: string): Promise<void> {
  const pattern: LoadPattern = {
    depth: 8,
    requestBytes: 128 * 1024,
    readShare: 0,
    workingSetBytes: DISK_BYTES,
    sequential: true,
  };
  await window({ sockets: [socket], pattern }, { warmUpMs: 0, windowMs: 60, timed: false });
}

/** One disk against another, at depth 1 and 32. */
async function compare(
  { ground, timing }: FilterContext,
  entry: string,
  does: Does,
  [filtered, plain]: readonly [string, string],
): Promise<void> {
  const { settleMs, warmUpMs, windowMs, pairs } = timing;
  for (const depth of DEPTHS) {
    const pattern: LoadPattern = {
      depth,
      requestBytes: BLOCK_BYTES,
      readShare: does === 'read' ? 1 : 0,
      workingSetBytes: DISK_BYTES,
    };
    const side = (socket: string): Side => ({ sockets: [socket], pattern });
    const measure = (socket: string) => () => window(side(socket), { warmUpMs, windowMs, timed: true });
    if (depth === DEPTHS[0]) {
      await window(side(filtered), { warmUpMs: 0, windowMs: settleMs, timed: true });
      await window(side(plain), { warmUpMs: 0, windowMs: settleMs / 2, timed: true });
    }
    const title = blockRowNames.rate(entry, does, depth);
    const { a, b } = await ground.inTurn(title, measure(filtered), measure(plain), pairs);
    const of = (windows: readonly WindowResult[], key: 'iops' | 'p50Ns') => windows.map((one) => one[key]);
    ground.add([
      row(title, 'IOPS', of(a, 'iops'), of(b, 'iops'), null, 'peer: the disk without it'),
      row(blockRowNames.p50(entry, does, depth), 'ns', of(a, 'p50Ns'), of(b, 'p50Ns'), null),
    ]);
  }
}
