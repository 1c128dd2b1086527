/** The demo as a newcomer runs it: a process of its own, with a daemon of its own. Figures are not judged. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Cleanup, scratchDirectory } from './support/daemon.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const TIMEOUT_MS = 120_000;

interface Demo {
  readonly child: ChildProcess;
  readonly ended: Promise<{ status: number | null; stdout: string; stderr: string }>;
  /** Where it was told to put everything. */
  readonly directory: string;
}

function start(test: Cleanup, ...args: string[]): Demo {
  const directory = scratchDirectory(test);
  const places = ['--scratch', directory, '--report', join(directory, 'report.html')];
  const child = spawn(process.execPath, [MAIN, 'demo', ...places, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  test.after(() => void child.kill('SIGKILL'));
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  const ended = once(child, 'close').then(([status]) => ({ status: status as number | null, ...texts }));
  return { child, ended, directory };
}

/** Waits until the first run's load is under way. */
async function running({ directory }: Demo): Promise<string> {
  for (;;) {
    const scratch = readdirSync(directory).find((name) => name.startsWith('sidecore-demo-'));
    const path = join(directory, scratch ?? '', 'run', 'guest1.disk0.sock');
    if (scratch !== undefined && existsSync(path)) return join(directory, scratch);
    await sleep(20);
  }
}

test('the demo compares three runs of verified load, and leaves nothing but its report', {
  timeout: TIMEOUT_MS,
}, async (test) => {
  const demo = start(test, '--seconds', '1', '--guests', '2', '--json');
  const { status, stdout, stderr } = await demo.ended;
  assert.equal(status, 0, stdout + stderr);
  assert.equal(stderr, '');
  const { ok, problems, runs, against_baseline, report } = JSON.parse(stdout);
  assert.deepEqual({ ok, problems }, { ok: true, problems: [] });
  assert.deepEqual(
    runs.map(({ run, mode, guests }: { run: string; mode: string; guests: { name: string }[] }) => [
      run,
      mode,
      ...guests.map(({ name }) => name),
    ]),
    [
      ['polled', 'sidecore', 'guest1', 'guest2'],
      ['called', 'sidecore', 'guest1', 'guest2'],
      ['baseline', 'baseline', 'guest1', 'guest2'],
    ],
  );
  for (const { run, all, guests } of runs) {
    assert.ok(all.requests > 0 && all.checked > 0, run);
    assert.equal(all.mismatches + all.errors, 0, run);
    assert.equal(
      all.requests,
      guests.reduce((sum: number, { requests }: { requests: number }) => sum + requests, 0),
    );
  }
  const [polled, called, baseline] = runs;
  assert.equal(polled.all.kicks_per_request + polled.all.calls_per_request, 0, 'polling needs no notifications');
  assert.equal(called.all.kicks_per_request, 0, 'a sidecore needs no kicks');
  assert.ok(
    called.all.calls_per_request > 0 && baseline.all.kicks_per_request > 0 && baseline.all.calls_per_request > 0,
  );
  assert.deepEqual(Object.keys(against_baseline), ['polled', 'called']);
  assert.equal(report, join(demo.directory, 'report.html'));
  assert.match(readFileSync(report, 'utf8'), /all were right/);
  assert.deepEqual(readdirSync(demo.directory), ['report.html']);
});

test('data that are not what was written make the demo fail', { timeout: TIMEOUT_MS }, async (test) => {
  const demo = start(test, '--seconds', '2', '--guests', '1');
  const scratch = await running(demo);
  // Reads beyond the end of the image fail, and what was written there is gone.
  const image = join(scratch, 'guest1.img');
  const end = setInterval(() => existsSync(image) && truncateSync(image, 4096), 50);
  const { status, stdout } = await demo.ended.finally(() => clearInterval(end));
  assert.equal(status, 1, stdout);
  assert.match(stdout, /^FAILED: guest1: \d+ /m);
  assert.deepEqual(readdirSync(demo.directory), ['report.html']);
});

test('Ctrl-C stops the demo and its daemon, and removes the scratch folder', { timeout: TIMEOUT_MS }, async (test) => {
  const demo = start(test, '--seconds', '60', '--guests', '1');
  const scratch = await running(demo);
  demo.child.kill('SIGINT');
  const { status, stderr } = await demo.ended;
  assert.equal(status, 130);
  assert.match(stderr, /interrupted/);
  assert.deepEqual(readdirSync(demo.directory), []);
  const daemons = readdirSync('/proc').filter((pid) => commandLine(pid).includes(scratch));
  assert.deepEqual(daemons, []);
});

test('what cannot be done is said in one line', { timeout: TIMEOUT_MS }, async (test) => {
  const { status, stderr } = await start(test, '--cpu', '1023').ended;
  assert.equal(status, 1);
  assert.match(stderr, /^sidecore: CPU 1023 cannot be used: .*\[CPU_UNUSABLE\]\n {2}Choose another with --cpu,/);
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
