/** A queue whose request takes long is not let go of in time: its sidecore serves it on, and lets go of it later. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { moveQueue } from '../../src/daemon/move.js';
import { MoveLock } from '../../src/daemon/move-lock.js';
import { PlacedQueue } from '../../src/daemon/placed-device.js';
import { signal } from '../../src/host/eventfd.js';
import { IoUring } from '../../src/host/io-uring.js';
import { QueueCounter } from '../../src/virtio/queue-state.js';
import { scratchDirectory } from '../support/daemon.js';
import { until } from '../vhost-user/raw-front-end.js';
import { guestOf, queueOf, startCore } from './one-queue.js';

const refused = (() => {
  const ring = IoUring.create(1);
  ring?.close();
  return ring === undefined ? 'the kernel refuses io_uring' : false;
})();
const SECTOR = Buffer.alloc(512, 0xa5);

for (const kicked of [true, false])
  it(`a queue stays that has a slow request, and moves after it: ${kicked ? 'kicked' : 'without kicks'}`, {
    timeout: 20_000,
    skip: refused,
  }, async (test) => {
    const { ram, kickFd } = guestOf(test);
    const [from, to] = [startCore(), startCore()];
    test.after(() => Promise.all([from, to].map(({ core }) => core.stop())));
    // Nothing comes out of it before something is put in.
    const path = join(scratchDirectory(test), 'disk');
    execFileSync('mkfifo', [path]);
    const fd = openSync(path, 'r+');
    test.after(() => closeSync(fd));
    const memory = () => new SharedArrayBuffer(8);
    const { spec, ring } = queueOf(ram, kickFd, {
      type: 'file',
      fd,
      engine: 'io_uring',
      memoryAlignBytes: 1,
      canPunch: false,
      lostWrites: memory(),
      ioErrors: memory(),
    });
    const faults: number[] = [];
    const onFault = (fault: number) => faults.push(fault);
    const queue = new PlacedQueue({ ...spec, kickFd: kicked ? kickFd : -1 }, onFault, new MoveLock());
    await queue.enter(from.core);
    await until(() => queue.counters[QueueCounter.REQUESTS] === 1, 'the request is taken');
    assert.equal(await moveQueue(queue, to.core), false);
    assert.equal(queue.core, from.core);
    assert.equal(from.core.queueCount, 1);
    writeSync(fd, SECTOR);
    await until(() => ring.take() === 0, 'the request comes back');
    // And the next one too.
    ring.add(0);
    if (ring.publish()) signal(kickFd);
    writeSync(fd, SECTOR);
    await until(() => ring.take() === 0, 'the next one does');
    assert.equal(await moveQueue(queue, to.core), true);
    assert.equal(queue.core, to.core);
    assert.deepEqual([from.core.queueCount, to.core.queueCount, faults], [0, 1, []]);
    ring.add(0);
    if (ring.publish()) signal(kickFd);
    writeSync(fd, SECTOR);
    await until(() => ring.take() === 0, 'it is served there');
  });
