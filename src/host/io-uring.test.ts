import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { EPOLLIN, Epoll } from './epoll.js';
import { createEventFd, signal } from './eventfd.js';
import { IoUring, type IoUringHandles, type IoUringOptions, Operation, retireIoUring, UringOp } from './io-uring.js';
import { close } from './libc.js';
import { mapAnonymous, PAGE_BYTES, unmap } from './memory-map.js';
import { viewBytes, viewWords32 } from './memory-view.js';

const operation = new Operation();
const refused = IoUring.create(1);
const skip = refused === undefined ? 'the kernel refuses io_uring' : false;
refused?.close();

/** Submits and reaps until `count` completions are there; calls `each` for every one. */
function finish(ring: IoUring, count: number, each: (data: number, result: number) => void = () => {}): void {
  const deadline = Date.now() + 10_000;
  for (let done = 0; done < count; ) {
    ring.submit();
    const reaped = ring.reap();
    for (let i = 0; i < reaped; i++) each(ring.completedData[i]!, ring.completedResult[i]!);
    done += reaped;
    assert.ok(Date.now() < deadline, `${count - done} completions are missing`);
  }
}

function withRing(entries: number, options: IoUringOptions, test: (ring: IoUring) => void): void {
  const ring = IoUring.create(entries, options);
  assert.ok(ring);
  test(ring);
  ring.close();
}

for (const [name, options] of [
  ['submitted by system calls', {}],
  ['submitted by a polling kernel thread', { sqpollCpu: 0 }],
] as const) {
  describe(`IoUring, ${name}`, { skip }, () => {
    it('gives user data and results back', () => {
      withRing(8, options, (ring) => {
        ring.prepare(-1, operation.set(UringOp.NOP, 0, 0, 0, 0), 0xffff_ffff);
        ring.prepare(9999, operation.set(UringOp.READ, 0, 1, 0, 0), 7);
        assert.equal(ring.inFlight, 2);
        const results = new Map<number, number>();
        finish(ring, 2, (data, result) => results.set(data, result));
        assert.deepEqual(
          [...results].sort(),
          [
            [0xffff_ffff, 0],
            [7, -9],
          ].sort(),
        );
        assert.equal(ring.inFlight, 0);
      });
    });

    it('does nothing when nothing was prepared', () => {
      withRing(8, options, (ring) => {
        ring.submit();
        assert.equal(ring.reap(), 0);
        assert.equal(ring.hasCompletions, false);
      });
    });

    it('keeps 64-bit offsets and addresses', () => {
      const path = join(tmpdir(), `sidecore-uring-${process.pid}.img`);
      const fd = openSync(path, 'w+');
      const memory = mapAnonymous(PAGE_BYTES);
      try {
        const offset = 5 * 2 ** 32 + 12_345;
        ftruncateSync(fd, offset + 5);
        writeSync(fd, 'hello', offset);
        withRing(4, options, (ring) => {
          ring.prepare(fd, operation.set(UringOp.READ, memory.address, 100, offset, 0), 1);
          finish(ring, 1, (_, result) => assert.equal(result, 5));
        });
        assert.equal(viewBytes(memory.address, 5).toString(), 'hello');
      } finally {
        closeSync(fd);
        unlinkSync(path);
        unmap(memory);
      }
    });

    it('goes round its rings many times, more at once than the submission ring holds', () => {
      withRing(4, { ...options, inFlightMax: 64 }, (ring) => {
        const seen = new Uint32Array(64);
        for (let round = 0; round < 200; round++) {
          let prepared = 0;
          while (prepared < 64 && ring.prepare(-1, operation.set(UringOp.NOP, 0, 0, 0, 0), prepared)) prepared++;
          // Only a polling thread may be late.
          assert.ok(prepared === 64 || (prepared > 3 && 'sqpollCpu' in options));
          finish(ring, prepared, (data) => seen[data]!++);
        }
        assert.ok(seen.subarray(0, 4).every((count) => count === 200));
      });
    });

    it('takes no more than the completion ring holds', () => {
      withRing(8, { ...options, inFlightMax: 8 }, (ring) => {
        for (let i = 0; i < ring.inFlightMax; i++)
          assert.ok(ring.prepare(-1, operation.set(UringOp.NOP, 0, 0, 0, 0), i));
        assert.equal(ring.prepare(-1, operation.set(UringOp.NOP, 0, 0, 0, 0), 99), false);
        finish(ring, ring.inFlightMax, (data) => assert.notEqual(data, 99));
        assert.ok(ring.prepare(-1, operation.set(UringOp.NOP, 0, 0, 0, 0), 100));
        finish(ring, 1);
      });
    });

    it('wakes a sleeper in epoll_wait', () => {
      const counter = createEventFd();
      const memory = mapAnonymous(PAGE_BYTES);
      const epoll = new Epoll();
      withRing(4, options, (ring) => {
        epoll.add(ring.fd, EPOLLIN, 1);
        ring.prepare(counter, operation.set(UringOp.READ, memory.address, 8, 0, 0), 1);
        assert.ok(ring.hasCompletions, 'what is prepared has to be submitted before one sleeps');
        ring.submit();
        assert.equal(epoll.wait(20), 0);
        signal(counter);
        const deadline = Date.now() + 10_000;
        while (!ring.hasCompletions && Date.now() < deadline) epoll.wait(1000);
        finish(ring, 1, (_, result) => assert.equal(result, 8));
      });
      close(epoll.fd);
      close(counter);
      unmap(memory);
    });
  });
}

describe('IoUring.create', () => {
  it('gives undefined where the kernel refuses', () => {
    assert.equal(IoUring.create(8, { sqpollCpu: 1023 }), undefined);
  });

  it('keeps the kernel’s workers on the CPUs that it is told', { skip }, () => {
    const path = join(tmpdir(), `sidecore-workers-${process.pid}.img`);
    const fd = openSync(path, 'w+');
    withRing(4, { workerCpus: [0] }, (ring) => {
      // What may block, such as FALLOCATE, is always given to a worker.
      ring.prepare(fd, operation.set(UringOp.FALLOCATE, PAGE_BYTES, 0, 0, 0), 1);
      finish(ring, 1, (_, result) => assert.equal(result, 0));
      assert.deepEqual(workersCpus(), ['0']);
    });
    closeSync(fd);
    unlinkSync(path);
  });
});

/** The CPUs of each worker thread of the kernel in this process. */
function workersCpus(): string[] {
  const tasks = readdirSync('/proc/self/task').map((task) => readFileSync(`/proc/self/task/${task}/status`, 'utf8'));
  const workers = tasks.filter((status) => /^Name:\s*iou-wrk/.test(status));
  return workers.map((status) => /^Cpus_allowed_list:\s*(.*)$/m.exec(status)![1]!);
}

/** A thread that makes a ring, submits one read of an event counter, prepares another, says so, and ends. */
const DYING = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(({ IoUring, Operation, UringOp }) => {
    const operation = new Operation();
    const ring = IoUring.create(8, workerData.options);
    ring.prepare(workerData.fd, operation.set(UringOp.READ, workerData.address, 8, 0, 0), 1);
    ring.submit();
    ring.prepare(workerData.fd, operation.set(UringOp.READ, workerData.address + 8, 8, 0, 0), 2);
    parentPort.postMessage(ring.handles);
    if (workerData.hang) for (;;) ring.reap();
  });`;

/** A thread that reads and syncs a file as fast as it can, until it is terminated. */
const BUSY = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(({ IoUring, Operation, UringOp }) => {
    const operation = new Operation();
    const { fd, address, pieces, pieceBytes } = workerData;
    const ring = IoUring.create(16, workerData.options);
    parentPort.postMessage(ring.handles);
    for (let at = 0; ; at = (at + 1) % pieces) {
      while (!ring.prepare(fd, operation.set(UringOp.READ, address + at * pieceBytes, pieceBytes, at * pieceBytes, 0), at)) ring.reap();
      if (at === 0) while (!ring.prepare(fd, operation.set(UringOp.FSYNC, 0, 0, 0, 0), at)) ring.reap();
      ring.submit();
      ring.reap();
    }
  });`;

async function handlesOfDead(script: string, workerData: object, runMs?: number): Promise<IoUringHandles> {
  const module = new URL('./io-uring.js', import.meta.url).href;
  const worker = new Worker(script, { eval: true, workerData: { ...workerData, module } });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  const handles = await new Promise<IoUringHandles>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  if (runMs !== undefined) {
    await setTimeout(runMs);
    await worker.terminate();
  }
  await exited;
  return handles;
}

describe('retireIoUring', { skip }, () => {
  for (const options of [{}, { sqpollCpu: 0 }]) {
    for (const terminate of [false, true]) {
      const how = `${'sqpollCpu' in options ? 'polled' : 'not polled'}, thread ${terminate ? 'terminated' : 'ended'}`;
      it(`waits for what a dead thread had submitted, and for no more (${how})`, async () => {
        const fd = createEventFd();
        const memory = mapAnonymous(PAGE_BYTES);
        const words = viewWords32(memory.address, 16);
        const handles = await handlesOfDead(
          DYING,
          { fd, address: memory.address, options, hang: terminate },
          terminate ? 0 : undefined,
        );
        const emptyBefore = retireIoUring(handles, 50);
        if (emptyBefore) {
          // The kernel may cancel at once what waits for data when its thread ends.
          assert.deepEqual([...words], [0, 0, 0, 0]);
        } else {
          signal(fd);
          assert.ok(retireIoUring(handles, 5000));
        }
        signal(fd);
        await setTimeout(20);
        assert.deepEqual([words[2], words[3]], [0, 0], 'what was only prepared has run');
        close(fd);
        unmap(memory);
      });
    }
  }

  for (const options of [{}, { sqpollCpu: 0 }]) {
    it(`gives up what may wait for ever (${'sqpollCpu' in options ? 'polled' : 'not polled'})`, async () => {
      const fd = createEventFd();
      const memory = mapAnonymous(PAGE_BYTES);
      const handles = await handlesOfDead(DYING, { fd, address: memory.address, options, hang: true }, 0);
      assert.ok(retireIoUring(handles, 5000));
      signal(fd);
      await setTimeout(20);
      assert.equal(viewWords32(memory.address, 8)[0], 0, 'the read has run');
      close(fd);
      unmap(memory);
    });
  }

  it('leaves nothing behind that writes to memory, whenever the thread dies', async () => {
    const pieces = 32;
    const pieceBytes = 64 * 1024;
    const path = join(tmpdir(), `sidecore-retire-${process.pid}.img`);
    const memory = mapAnonymous(pieces * pieceBytes);
    const bytes = viewBytes(memory.address, memory.length);
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
    ftruncateSync(fd, memory.length);
    for (let round = 0; round < 10; round++) {
      const options = round % 2 === 0 ? {} : { sqpollCpu: 0 };
      const handles = await handlesOfDead(
        BUSY,
        { fd, address: memory.address, pieces, pieceBytes, options },
        round * 3,
      );
      assert.ok(retireIoUring(handles, 5000), `round ${round}`);
      bytes.fill(0xaa);
      await setTimeout(10);
      assert.ok(
        bytes.every((byte) => byte === 0xaa),
        `round ${round}`,
      );
    }
    closeSync(fd);
    unlinkSync(path);
    unmap(memory);
  });
});
