import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeLuks1 } from '../../src/filters/block/encrypt/luks1-keys.js';
import { PASS_FILTER } from '../filter-block.js';
import { PASS_FRAMES } from '../filter-frames.js';
import { securityGroup } from '../frame-entries.js';
import type { Look } from './results.js';
import type { DaemonPlan } from './stand.js';
import { diskBytesOf, type Workload } from './workloads.js';

/** Filters of a chain that does nothing. */
const CHAIN = 8;
const RULES = 100;
const PASSPHRASE = 'a passphrase of the evaluation';
const ITERATIONS = 1000;

/** One of those that are compared: a mode, and what stands between guests and their disks or network. */
export interface Interposer {
  readonly key: string;
  readonly name: string;
  /** The same where there is little room. */
  readonly short: string;
  readonly look: Look;
  readonly mode: 'sidecore' | 'baseline';
  /** What it interposes; undefined if nothing. */
  readonly what?: string;
  /** @param folder - for its files */
  plan(folder: string, count: number): Partial<DaemonPlan>;
}

const BASELINE: Interposer = {
  key: 'baseline',
  name: 'baseline, nothing interposed',
  short: 'baseline',
  look: 'baseline',
  mode: 'baseline',
  plan: () => ({}),
};
export const NOTHING: Interposer = {
  key: 'sidecore',
  name: 'sidecore, nothing interposed',
  short: 'sidecore',
  look: 'sidecore',
  mode: 'sidecore',
  plan: () => ({}),
};

const filter = (
  look: Look,
  what: string,
  filters: readonly object[],
  more: (folder: string, count: number) => Partial<DaemonPlan> = () => ({}),
): Interposer => ({
  key: what,
  name: `sidecore, ${what}`,
  short: what.replace(/ \(.*/, ''),
  look,
  mode: 'sidecore',
  what,
  plan: (folder, count) => ({ filters, ...more(folder, count) }),
});

/** Filters that pass everything on, of a file that is beside the daemon's configuration. */
const passing = (file: string, text: string): Interposer =>
  filter(
    'third',
    `${CHAIN} filters that pass all on`,
    Array.from({ length: CHAIN }, () => ({ use: `./${file}` })),
    (folder) => {
      writeFileSync(join(folder, file), text);
      return {};
    },
  );
const METER = filter('sidecore-light', 'meter', [{ use: 'meter' }]);

/** Limits that nobody reaches: what is measured is what it takes to look at them. */
const THROTTLE = filter('fifth', 'throttle', [{ use: 'throttle', options: { iops: 1e9, bps: '1000GB', burst: 10 } }]);

/** LUKS1 images on tmpfs; all others have their disks in memory. */
const encrypt = filter('fourth', 'encrypt (AES-256-XTS, files on tmpfs)', [], (folder, count) => {
  mkdirSync(folder, { recursive: true });
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, PASSPHRASE, { mode: 0o600 });
  const header = makeLuks1({ passphrase: Buffer.from(PASSPHRASE), iterations: ITERATIONS }).bytes;
  const path = (index: number) => join(folder, `${index}.luks`);
  for (let i = 0; i < count; i++) {
    writeFileSync(path(i), header);
    truncateSync(path(i), header.length + diskBytesOf(i));
  }
  return {
    backend: (index) => ({ type: 'file', path: path(index) }),
    filters: [{ use: 'encrypt', options: { key_file: keyFile } }],
  };
});

const firewall = filter('fourth', `firewall (${RULES} rules, connections)`, [
  { use: 'firewall', options: { rules: securityGroup(RULES) } },
]);

/** Those of disks, and those of cards: there on the guests', not on their partners'. */
export const INTERPOSERS: Readonly<Record<Workload['device'], readonly Interposer[]>> = {
  disk: [BASELINE, NOTHING, METER, passing('pass.ts', PASS_FILTER), THROTTLE, encrypt],
  cards: [BASELINE, NOTHING, METER, passing('pass-frames.ts', PASS_FRAMES), firewall],
};
