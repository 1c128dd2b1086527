import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { allowedCpus, moveThread, threadId } from './affinity.js';
import { cpuNsOf, threadCpuNs } from './clock.js';
import { pingCpus, waitsInCall } from './thread-probe.js';

const WAIT_MS_MAX = 10_000;

/** A thread that waits, or runs, from the moment that it has said its number. */
async function start(test: TestContext, does: string): Promise<number> {
  const affinity = JSON.stringify(new URL('./affinity.js', import.meta.url).href);
  const text = `import(${affinity}).then(({ threadId }) => {
    require('node:worker_threads').parentPort.postMessage(threadId());
    ${does}
  });`;
  const worker = new Worker(text, { eval: true });
  test.after(() => worker.terminate());
  return new Promise((resolve) => worker.once('message', resolve));
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS_MAX; !holds(); await sleep(1)) assert.ok(Date.now() < deadline, what);
}

it('a thread that waits is told from one that runs', async (test) => {
  const waiting = await start(test, 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);');
  const running = await start(test, 'for (;;);');
  await until(() => waitsInCall(waiting), 'it waits');
  const before = cpuNsOf(running);
  await until(() => cpuNsOf(running) - before > 5e6, 'it has its CPU');
  assert.ok(!waitsInCall(running));
  const waited = cpuNsOf(waiting);
  await sleep(5);
  assert.equal(cpuNsOf(waiting), waited);
});

it('the CPU time of this thread is the same by its number', () => {
  const before = threadCpuNs();
  const ours = cpuNsOf(threadId());
  assert.ok(before <= ours && ours <= threadCpuNs());
});

it('of a thread that is not there nothing is said', () => {
  assert.equal(waitsInCall(0x3fffffff), false);
});

it('CPUs answer', () => {
  const ns = pingCpus();
  assert.ok(ns >= 0 && ns < 1e10);
});

it('a thread is moved to other CPUs by its number, and one that is not there is no error', () => {
  const all = allowedCpus();
  try {
    moveThread(threadId(), all.slice(-1));
    assert.deepEqual(allowedCpus(), all.slice(-1));
    moveThread(0, all);
    moveThread(2 ** 30, all);
    moveThread(threadId(), []);
    assert.deepEqual(allowedCpus(), all.slice(-1));
  } finally {
    moveThread(threadId(), all);
  }
  assert.deepEqual(allowedCpus(), all);
});
