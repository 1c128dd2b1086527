// Runs compiled test files one after the other with Node's own test runner, prints every test, and writes the counts as
// JSON to the file named first. Usage: node scripts/run-tests.mjs COUNTS FILE...
import { writeFileSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [countsFile, ...files] = process.argv.slice(2);
const counts = { passed: 0, failed: 0, skipped: [] };

// One file at a time: sidecores poll, and two of them on one CPU would wait for each other's time slices.
const events = run({ files, concurrency: 1 });
const isLeaf = (event) => event.details?.type !== 'suite';
events.on('test:pass', (event) => {
  if (!isLeaf(event)) return;
  if (event.skip !== undefined)
    counts.skipped.push({ name: event.name, why: String(event.skip || ''), file: event.file ?? '' });
  else counts.passed++;
});
events.on('test:fail', (event) => {
  if (isLeaf(event)) counts.failed++;
});
events.compose(new spec()).pipe(process.stdout);
process.on('exit', () => {
  writeFileSync(countsFile, JSON.stringify(counts));
  if (counts.failed > 0) process.exitCode = 1;
});
