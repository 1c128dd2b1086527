/** Guests of the daemon that talk through its switch. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { CleanupSteps } from '../support/daemon.js';
import { BROADCAST, makeFrame } from '../support/frames.js';
import { until } from '../vhost-user/raw-front-end.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';
import { connectGuest, next } from './guests.js';

for (const mode of ['sidecore', 'adaptive'] as const) {
  describe(`a switch, mode ${mode}`, { timeout: 60_000 }, () => {
    let served: TestDaemon;
    const cleanup = new CleanupSteps();
    const nic = { nics: { n: {} } };
    before(async () => {
      served = await TestDaemon.start(
        cleanup,
        { a: nic, b: nic, c: nic, other: { nics: { n: { network: 'other' } } } },
        mode,
      );
    });
    after(async () => {
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      await cleanup.run();
    });

    const guest = (test: TestContext, vm: string, options: { buffers?: number; bufferBytes?: number } = {}) =>
      connectGuest(test, { socket: served.socket(vm, 'n'), ...options });
    const port = async (vm: string) => ((await served.status()) as DaemonStatus).nics[vm]!.n!;

    it('floods what it does not know, and learns', async (test) => {
      const [a, b, c, other] = await Promise.all(['a', 'b', 'c', 'other'].map((vm) => guest(test, vm)));
      const hello = makeFrame(BROADCAST, a!.mac, 60, 1);
      a!.send(hello);
      a!.tx.publish();
      assert.deepEqual(await next(b!, 'b hears a broadcast'), hello);
      assert.deepEqual(await next(c!, 'c hears it too'), hello);
      const answer = makeFrame(a!.mac, b!.mac, 1514, 2);
      b!.send(answer);
      b!.tx.publish();
      assert.deepEqual(await next(a!, 'a is answered'), answer);
      // What c hears next is what was sent to it, and not that answer; nobody else hears it, though c has not said a word.
      const direct = makeFrame(c!.mac, a!.mac, 64, 3);
      a!.send(direct);
      a!.tx.publish();
      assert.deepEqual(await next(c!, 'c is spoken to'), direct);
      // Nobody knows where a stranger is, so everybody hears what is for it.
      const stranger = makeFrame(Buffer.from('525400ffffff', 'hex'), a!.mac, 64, 4);
      a!.send(stranger);
      a!.tx.publish();
      assert.deepEqual(await next(b!, 'b hears what is for a stranger'), stranger);
      assert.deepEqual(await next(c!, 'and so does c'), stranger);
      assert.equal(a!.receive(), undefined);
      assert.equal(other!.receive(), undefined, 'another network hears nothing');
    });

    it('carries frames of every length, in order', async (test) => {
      const [a, b] = await Promise.all(['a', 'b'].map((vm) => guest(test, vm, { bufferBytes: 256 })));
      b!.send(makeFrame(BROADCAST, b!.mac, 60, 0));
      b!.tx.publish();
      await next(a!, 'b is known');
      for (let length = 14; length <= 240; length += 1) {
        const sent = makeFrame(b!.mac, a!.mac, length, length);
        assert.ok(a!.send(sent));
        a!.tx.publish();
        assert.deepEqual(await next(b!, `${length} bytes`), sent);
      }
    });

    it('spreads a frame over buffers, and drops what does not fit, of that receiver only', async (test) => {
      const a = await guest(test, 'a', { bufferBytes: 4096 });
      const small = await guest(test, 'b', { buffers: 4, bufferBytes: 512 });
      const c = await guest(test, 'c', { bufferBytes: 4096 });
      const before = await port('b');
      const long = makeFrame(BROADCAST, a.mac, 1600, 9);
      a.send(long);
      a.tx.publish();
      assert.deepEqual(await next(small, 'four buffers hold it'), long);
      assert.deepEqual(await next(c, 'one does'), long);
      const longer = makeFrame(BROADCAST, a.mac, 3000, 10);
      a.send(longer);
      a.tx.publish();
      assert.deepEqual(await next(c, 'c has room'), longer);
      a.send(long);
      a.tx.publish();
      assert.deepEqual(await next(small, 'its buffers are still there'), long);
      assert.equal((await port('b')).dropped_no_buffer - before.dropped_no_buffer, 1);
    });

    it('drops what is no frame, and counts it', async (test) => {
      const a = await guest(test, 'a');
      const before = await port('a');
      for (const length of [0, 1, 13]) a.send(Buffer.alloc(length));
      a.tx.publish();
      await until(
        async () => (await port('a')).dropped_malformed === before.dropped_malformed + 3,
        'three are counted',
      );
      const b = await guest(test, 'b');
      const good = makeFrame(BROADCAST, a.mac, 60, 4);
      a.send(good);
      a.tx.publish();
      assert.deepEqual(await next(b, 'the next one passes'), good);
    });
  });
}
