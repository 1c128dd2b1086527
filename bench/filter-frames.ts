import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OurDaemon } from './back-ends.js';
import { CPU_SHARE_MIN, type Measured } from './duel.js';
import { PASS_NS_MAX } from './filter-block.js';
import { CHAIN_LENGTHS, nsPerFilter } from './filter-chain.js';
import { alone, type FilterContext, type PlannedFilterRows, spreadText } from './filter-context.js';
import { FRAME_ENTRIES, type FrameEntry } from './frame-entries.js';
import { sharesOf } from './net-window.js';
import { drive, finish, latencyOf, type Part } from './paper/drive.js';
import { NetRequestResponse, NetStream } from './paper/net-parts.js';
import { row } from './report.js';

/** What a firewall may take for a frame, ns, with as many rules as in the last of the counts. */
const FIREWALL_NS_MAX = 150;
const FIREWALL_RULES = 1000;
/** Without the checksum. */
export const SIZES = [64, 1514] as const;
/** Frames in flight of a stream. */
const FRAMES = 64;

export const PASS_FRAMES = `export default {
  kind: 'frame',
  name: 'pass',
  create: () => ({ outbound(frame, next) { next(frame); }, inbound(frame, next) { next(frame); } }),
};
`;

type Way = 'outbound' | 'inbound';

/** Names of rows, by which the table of costs finds them. */
export const frameRowNames = {
  alone: (entry: string, bytes: number, way: Way) => `${entry}: alone, frames of ${bytes} B, ${way}`,
  rate: (entry: string, bytes: number) => `${entry}, both cards: stream of ${bytes} B`,
  p50: (entry: string, bytes: number) => `${entry}, both cards: question and answer of ${bytes} B: p50`,
};

export function frameChainAloneRows(context: FilterContext): PlannedFilterRows {
  const { ground, options, timing } = context;
  const name = 'chains of filters that pass frames on, alone';
  const run = async () => {
    options.progress(name);
    const rows = alone(context, { what: 'frame chains', rounds: timing.rounds, count: timing.count });
    const wanted = options.quick ? rows.filter(({ filter }) => filter === 'pass on') : rows;
    for (const one of wanted) {
      const { filter, through, length } = one;
      if (length === 0) continue;
      const each = nsPerFilter(one, rows);
      const title = `chain of ${length}, each filter to ${filter}: a filter adds to a frame, alone, ${through}`;
      const note = `${spreadText(each, 2)} in ${each.length} rounds; the chain: ${spreadText(one.rounds)}`;
      // The goal is for filters that do nothing.
      const goal = filter === 'pass on' ? ({ sense: 'at most', value: PASS_NS_MAX } as const) : null;
      ground.add([row(title, 'ns', each, null, goal, note)]);
    }
  };
  return { name, quick: true, run };
}

export function firewallRows(context: FilterContext): PlannedFilterRows {
  const { ground, options, timing } = context;
  const name = 'firewall by rules, alone';
  const run = async () => {
    options.progress(name);
    const { rounds } = timing;
    for (const { what, rules, traffic, ns, least, most } of alone(context, {
      what: 'firewall',
      rounds,
      count: timing.count / 2,
    })) {
      const whole = what === 'whole';
      if (options.quick && !(whole && rules === FIREWALL_RULES)) continue;
      const title = `firewall, ${rules} rules, ${traffic}: ${whole ? 'a frame' : `the rules, as ${what}`}`;
      const goal = whole && rules === FIREWALL_RULES ? ({ sense: 'at most', value: FIREWALL_NS_MAX } as const) : null;
      const note = `${least.toFixed(1)} to ${most.toFixed(1)} in ${rounds} rounds`;
      ground.add([row(title, 'ns', [ns], null, goal, note)]);
    }
  };
  return { name, quick: true, run };
}

/** Chains that do nothing, in a daemon: two guests that talk to each other, each behind such a chain. */
export function frameChainRows(context: FilterContext): PlannedFilterRows {
  const name = 'chains of filters that pass frames on, in a daemon';
  const run = async () => {
    const folder = context.ground.folder('/dev/shm');
    writeFileSync(join(folder, 'pass.ts'), PASS_FRAMES);
    const chains = CHAIN_LENGTHS.map(
      (length) => [length, Array.from({ length }, () => ({ use: './pass.ts' }))] as const,
    );
    const daemon = await startDaemon(
      context,
      folder,
      new Map(chains.map(([length, filters]) => [`${length}`, filters])),
    );
    const most = CHAIN_LENGTHS.at(-1)!;
    const lengths = CHAIN_LENGTHS.filter((n) => n > 0 && (!context.options.quick || n === 1 || n === most));
    for (const length of lengths)
      await compare(context, `frame filters, chain of ${length}`, daemon, [`${length}`, '0'], true);
    for (const bytes of SIZES) await compareLengths(context, daemon, bytes, most);
    await daemon.stop();
  };
  return { name, quick: true, run };
}

/** Each of ours: alone, and in a daemon. */
export function frameEntryRows(context: FilterContext): PlannedFilterRows[] {
  return FRAME_ENTRIES.flatMap((entry) => [
    { name: `${entry.name} (frames): alone`, quick: true, run: async () => measureAlone(context, entry) },
    { name: `${entry.name} (frames): in a daemon`, quick: false, run: () => measureInDaemon(context, entry) },
  ]);
}

/** What its rows are called by: block filters may have the same name. */
export const titleOf = ({ name }: FrameEntry): string => `${name} (frames)`;

function measureAlone(context: FilterContext, entry: FrameEntry): void {
  const { ground, options, timing } = context;
  const { rounds, count } = timing;
  const folder = ground.folder('/dev/shm');
  for (const [frameBytes, way] of [
    [SIZES[0], 'outbound'],
    [SIZES[0], 'inbound'],
    [SIZES[1], 'outbound'],
  ] as const) {
    if (options.quick && (way !== 'outbound' || frameBytes !== SIZES[0])) continue;
    const title = frameRowNames.alone(titleOf(entry), frameBytes, way);
    options.progress(title);
    const task = { what: 'frame filter', entry: entry.name, frameBytes, way, folder, rounds, count } as const;
    const { filtered, plain } = alone(context, task);
    const added = filtered.map((ns, round) => ns - plain[round]!);
    const note = `adds ${spreadText(added)}; peer: a chain of none`;
    ground.add([row(title, 'ns', filtered, plain, null, note)]);
  }
}

async function measureInDaemon(context: FilterContext, entry: FrameEntry): Promise<void> {
  const folder = context.ground.folder('/dev/shm');
  const filters = [{ use: entry.use, options: entry.options }];
  const daemon = await startDaemon(
    context,
    folder,
    new Map([
      ['filtered', filters],
      ['plain', []],
    ]),
  );
  await compare(context, titleOf(entry), daemon, ['filtered', 'plain'], entry.loses !== true);
  await daemon.stop();
}

type Filters = readonly { readonly use: string; readonly options?: Readonly<Record<string, unknown>> }[];

/** Pairs of cards, each pair with a network of its own and with the same filters on both. */
async function startDaemon(
  { ground, options }: FilterContext,
  folder: string,
  pairs: ReadonlyMap<string, Filters>,
): Promise<OurDaemon> {
  const cards = [...pairs].flatMap(([pair, filters]) =>
    ['a', 'b'].map((end) => {
      // What a filter has a file for, each card has one for.
      const own = filters.map(({ use, options = {} }) => ({
        use,
        options: 'file' in options ? { ...options, file: `${pair}${end}-${options['file']}` } : options,
      }));
      return [`${pair}${end}`, { network: `lan${pair}`, filters: own }] as const;
    }),
  );
  const config = { cores: [ground.serverCpu], log: 'warn', vms: { bench: { nics: Object.fromEntries(cards) } } };
  const daemon = ground.keep(new OurDaemon(options.node, join(folder, 'run'), config));
  await daemon.ready(cards.map(([card]) => daemon.socket(card)));
  daemon.pause();
  return daemon;
}

const KINDS = [
  { bytes: SIZES[0], talks: false },
  { bytes: SIZES[1], talks: false },
  { bytes: SIZES[0], talks: true },
] as const;

/** One pair of cards against another: streams, and one frame in flight. */
async function compare(
  { ground, timing }: FilterContext,
  entry: string,
  daemon: OurDaemon,
  [filtered, plain]: readonly [string, string],
  mayTalk: boolean,
): Promise<void> {
  for (const { bytes, talks } of KINDS) {
    if (talks && !mayTalk) continue;
    const measure = (pair: string) => () => cardsWindow(daemon, pair, bytes, talks, timing);
    if (bytes === SIZES[0]) {
      await cardsWindow(daemon, filtered, bytes, talks, { warmUpMs: 0, windowMs: timing.settleMs });
      await cardsWindow(daemon, plain, bytes, talks, { warmUpMs: 0, windowMs: timing.settleMs / 2 });
    }
    const title = talks ? frameRowNames.p50(entry, bytes) : frameRowNames.rate(entry, bytes);
    const { a, b } = await ground.inTurn(title, measure(filtered), measure(plain), timing.pairs);
    const values = (windows: typeof a) => windows.map(({ rate, p50Ns }) => (talks ? p50Ns : rate));
    ground.add([row(title, talks ? 'ns' : 'frames/s', values(a), values(b), null, 'peer: cards without it')]);
  }
}

/** What each filter beyond the first adds to a frame, which passes as many at its sender's card as at its receiver's. */
async function compareLengths(
  { ground, timing }: FilterContext,
  daemon: OurDaemon,
  bytes: number,
  most: number,
): Promise<void> {
  const title = `frame filters, chain of ${most} against one of 1: stream of ${bytes} B: each filter more adds to a frame`;
  const measure = (pair: string) => () => cardsWindow(daemon, pair, bytes, false, timing);
  const { a, b } = await ground.inTurn(title, measure(`${most}`), measure('1'), timing.pairs);
  const each = a.map(({ rate }, i) => (1e9 / rate - 1e9 / b[i]!.rate) / (2 * (most - 1)));
  const note = `${spreadText(each, 2)}, in ${each.length} pairs of windows`;
  ground.add([row(title, 'ns', each, null, { sense: 'at most', value: PASS_NS_MAX }, note)]);
}

interface CardsWindow extends Measured {
  readonly rate: number;
  readonly p50Ns: number;
}

async function cardsWindow(
  daemon: OurDaemon,
  pair: string,
  frameBytes: number,
  talks: boolean,
  { warmUpMs, windowMs }: Pick<FilterContext['timing'], 'warmUpMs' | 'windowMs'>,
): Promise<CardsWindow> {
  daemon.resume();
  const sockets = [daemon.socket(`${pair}a`), daemon.socket(`${pair}b`)] as const;
  let part: Part | undefined;
  try {
    part = talks
      ? await NetRequestResponse.connect(sockets, frameBytes)
      : await NetStream.connect(sockets, { frameBytes, frames: FRAMES });
    part.start();
    drive([part], warmUpMs, false);
    const shares = sharesOf([daemon]);
    const { requests, seconds, cpuNs, errors } = drive([part], windowMs, false);
    const undisturbed = Math.min(cpuNs / (seconds * 1e9), ...shares()) >= CPU_SHARE_MIN;
    if (errors > 0) throw new Error(`${pair}: ${errors} frames were lost or spoilt`);
    const p50Ns = latencyOf([part]).quantile(0.5);
    finish([part]);
    return { rate: requests / seconds, p50Ns, undisturbed };
  } finally {
    part?.close();
    // The connections that end are to be noticed before the back end stands still.
    await new Promise((resolve) => setTimeout(resolve, 30));
    daemon.pause();
  }
}
