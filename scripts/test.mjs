// The test command: sets up what the real-guest tests need, then runs every test on this Node and on Node 26.
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
 * What takes longest and depends least on the Node: real guests, readers of captures and other programs do not see which one serves
 * them, a model is the same on each, and so are the rules of who moves where. With everything twice it is half an hour and more.
 */
const ONCE = [
  'bench/',
  'src/cli/',
  'src/filters/block/encrypt/luks1.test.js',
  'src/filters/block/snapshot/',
  'test/conformance/filter-block.test.js',
  'test/conformance/filter-chain.test.js',
  'test/conformance/filter-tools.test.js',
  'test/demo.test.js',
  'test/filters/',
  'test/model/',
  'test/net/capture.test.js',
  'test/net/firewall.test.js',
  'test/net/frame-filters.test.js',
  'test/net/moves.test.js',
  'test/net/tap',
  'test/real-guest/',
  'test/sidecore/hot-swap.test.js',
  'test/sidecore/kept-blocks.test.js',
  'test/sidecore/rebalance.test.js',
  'test/sidecore/snapshots.test.js',
  'test/sidecore/throttle.test.js',
  'test/sidecore/trace.test.js',
];
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
  const chosen = index === 0 ? files : files.filter((file) => !ONCE.some((path) => file.includes(path)));
  if (chosen.length === 0) continue;
  console.log(`\n== ${chosen.length} test files on Node ${version}`);
  if (chosen.length < files.length) console.log(`   without ${ONCE.join(', ')}, as far as they have run`);
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
