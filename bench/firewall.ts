/**
 * What the firewall costs a frame, by number of rules and kind of traffic: the rules by themselves, as code and as a table, and all that it
 * does with a frame. One thread that does nothing else, and no switch. Prints a table, or JSON with --json.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { FrameDirection } from '../src/filter/frame-contract.js';
import { FrameView } from '../src/filter/frame-view.js';
import { makeClassifier, planRules } from '../src/filters/net/firewall/classifier.js';
import { Engine, planAll, REASONS } from '../src/filters/net/firewall/engine.js';
import { KEY_WORDS } from '../src/filters/net/firewall/key.js';
import { FirewallMemory, memoryBytes } from '../src/filters/net/firewall/memory.js';
import { optionsSchema } from '../src/filters/net/firewall/options.js';
import { readKey } from '../src/filters/net/firewall/read-key.js';
import { threadCpuNs } from '../src/host/clock.js';
import { FrameBurst } from '../src/net/frame-burst.js';
import { StagingMemory } from '../src/net/staging-memory.js';

export interface FirewallRow {
  readonly what: 'code' | 'table' | 'whole';
  readonly rules: number;
  readonly traffic: string;
  /** CPU time of a frame, ns: median, least and most of the rounds. */
  readonly ns: number;
  readonly least: number;
  readonly most: number;
}

const COUNTS = [1, 10, 100, 1000];
/** Different frames of a kind of traffic: more than branch predictors learn. */
const POOL = 4096;
const FRAME_BYTES = 64;
/** Frames that do not count, of each kind: they have the code compiled, which takes CPU time of this CPU, and compiled again where it learns something. */
const WARM_UP_ROUNDS = 15;
const WARM_UP_FRAMES_MAX = 600_000;
const MINE = 0x0a00_0005;

type Written = Readonly<Record<string, unknown>>;

/** As security groups are: each lets some network to some port. */
const plainRules = (count: number): Written[] =>
  Array.from({ length: count }, (_, i) => ({
    in: 'accept',
    protocol: 'tcp',
    port: 1000 + i,
    from: `10.${i >> 6}.${i & 63}.0/24`,
  }));

/** Those of half of which a frame has the address, and of the other half the port: every word of every set has candidates. */
const cruelRules = (count: number): Written[] =>
  Array.from({ length: count }, (_, i) =>
    i % 2 === 0
      ? { in: 'accept', protocol: 'tcp', port: 60_000, from: '10.0.0.0/8' }
      : { in: 'accept', protocol: 'tcp', port: '0-59999', from: '11.0.0.0/8' },
  );

interface Random {
  below(below: number): number;
}

/** A multiplicative generator is good enough here, and the same each time. */
function randomFrom(seed: number): Random {
  let state = seed;
  return {
    below(below) {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x9e37_79b9;
      return ((state >>> 3) % 0x1000_0000) % below;
    },
  };
}

interface Addressing {
  readonly source: number;
  readonly port: number;
}

const TRAFFIC: Readonly<Record<string, (count: number, i: number, random: Random) => Addressing>> = {
  'first rule': () => addressing(0),
  'last rule': (count) => addressing(count - 1),
  'no rule': (_, i) => ({ source: 0xc0a8_0000 + i, port: 5 }),
  'any rule': (count, _, random) => addressing(random.below(count)),
  random: (_, __, random) => ({ source: 0x0a00_0000 + random.below(2 ** 20), port: random.below(65_536) }),
};

const addressing = (rule: number): Addressing => ({
  source: 0x0a00_0001 + ((rule >> 6) << 16) + ((rule & 63) << 8),
  port: 1000 + rule,
});

/** TCP segments to the guest. */
function framesOf(traffic: (i: number) => Addressing, flags: number): StagingMemory {
  const memory = new StagingMemory(POOL * FRAME_BYTES);
  const frames = memory.buffer;
  for (let i = 0; i < POOL; i++) {
    const { source, port } = traffic(i);
    const at = i * FRAME_BYTES;
    frames.write('525400000001525400000002', at, 'hex');
    frames.writeUInt16BE(0x0800, at + 12);
    frames[at + 14] = 0x45;
    frames.writeUInt16BE(FRAME_BYTES - 14, at + 16);
    frames[at + 22] = 64;
    frames[at + 23] = 6;
    frames.writeUInt32BE(source >>> 0, at + 26);
    frames.writeUInt32BE(MINE, at + 30);
    frames.writeUInt16BE(32_768 + (i % 16_384), at + 34);
    frames.writeUInt16BE(port, at + 36);
    frames[at + 46] = 0x50;
    frames[at + 47] = flags;
  }
  return memory;
}

/** Walks a view over the frames. */
class Walk {
  readonly view = new FrameView();
  readonly #burst: FrameBurst;

  constructor(frames: StagingMemory) {
    this.#burst = new FrameBurst(frames, 0, undefined, true);
    this.#burst.chains.length[0] = FRAME_BYTES;
    this.view.turnTo(this.#burst, FrameDirection.INBOUND);
  }

  at(i: number): FrameView {
    this.#burst.chains.offset[0] = (i % POOL) * FRAME_BYTES;
    this.view.lookAt(this.#burst, 0);
    return this.view;
  }
}

interface Case {
  readonly what: FirewallRow['what'];
  readonly rules: number;
  readonly traffic: string;
  /** Takes so many frames; returns something that depends on all. */
  run(frames: number): number;
}

const read = (options: Written) => optionsSchema(z).parse(options);

function rulesCase(what: 'code' | 'table', rules: Written[], traffic: string, bytes: StagingMemory): Case {
  const options = read({ rules });
  const classify = makeClassifier(planRules(options.rules, false, 4, what === 'code' ? Number.POSITIVE_INFINITY : -1));
  const walk = new Walk(bytes);
  const keys = Array.from({ length: POOL }, (_, i) => {
    const key = new Int32Array(KEY_WORDS);
    readKey(walk.at(i), key);
    return key;
  });
  const run = (frames: number) => {
    let sum = 0;
    for (let i = 0; i < frames; i++) sum = (sum + classify(keys[i % POOL]!)) | 0;
    return sum;
  };
  return { what, rules: rules.length, traffic, run };
}

function wholeCase(options: Written, count: number, traffic: string, bytes: StagingMemory, expected?: string): Case {
  const ready = read(options);
  const { hits, connections } = new FirewallMemory(new SharedArrayBuffer(memoryBytes(ready)), ready);
  const engine = new Engine(ready, planAll(ready), [0x5254, 1], connections, hits);
  connections.nowS = 1000;
  const walk = new Walk(bytes);
  if (expected !== undefined) {
    for (let i = 0; i < 2 * POOL; i++) engine.decide(walk.at(i), false);
    const found = REASONS[engine.decide(walk.at(POOL), false)]!;
    if (found !== expected) throw new Error(`${traffic}: ${found} and not ${expected}`);
  }
  const run = (frames: number) => {
    let sum = 0;
    for (let i = 0; i < frames; i++) sum = (sum + engine.decide(walk.at(i), false)) | 0;
    return sum;
  };
  return { what: 'whole', rules: count, traffic, run };
}

const SYN = 2;
const ACK = 16;

function allCases(): Case[] {
  const cases: Case[] = [];
  for (const count of COUNTS) {
    const rules = plainRules(count);
    for (const [name, traffic] of Object.entries(TRAFFIC)) {
      const random = randomFrom(1);
      const bytes = framesOf((i) => traffic(count, i, random), ACK);
      if (count <= 100) cases.push(rulesCase('code', rules, name, bytes));
      cases.push(rulesCase('table', rules, name, bytes));
      cases.push(wholeCase({ rules, track: false }, count, `${name}, stateless`, bytes));
    }
    const random = randomFrom(1);
    const old = framesOf((i) => TRAFFIC['any rule']!(count, i, random), ACK);
    cases.push(wholeCase({ rules }, count, 'established', old, 'established'));
  }
  // A flood of first segments, of which each is a connection, and the table is full.
  const rules = plainRules(1000);
  const random = randomFrom(2);
  const flood = framesOf(() => TRAFFIC['any rule']!(1000, 0, random), SYN);
  cases.push(wholeCase({ rules, track: { max: 1024 } }, 1000, 'flood of new connections', flood));
  const cruel = framesOf((i) => ({ source: 0x0a00_0000 + i, port: 5 }), ACK);
  cases.push(rulesCase('table', cruelRules(1000), 'worst for the table', cruel));
  cases.push(wholeCase({ rules: cruelRules(1000), track: false }, 1000, 'worst for the table, stateless', cruel));
  return cases;
}

const sorted = (values: readonly number[]) => [...values].sort((one, other) => one - other);

/** Measures all cases in turn, so that what else the machine does falls on all of them. */
export function measureFirewall({ rounds = 9, frames = 200_000 } = {}): FirewallRow[] {
  const cases = allCases().map((each) => ({ ...each, ns: [] as number[] }));
  let sum = 0;
  const warmUp = Math.min(WARM_UP_FRAMES_MAX, WARM_UP_ROUNDS * frames);
  for (const each of cases) sum += each.run(warmUp);
  for (let round = 0; round < rounds; round++) {
    for (const each of cases) {
      // What others have pushed out of the caches comes back.
      sum += each.run(Math.min(POOL, frames));
      const before = threadCpuNs();
      sum += each.run(frames);
      each.ns.push((threadCpuNs() - before) / frames);
    }
  }
  if (Number.isNaN(sum)) throw new Error('nothing was classified');
  return cases.map(({ what, rules, traffic, ns }) => ({
    what,
    rules,
    traffic,
    ns: sorted(ns)[ns.length >> 1]!,
    least: sorted(ns)[0]!,
    most: sorted(ns).at(-1)!,
  }));
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const rows = measureFirewall();
  if (process.argv.includes('--json')) console.log(JSON.stringify({ node: process.version, rows }));
  else {
    console.log(`Node ${process.version}, ns a frame`);
    for (const { what, rules, traffic, ns, least, most } of rows)
      console.log(`${what}, ${rules} rules, ${traffic}: ${ns.toFixed(1)} (${least.toFixed(1)} to ${most.toFixed(1)})`);
  }
}
