/** Front ends that come, go, come back, and come in twos; and a daemon that goes to them. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { close } from '../../src/host/libc.js';
import { acceptUnix, connectUnix, listenUnix } from '../../src/host/unix-socket.js';
import { SECOND_FRONT_END_GRACE_MS } from '../../src/limits.js';
import { Connection } from '../../src/vhost-user/connection.js';
import { Endpoint, type EndpointOptions } from '../../src/vhost-user/endpoint.js';
import type { SessionSetup } from '../../src/vhost-user/session.js';
import { CleanupSteps, scratchDirectory } from '../support/daemon.js';
import { RawFrontEnd, until } from './raw-front-end.js';
import { HealthyGuest, TestDaemon } from './test-daemon.js';
import { TestGuest } from './test-guest.js';

describe('vhost-user connections', { timeout: 120_000 }, () => {
  let served: TestDaemon;
  let listenAt: string;
  const cleanup = new CleanupSteps();
  before(async () => {
    listenAt = join(scratchDirectory(cleanup), 'vmm.sock');
    served = await TestDaemon.start(cleanup, {
      vm: { disks: { d: { queues: 2 } } },
      other: { disks: { d: {} } },
      vmm: { disks: { d: { role: 'client', socket: listenAt } } },
    });
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    assert.ok(!existsSync(served.socket('vm')), 'the socket is gone with the daemon');
    await cleanup.run();
  });

  function newGuest(test: TestContext, queues = 1): TestGuest {
    const guest = new TestGuest({ queues });
    test.after(() => guest.close());
    return guest;
  }

  async function bringUp(guest: TestGuest): Promise<void> {
    await guest.negotiate();
    await guest.shareMemory();
    for (const queue of guest.queues) await guest.startQueue(queue);
  }

  it('a guest loses its connection again and again, under load, and loses nothing else', async (test) => {
    const healthy = await HealthyGuest.start(test, served.socket('other'));
    const guest = newGuest(test, 2);
    const before = await served.heldAtRest();
    for (let round = 0; round < 60; round++) {
      await guest.connect(served.socket('vm'));
      await bringUp(guest);
      for (const queue of guest.queues) await queue.writeAndRead();
      for (const queue of guest.queues) queue.submitWrites();
      // What the back end has not taken by then it takes on the next connection.
      guest.disconnect();
      await guest.connect(served.socket('vm'));
      await bringUp(guest);
      for (const queue of guest.queues) await queue.complete();
      for (const queue of guest.queues) await queue.readBack();
      guest.disconnect();
      healthy.run(1);
    }
    const { sessions } = await served.untilDisk('vm', (disk) => !disk.connected, 'the last one has left');
    assert.equal(sessions, 120);
    await served.expectHeld(before, 'nothing is left of 120 connections');
    healthy.finish();
  });

  it('a second front end is turned away after a while, and the first does not notice', async (test) => {
    const guest = newGuest(test);
    await guest.connect(served.socket('vm'));
    await bringUp(guest);
    // Until it has been answered, the daemon may still be at the end of the session before.
    await guest.queue.writeAndRead();
    const { sessions } = await served.disk('vm');
    const second = await RawFrontEnd.connect(served.socket('vm'));
    const turnedAway = second.expectClosed('the grace');
    let done = false;
    void turnedAway.finally(() => (done = true));
    while (!done) {
      await guest.queue.writeAndRead();
      await sleep(5);
    }
    await turnedAway;
    const status = await served.disk('vm');
    assert.equal(status.sessions, sessions);
    assert.equal(status.last_fault?.code, 'SOCKET_BUSY');
    assert.match(status.last_fault.text, new RegExp(`process ${process.pid}\\b`));
    await guest.queue.writeAndRead();
  });

  it('a second front end is served as soon as the first has left', async (test) => {
    const first = newGuest(test);
    await first.connect(served.socket('vm'));
    await bringUp(first);
    const second = newGuest(test);
    await second.connect(served.socket('vm'));
    const up = bringUp(second);
    await sleep(SECOND_FRONT_END_GRACE_MS / 5);
    await first.queue.writeAndRead();
    first.disconnect();
    await up;
    await second.queue.writeAndRead();
  });

  it('as client it finds a VMM that listens later, goes away, and comes back', async (test) => {
    assert.equal((await served.disk('vmm')).connected, false);
    const guest = newGuest(test);
    for (let life = 0; life < 3; life++) {
      const listening = listenUnix(listenAt);
      for (let session = 0; session < 2; session++) {
        let fd = -1;
        await until(() => (fd = acceptUnix(listening)) >= 0, 'the daemon comes');
        guest.front = new RawFrontEnd(new Connection(fd));
        await bringUp(guest);
        await guest.queue.writeAndRead();
        guest.disconnect();
      }
      close(listening);
      // The first time the file stays, as a VMM that was killed leaves it.
      if (life === 0) await served.untilDisk('vmm', (disk) => !disk.connected, 'the daemon notices');
      rmSync(listenAt);
    }
    assert.equal((await served.disk('vmm')).sessions, 6);
  });

  it('a connection that ends at once, or in the middle of a message, leaves nothing behind', async () => {
    await served.untilDisk('vm', (disk) => !disk.connected, 'nobody is there');
    const before = await served.heldAtRest();
    for (let round = 0; round < 50; round++) {
      const { connection } = await RawFrontEnd.connect(served.socket('vm'));
      if (round % 2 === 1) await connection.send(5, 0, Buffer.alloc(round), [0, 1]);
      connection.close();
    }
    await served.expectHeld(before, 'descriptors');
  });
});

describe('the socket of a device', () => {
  const setup = { device: { options: { queues: 1 } } } as unknown as SessionSetup;
  const start = (options: EndpointOptions) => new Endpoint(options, setup).start();

  it('takes the place of one that a dead process has left', async (test) => {
    const path = join(scratchDirectory(test), 's');
    close(listenUnix(path));
    const endpoint = new Endpoint({ path, role: 'server', mode: 0o600 }, setup);
    endpoint.start();
    const fd = connectUnix(path);
    assert.ok(fd >= 0);
    close(fd);
    await endpoint.stop();
    assert.ok(!existsSync(path));
  });

  it('leaves alone what another process has put in its place', async (test) => {
    const path = join(scratchDirectory(test), 's');
    const endpoint = new Endpoint({ path, role: 'server' }, setup);
    endpoint.start();
    rmSync(path);
    writeFileSync(path, 'other');
    await endpoint.stop();
    assert.ok(existsSync(path));
  });

  it('is refused where somebody listens, where something else is, and where no socket can be', (test) => {
    const directory = scratchDirectory(test);
    const busy = join(directory, 'busy');
    const listening = listenUnix(busy);
    test.after(() => close(listening));
    const file = join(directory, 'file');
    writeFileSync(file, '');
    assert.throws(() => start({ path: busy, role: 'server' }), { code: 'SOCKET_BUSY' });
    assert.throws(() => start({ path: file, role: 'server' }), { code: 'SOCKET_INVALID' });
    assert.throws(() => start({ path: join(directory, 'no', 's'), role: 'server' }), { code: 'SOCKET_INVALID' });
    for (const role of ['server', 'client'] as const) {
      assert.throws(() => start({ path: join(directory, 'x'.repeat(108)), role }), { code: 'SOCKET_INVALID' });
    }
  });
});
