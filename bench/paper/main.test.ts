import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allowedCpus } from '../../src/host/affinity.js';
import type { Evaluation } from './results.js';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const skip = allowedCpus().length < 2 ? 'needs two CPUs' : false;

describe('the evaluation in one command', { skip, timeout: 120_000 }, () => {
  let folder: string;
  /** What it makes for itself goes here. */
  let scratch: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'paper-'));
    scratch = mkdtempSync(join(tmpdir(), 'paper-'));
  });
  after(() => {
    for (const path of [folder, scratch]) rmSync(path, { recursive: true });
  });

  const start = (...args: string[]): ChildProcess =>
    spawn(process.execPath, [MAIN, '--short', '--out', folder, ...args], {
      env: { ...process.env, TMPDIR: scratch },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  /** What it wrote, and how it ended. */
  const ended = (child: ChildProcess): Promise<{ code: number | null; output: string }> => {
    let output = '';
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
  };

  it('writes a page, a summary and the raw values of every mode', async () => {
    const { code, output } = await ended(start('--only', '2', '--seed', '7'));
    assert.equal(code, 0, output);
    assert.match(output, /claims hold here/);
    const evaluation = JSON.parse(readFileSync(join(folder, 'paper.json'), 'utf8')) as Evaluation;
    assert.equal(evaluation.seed, 7);
    const [experiment] = evaluation.experiments;
    assert.equal(experiment!.number, 2);
    const workloads = new Set(experiment!.raw.map(({ workload }) => workload));
    assert.deepEqual([...workloads].sort(), ['block-1', 'block-32', 'request-response', 'stream-1500', 'stream-64k']);
    for (const workload of workloads) {
      const points = experiment!.raw.filter((point) => point.workload === workload);
      assert.deepEqual(points.map(({ contender }) => contender).sort(), [
        'adaptive-sleeping',
        'baseline',
        'baseline-polling',
        'direct',
        'sidecore',
        'sidecore-sleeping',
      ]);
      for (const { windows } of points) {
        assert.equal(windows.length, 1);
        assert.equal(windows[0]!.guests.length, 2);
      }
    }
    const of = (contender: string) => experiment!.raw.filter((point) => point.contender === contender);
    // In one window of 20 ms threads that share a CPU may do nothing, but not in all of them.
    for (const { contender } of experiment!.raw)
      assert.ok(
        of(contender).some(({ windows }) => windows[0]!.perSecond > 0),
        contender,
      );
    // Whoever polls is not called, and whom a sidecore polls need not kick.
    for (const { windows } of of('sidecore'))
      assert.deepEqual([windows[0]!.kicksPerSecond, windows[0]!.callsPerSecond], [0, 0]);
    for (const { workload, windows } of of('baseline').filter(({ workload }) => workload === 'block-1'))
      assert.ok(windows[0]!.kicksPerRequest > 0 && windows[0]!.callsPerRequest > 0, workload);
    const page = readFileSync(join(folder, 'paper.html'), 'utf8');
    assert.match(page, /^<!doctype html>[\s\S]*<\/html>\n$/);
    assert.match(page, /href="paper\.json"/);
    const simulated = experiment!.simulated!.length;
    assert.ok(simulated > 0);
    assert.equal(page.match(/<figure>/g)!.length, workloads.size + simulated);
    assert.doesNotMatch(page, /NaN|undefined|src=|<script|@import/);
    const summary = readFileSync(join(folder, 'paper.md'), 'utf8');
    assert.match(summary, /^# The paper’s evaluation/);
    for (const [, row] of summary.matchAll(/^\| (.*) \|$/gm)) assert.ok(!row!.includes('undefined'), row);
    assert.deepEqual(readdirSync(scratch), []);
  });

  it('switches idle guests on and off in one daemon of each mode, and looks at them or not without any', async () => {
    const { code, output } = await ended(start('--only', '5'));
    assert.equal(code, 0, output);
    const [experiment] = (JSON.parse(readFileSync(join(folder, 'paper.json'), 'utf8')) as Evaluation).experiments;
    assert.deepEqual(
      experiment!.raw.map(({ contender }) => contender),
      ['sidecore', 'adaptive', 'baseline', 'direct'].flatMap((mode) => [
        `${mode}, idle guests off`,
        `${mode}, idle guests on`,
      ]),
    );
    for (const { contender, windows, at } of experiment!.raw) {
      assert.ok(windows.length > 0 && windows.every(({ perSecond }) => perSecond > 0), contender);
      assert.equal(at['idle'], 2);
    }
    // Queues without work for longer than they are polled are not polled any more.
    const polled = experiment!.tables[0]!.rows.map((row) => [row[0], row.at(-1)]);
    assert.deepEqual(polled.slice(0, 3), [
      ['sidecore', '0'],
      ['adaptive', '0'],
      ['baseline, guests sleep', '0'],
    ]);
    assert.doesNotMatch(readFileSync(join(folder, 'paper.html'), 'utf8'), /NaN|undefined/);
  });

  it('interposes filters, of which each lets all requests through', async () => {
    const { code, output } = await ended(start('--only', '6'));
    assert.equal(code, 0, output);
    const [experiment] = (JSON.parse(readFileSync(join(folder, 'paper.json'), 'utf8')) as Evaluation).experiments;
    const of = (wanted: string) =>
      experiment!.raw
        .filter(({ workload }) => workload === wanted)
        .map(({ contender }) => contender.replace(/ \(.*/, ''));
    const passing = '8 filters that pass all on';
    assert.deepEqual(of('block-32').sort(), [passing, 'baseline', 'encrypt', 'meter', 'sidecore', 'throttle'].sort());
    assert.deepEqual(of('request-response').sort(), [passing, 'baseline', 'firewall', 'meter', 'sidecore'].sort());
    for (const { contender, windows } of experiment!.raw)
      assert.ok(windows.length > 0 && windows.every(({ perSecond }) => perSecond > 0), contender);
    assert.equal(experiment!.tables.length, 2);
    assert.doesNotMatch(readFileSync(join(folder, 'paper.html'), 'utf8'), /NaN|undefined/);
    assert.deepEqual(readdirSync(scratch), []);
  });

  it('leaves nothing behind when it is interrupted, and says so', async () => {
    const child = start('--only', '3');
    const end = ended(child);
    await new Promise((resolve) => child.stderr!.once('data', resolve));
    // Twice at once, as a terminal and npm do it.
    child.kill('SIGINT');
    child.kill('SIGINT');
    const { code, output } = await end;
    assert.equal(code, 130, output);
    assert.match(output, /Interrupted: the daemons have ended, their folders are removed, nothing was written/);
    assert.deepEqual(readdirSync(scratch), []);
  });

  it('explains itself, and refuses experiments that there are not', async () => {
    const help = await ended(start('--help'));
    assert.equal(help.code, 0);
    for (const option of ['--quick', '--only', '--out', '--json', '--seed'])
      assert.match(help.output, new RegExp(option));
    const wrong = await ended(start('--only', '9'));
    assert.equal(wrong.code, 1);
    assert.match(wrong.output, /There are the experiments 1, 2, 3, 4, 5/);
  });
});
