// The test command: sets up what the real-guest tests need, then runs every test on this Node, and on Node 26 those that depend on it.
//   npm test                     everything
//   npm test -- PATTERN...       only files whose path contains one of the patterns
//   npm test -- --this-node      not on Node 26 as well
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const args = process.argv.slice(2);
const thisNodeOnly = args.includes('--this-node');
const patterns = args.filter((arg) => !arg.startsWith('--'));
const unknown = args.filter((arg) => arg.startsWith('--') && arg !== '--this-node');
if (unknown.length > 0) {
  console.error(`npm test: unknown option ${unknown.join(' ')}. Options: --this-node, and patterns of file names.`);
  process.exit(2);
}

const setup = spawnSync(process.execPath, ['scripts/setup.mjs'], { stdio: 'inherit' });
if (setup.status !== 0) process.exit(setup.status ?? 1);

const files = readdirSync('dist', { recursive: true })
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
  .map((file) => join('dist', file))
  .sort();
if (files.length === 0) {
  console.error(`npm test: no test file matches ${patterns.join(' ')}`);
  process.exit(2);
}

/**
 * What depends on the Node, and runs on both: units, rings, and what threads, views of memory and compiled code have to do with. All
 * else sees no Node (real guests, peers, readers of captures), or would take everything together beyond half an hour.
 */
const ON_BOTH = [
  'examples/',
  'src/block/',
  'src/daemon/',
  'src/errors',
  'src/filter/',
  'src/filters/block/[^es]',
  'src/filters/block/encrypt/(af-splitter|discards|filter|xts)',
  'src/filters/net/',
  'src/guest',
  'src/host/',
  'src/net/',
  'src/scheduler/',
  'src/sidecore/',
  'src/virtio/',
  'test/architecture',
  'test/conformance/(filter-faults|filter-helpers|filter-requests|port)\\.test',
  'test/net/(concurrent|crossing-ring|filtered-cards|hostile|hostile-frames|hostile-rings|rings|switch|two-sidecores)\\.test',
  'test/sidecore/(filters|held-queues|watchdog)\\.test',
  'test/vhost-user/(fuzz|hostile-guest)\\.test',
].map((pattern) => new RegExp(`^dist/${pattern}`));
/** How much of what a failed test said is said again at the end. */
const WHY_CHARS_MAX = 2_000;

const node26 = '.cache/node26/bin/node';
const nodes = [process.execPath];
const isNode26 = process.versions.node.startsWith('26.');
if (!thisNodeOnly && !isNode26 && existsSync(node26)) nodes.push(node26);
const total = { passed: 0, failed: 0, skipped: [], failures: [] };
/** How many of the files that took longest are named. */
const LONGEST = 12;
const scratch = mkdtempSync(join(tmpdir(), 'sidecore-test-'));
for (const [index, node] of nodes.entries()) {
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
  const chosen = index === 0 ? files : files.filter((file) => ON_BOTH.some((pattern) => pattern.test(file)));
  if (chosen.length === 0) continue;
  console.log(`\n== ${chosen.length} test files on Node ${version}`);
  if (chosen.length < files.length)
    console.log('   those that depend on the Node; the others have run on the first one');
  const countsFile = join(scratch, `${index}.json`);
  const run = spawnSync(node, ['scripts/run-tests.mjs', countsFile, ...chosen], { stdio: 'inherit' });
  if (!existsSync(countsFile)) {
    console.error(`the test run on Node ${version} ended without a result (${run.signal ?? run.status})`);
    total.failed++;
    continue;
  }
  const counts = JSON.parse(readFileSync(countsFile, 'utf8'));
  if (counts.passed + counts.failed + counts.skipped.length === 0) total.failed++;
  const times = Object.entries(counts.seconds).sort(([, one], [, other]) => other - one);
  const sum = times.reduce((seconds, [, more]) => seconds + more, 0);
  console.log(`\n${Math.round(sum)} s on Node ${version}; longest:`);
  for (const [file, seconds] of times.slice(0, LONGEST)) console.log(`  ${Math.round(seconds)} s  ${file}`);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped.push(...counts.skipped.map((skip) => ({ ...skip, version })));
  total.failures.push(...counts.failures.map((failure) => ({ ...failure, version })));
}
rmSync(scratch, { recursive: true });

for (const { name, file, why, version } of total.failures) {
  console.log(`failed: ${name} (${file}, Node ${version}) ${why.slice(0, WHY_CHARS_MAX)}`);
}
for (const { name, why, version } of total.skipped) console.log(`skipped: ${name} (Node ${version}) ${why}`);
const missing26 = !thisNodeOnly && !isNode26 && nodes.length === 1;
if (missing26) console.log('skipped: everything on Node 26, which the set-up could not install');
// In CI the real guests and the second Node are there, or something is wrong.
const leftOut = missing26 || total.skipped.some(({ file }) => file.includes('real-guest'));
if (process.env.CI === 'true' && leftOut) {
  console.log('CI: a skipped real-guest test or Node counts as a failure');
  total.failed++;
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
process.exit(total.failed > 0 ? 1 : 0);
