// Runs compiled test files one after the other with Node's own test runner, prints every test, and writes the counts as
// JSON to the file named first. Usage: node scripts/run-tests.mjs COUNTS FILE...
import { writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const [countsFile, ...files] = process.argv.slice(2);
/** A file that takes longer hangs: it is ended and counts as failed. The longest takes about six minutes. */
const FILE_TIMEOUT_MS = Number(process.env.FILE_TIMEOUT_MS ?? 15 * 60_000);
const counts = { passed: 0, failed: 0, skipped: [], failures: [], seconds: {} };

/**
 * One file at a time: sidecores poll, and two of them on one CPU would wait for each other's time slices. Each has a run of
 * its own, for only a run as a whole can be ended when its process does not answer any more.
 */
async function* events() {
  for (const file of files) {
    const start = performance.now();
    for await (const event of run({ files: [file], signal: AbortSignal.timeout(FILE_TIMEOUT_MS) })) {
      count(event.type, event.data);
      if (!isTotal(event)) yield event;
    }
    counts.seconds[file] = (performance.now() - start) / 1000;
  }
}

function count(type, data) {
  if (data.details?.type === 'suite') return;
  if (type === 'test:fail') {
    counts.failed++;
    const { cause, message } = data.details.error;
    counts.failures.push({ name: data.name, file: data.file ?? '', why: String(cause?.message ?? message) });
  }
  if (type !== 'test:pass') return;
  if (data.skip === undefined) counts.passed++;
  else counts.skipped.push({ name: data.name, why: String(data.skip || ''), file: data.file ?? '' });
}

/** What a run says of itself at its end: how many tests it had and how long they took. */
function isTotal({ type, data }) {
  return type === 'test:summary' || (type === 'test:diagnostic' && data.nesting === 0 && data.line === undefined);
}

Readable.from(events()).compose(new spec()).pipe(process.stdout);
process.on('exit', () => {
  writeFileSync(countsFile, JSON.stringify(counts));
  if (counts.failed > 0) process.exitCode = 1;
});
