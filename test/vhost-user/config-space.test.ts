/** The device's configuration space over vhost-user: GET_CONFIG, SET_CONFIG, and word of a change. VIRTIO 1.3, 5.2.4 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { BLOCK_FEATURES } from '../../src/block/features.js';
import { close } from '../../src/host/libc.js';
import { receiveWithFds, sendWithFds } from '../../src/host/unix-socket.js';
import { decode, encode } from '../../src/vhost-user/codec.js';
import { CleanupSteps, scratchDirectory } from '../support/daemon.js';
import { socketPair } from './descriptors.js';
import { until } from './raw-front-end.js';
import { TestDaemon } from './test-daemon.js';
import { FEATURES, TestGuest } from './test-guest.js';

const MIB = 2 ** 20;
const WRITEBACK = 32;

describe('vhost-user configuration space', { timeout: 120_000 }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    const image = join(scratchDirectory(cleanup), 'image');
    served = await TestDaemon.start(cleanup, {
      vm: {
        disks: { d: { queues: 2, block_size: 4096 }, file: { backend: { type: 'file', path: image, size: 4 * MIB } } },
      },
    });
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  async function connected(test: TestContext, disk = 'd', features = FEATURES): Promise<TestGuest> {
    const guest = new TestGuest({ features });
    test.after(() => guest.close());
    await guest.connect(served.socket('vm', disk));
    await guest.negotiate();
    return guest;
  }

  /** The payload of a reply to GET_CONFIG; empty if there is no such part. */
  function ask({ front }: TestGuest, offset: number, size: number): Promise<Buffer> {
    const payload = Buffer.alloc(12 + Math.min(size, 1024));
    payload.writeUInt32LE(offset, 0);
    payload.writeUInt32LE(size, 4);
    payload.writeUInt32LE(1, 8);
    return front.ask('GET_CONFIG', payload);
  }

  async function read(guest: TestGuest, offset: number, size: number): Promise<Buffer> {
    const reply = await ask(guest, offset, size);
    assert.equal(reply.length, 12 + size);
    const { bytes, ...rest } = decode.config(reply);
    assert.deepEqual(rest, { offset, flags: 1 });
    return bytes;
  }

  function write({ front }: TestGuest, offset: number, bytes: number[]): Promise<boolean> {
    return front.acknowledged('SET_CONFIG', encode.config({ offset, flags: 0, bytes: Buffer.from(bytes) }));
  }

  it('has every field where the standard has it', async (test) => {
    const guest = await connected(test);
    const space = await read(guest, 0, 256);
    assert.equal(
      space.readBigUInt64LE(0),
      BigInt((16 * MIB) / 512),
      'capacity, in sectors of 512 bytes whatever the block size',
    );
    assert.ok(space.readUInt32LE(8) >= 4096, 'size_max');
    assert.ok(space.readUInt32LE(12) >= 1, 'seg_max');
    assert.equal(space.readUInt32LE(20), 4096, 'blk_size');
    assert.equal(space.readUInt8(WRITEBACK), 1, 'writeback');
    assert.equal(space.readUInt16LE(34), 2, 'num_queues');
    assert.ok(space.readUInt32LE(36) > 0 && space.readUInt32LE(40) > 0, 'max_discard_sectors, max_discard_seg');
    assert.equal(space.readUInt32LE(44) % 8, 0, 'discard_sector_alignment is of whole blocks');
    assert.ok(
      space.readUInt32LE(48) > 0 && space.readUInt32LE(52) > 0,
      'max_write_zeroes_sectors, max_write_zeroes_seg',
    );
    assert.ok(
      space.subarray(96).every((byte) => byte === 0),
      'what has no meaning is zero',
    );
    for (const [offset, size] of [
      [0, 1],
      [0, 36],
      [0, 57],
      [0, 60],
      [3, 7],
      [34, 2],
      [60, 36],
      [100, 100],
      [255, 1],
      [0, 0],
    ] as const) {
      assert.deepEqual(
        await read(guest, offset, size),
        space.subarray(offset, offset + size),
        `${size} bytes at ${offset}`,
      );
    }
  });

  it('answers a question beyond its end with nothing', async (test) => {
    const guest = await connected(test);
    for (const [offset, size] of [
      [256, 1],
      [250, 7],
      [0, 257],
      [0, 0xffffffff],
      [0xffffffff, 1],
      [0xffffffff, 0xffffffff],
    ] as const) {
      assert.equal((await ask(guest, offset, size)).length, 0, `${size} bytes at ${offset}`);
    }
    const lie = encode.config({ offset: 0, flags: 0, bytes: Buffer.alloc(4) });
    lie.writeUInt32LE(8, 4);
    assert.equal((await guest.front.ask('GET_CONFIG', lie)).length, 0, 'more than the message has');
    assert.equal((await read(guest, 0, 8)).length, 8);
  });

  it('the cache mode can be written, nothing else', async (test) => {
    const plain = await connected(test);
    assert.ok(!(await write(plain, WRITEBACK, [0])), 'not by a driver that does not know it can');
    plain.disconnect();
    const guest = await connected(test, 'd', FEATURES | BLOCK_FEATURES.FLUSH | BLOCK_FEATURES.CONFIG_WCE);
    const { front } = guest;
    const before = await read(guest, 0, 256);
    for (const mode of [0, 1, 0]) {
      assert.ok(await write(guest, WRITEBACK, [mode]));
      assert.equal((await read(guest, WRITEBACK, 1))[0], mode);
    }
    for (const [offset, bytes] of [
      [0, [1]],
      [33, [1]],
      [WRITEBACK, [2]],
      [WRITEBACK, [0, 0]],
      [31, [0, 0]],
      [WRITEBACK, []],
    ] as const) {
      assert.ok(!(await write(guest, offset, [...bytes])), `${bytes.length} bytes at ${offset}`);
    }
    // A guest's own writes come without a wish for an answer: it cannot end its VM by a wrong one.
    await front.tell('SET_CONFIG', encode.config({ offset: 0, flags: 0, bytes: Buffer.alloc(8) }));
    assert.deepEqual(await read(guest, 0, 8), before.subarray(0, 8));
    await front.tell('RESET_DEVICE');
    assert.deepEqual(await read(guest, 0, 256), before, 'a reset device is as it was');
    await write(guest, WRITEBACK, [0]);
    guest.disconnect();
    const next = await connected(test);
    assert.deepEqual(await read(next, 0, 256), before, 'the next front end finds it as it was');
  });

  it('word of a new size goes over the back-end channel, to whoever listens', async (test) => {
    const guest = await connected(test, 'file');
    const [ours, theirs] = socketPair();
    test.after(() => [ours, theirs].forEach(close));
    assert.deepEqual(await served.resize('vm/file', 5 * MIB), { sizeBytes: 5 * MIB, guestTold: false });
    assert.ok(await guest.front.acknowledged('SET_BACKEND_REQ_FD', Buffer.alloc(0), [theirs]));
    assert.deepEqual(await served.resize('vm/file', 6 * MIB), { sizeBytes: 6 * MIB, guestTold: true });
    const message = Buffer.alloc(12);
    // VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, version 1, without payload.
    message.writeUInt32LE(2, 0);
    message.writeUInt32LE(1, 4);
    assert.deepEqual(receiveWithFds(ours, 100).bytes, message);
    assert.equal((await read(guest, 0, 8)).readBigUInt64LE(0), BigInt((6 * MIB) / 512));
    await guest.shareMemory();
    await guest.startQueue(guest.queue);
    await guest.queue.writeAndRead();
  });

  it('a front end that does not read its channel holds nobody up', async (test) => {
    const guest = await connected(test, 'file');
    const [ours, theirs] = socketPair();
    test.after(() => [ours, theirs].forEach(close));
    while (sendWithFds(theirs, Buffer.alloc(1000), []) > 0);
    assert.ok(await guest.front.acknowledged('SET_BACKEND_REQ_FD', Buffer.alloc(0), [theirs]));
    assert.deepEqual(await served.resize('vm/file', 7 * MIB), { sizeBytes: 7 * MIB, guestTold: false });
    const [next, nextTheirs] = socketPair();
    test.after(() => [next, nextTheirs].forEach(close));
    assert.ok(await guest.front.acknowledged('SET_BACKEND_REQ_FD', Buffer.alloc(0), [nextTheirs]));
    assert.deepEqual(await served.resize('vm/file', 8 * MIB), { sizeBytes: 8 * MIB, guestTold: true });
    close(next);
    await until(async () => !(await served.resize('vm/file', 8 * MIB)).guestTold, 'a closed channel is noticed');
  });
});
