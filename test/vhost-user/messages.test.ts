/** What a back end takes and what it refuses, message by message, and how far a refusal reaches. vhost-user, REPLY_ACK */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { close } from '../../src/host/libc.js';
import { encode } from '../../src/vhost-user/codec.js';
import { Flag, MESSAGES, PROTOCOL_FEATURES } from '../../src/vhost-user/messages.js';
import { CleanupSteps } from '../support/daemon.js';
import { eventFdOfAnotherKind, jam, openImpostor } from './descriptors.js';
import { ALL_PROTOCOL_FEATURES } from './raw-front-end.js';
import { HealthyGuest, TestDaemon } from './test-daemon.js';
import { FEATURES, TestGuest } from './test-guest.js';

const NOTHING = Buffer.alloc(0);
/** VIRTIO_F_ORDER_PLATFORM, VIRTIO_BLK_F_BARRIER, VIRTIO_F_ACCESS_PLATFORM, VHOST_F_LOG_ALL. */
const FEATURES_NOT_OFFERED = [36n, 0n, 33n, 26n];
/** LOG_SHMFD, RARP, NET_MTU, PAGEFAULT, INBAND_NOTIFICATIONS. */
const PROTOCOL_FEATURES_NOT_OFFERED = [1n, 2n, 4n, 8n, 14n];

const vring = (index: number, num: number) => encode.vringState({ index, num });
const withFd = (index: number) => encode.vringFd({ index, noFd: false });
/** Open as long as this process is. */
const impostor = openImpostor();
const misaligned = { index: 0, flags: 0, descriptors: 8n, used: 0n, available: 0n, log: 0n };

/** What is wrong, each alone. */
const WRONG: [string, (guest: TestGuest) => Promise<void>][] = [
  ['an unknown message', ({ front }) => front.connection.send(999, 0, NOTHING)],
  ['a message of the back end', ({ front }) => front.connection.send(0, 0, NOTHING)],
  ['a message that is too short', ({ front }) => front.tell('SET_VRING_NUM', Buffer.alloc(4))],
  ['a message that is too long', ({ front }) => front.tell('SET_OWNER', Buffer.alloc(8))],
  ['a payload beyond every limit', ({ front }) => front.tell('SET_MEM_TABLE', Buffer.alloc(5000))],
  [
    'a memory table that lies about its length',
    ({ front }) => front.tell('SET_MEM_TABLE', Buffer.from([9, 0, 0, 0, 0, 0, 0, 0])),
  ],
  ['a ring that is not there', ({ front }) => front.tell('GET_VRING_BASE', vring(2, 0))],
  ['a ring far away', ({ front }) => front.tell('SET_VRING_NUM', vring(0xffffffff, 8))],
  ['a size that is no power of two', ({ front }) => front.tell('SET_VRING_NUM', vring(0, 3))],
  ['a size of zero', ({ front }) => front.tell('SET_VRING_NUM', vring(0, 0))],
  ['a size beyond the limit', ({ front }) => front.tell('SET_VRING_NUM', vring(0, 65536))],
  ['a base beyond 16 bits', ({ front }) => front.tell('SET_VRING_BASE', vring(0, 65536))],
  ['rings that are not aligned', ({ front }) => front.tell('SET_VRING_ADDR', encode.vringAddress(misaligned))],
  ['a kick without descriptor', ({ front }) => front.tell('SET_VRING_KICK', withFd(0))],
  ['a call without descriptor', ({ front }) => front.tell('SET_VRING_CALL', withFd(0))],
  ['a kick that is no eventfd', ({ front, ram }) => front.tell('SET_VRING_KICK', withFd(0), [ram.fd])],
  ['a call that is no eventfd', ({ front, ram }) => front.tell('SET_VRING_CALL', withFd(0), [ram.fd])],
  ['a call that is called like an eventfd', ({ front }) => front.tell('SET_VRING_CALL', withFd(0), [impostor])],
  ['two kicks', ({ front, queue }) => front.tell('SET_VRING_KICK', withFd(0), [queue.driver.kickFd, queue.errFd])],
  ['descriptors where none belong', ({ front, ram }) => front.tell('SET_OWNER', NOTHING, [ram.fd])],
  [
    'more descriptors than any message has',
    ({ front, ram }) => front.tell('SET_MEM_TABLE', encode.memoryTable([]), Array(33).fill(ram.fd)),
  ],
  ['a back-end channel without descriptor', ({ front }) => front.tell('SET_BACKEND_REQ_FD')],
  ...FEATURES_NOT_OFFERED.map((bit): (typeof WRONG)[number] => [
    `feature ${bit}, never offered`,
    ({ front }) => front.tell('SET_FEATURES', encode.u64(FEATURES | (1n << bit))),
  ]),
  ...PROTOCOL_FEATURES_NOT_OFFERED.map((bit): (typeof WRONG)[number] => [
    `protocol feature ${bit}, never offered`,
    ({ front }) => front.tell('SET_PROTOCOL_FEATURES', encode.u64(1n << bit)),
  ]),
];

describe('vhost-user messages', { timeout: 120_000 }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    served = await TestDaemon.start(cleanup, { vm: { disks: { d: { queues: 2 } } }, other: { disks: { d: {} } } });
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  async function connected(test: TestContext): Promise<TestGuest> {
    const guest = new TestGuest();
    test.after(() => guest.close());
    await guest.connect(served.socket('vm'));
    return guest;
  }

  it('what is offered is what the standard has for such a disk', async (test) => {
    const { front } = await connected(test);
    // SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES, SECURE_ERASE; INDIRECT_DESC,
    // EVENT_IDX, PROTOCOL_FEATURES, VERSION_1, RING_PACKED, IN_ORDER.
    const bits = [1, 2, 6, 9, 10, 11, 12, 13, 14, 16, 28, 29, 30, 32, 34, 35];
    const features = bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
    assert.equal((await front.ask('GET_FEATURES')).readBigUInt64LE(0), features);
    // MQ, REPLY_ACK, BACKEND_REQ, CONFIG, RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS.
    const protocol = [0, 3, 5, 9, 13, 15, 16].reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
    assert.equal((await front.ask('GET_PROTOCOL_FEATURES')).readBigUInt64LE(0), protocol);
    assert.equal((await front.ask('GET_QUEUE_NUM')).readBigUInt64LE(0), 2n);
  });

  it('what is wrong ends the connection, and concerns no other', async (test) => {
    const healthy = await HealthyGuest.start(test, served.socket('other'));
    const before = await served.heldAtRest();
    for (const [what, doWrong] of WRONG) {
      const guest = await connected(test);
      await guest.negotiate();
      await guest.shareMemory();
      await guest.startQueue(guest.queue);
      await guest.queue.writeAndRead();
      await doWrong(guest);
      await guest.front.expectClosed(what);
      healthy.run(1);
    }
    await served.untilDisk('vm', (disk) => !disk.connected, 'the last session has ended');
    await served.expectHeld(before, 'nothing is left of those connections');
    healthy.finish();
  });

  it('with REPLY_ACK what is wrong is an answer, and the session goes on', async (test) => {
    const guest = await connected(test);
    await guest.negotiate();
    await guest.shareMemory();
    await guest.startQueue(guest.queue);
    const { front, queue } = guest;
    assert.ok(await front.acknowledged('SET_VRING_ENABLE', vring(0, 1)));
    assert.ok(await front.acknowledged('SET_OWNER'));
    assert.ok(!(await front.acknowledged('SET_VRING_NUM', vring(0, 3))));
    assert.ok(!(await front.acknowledged('SET_VRING_NUM', Buffer.alloc(2))));
    assert.ok(!(await front.acknowledged('SET_FEATURES', encode.u64(1n << 36n))));
    assert.ok(!(await front.acknowledged('SET_MEM_TABLE', encode.memoryTable([guest.region]))));
    assert.ok(!(await front.acknowledged('SET_VRING_KICK', withFd(0), [guest.ram.fd])));
    await front.connection.send(999, Flag.NEED_REPLY, NOTHING);
    assert.notEqual((await front.reply(999, 'an unknown message')).payload.readBigUInt64LE(0), 0n);
    await queue.writeAndRead();
  });

  it('a message with a reply of its own gets one reply, need_reply or not', async (test) => {
    const guest = await connected(test);
    await guest.negotiate();
    for (const flags of [0, Flag.NEED_REPLY]) {
      assert.equal((await guest.front.ask('GET_QUEUE_NUM', NOTHING, flags)).readBigUInt64LE(0), 2n);
      assert.equal((await guest.front.ask('GET_MAX_MEM_SLOTS', NOTHING, flags)).readBigUInt64LE(0), 509n);
      assert.equal((await guest.front.ask('GET_VRING_BASE', vring(1, 0x1234), flags)).readUInt32LE(4), 0);
      assert.equal((await guest.front.ask('GET_STATUS', NOTHING, flags)).readBigUInt64LE(0), 0n);
    }
  });

  it('without REPLY_ACK need_reply means nothing', async (test) => {
    const guest = await connected(test);
    await guest.front.negotiate(FEATURES, ALL_PROTOCOL_FEATURES & ~PROTOCOL_FEATURES.REPLY_ACK);
    await guest.front.connection.send(MESSAGES.SET_OWNER.id, Flag.NEED_REPLY, NOTHING);
    assert.equal((await guest.front.ask('GET_QUEUE_NUM', NOTHING, Flag.NEED_REPLY)).readBigUInt64LE(0), 2n);
  });

  it('messages of protocol features that were not negotiated are refused', async (test) => {
    const config = encode.config({ offset: 32, flags: 0, bytes: Buffer.alloc(1) });
    const gated = [
      ['GET_CONFIG', config],
      ['SET_CONFIG', config],
      ['RESET_DEVICE', NOTHING],
      ['GET_STATUS', NOTHING],
      ['SET_STATUS', encode.u64(0n)],
      ['GET_MAX_MEM_SLOTS', NOTHING],
    ] as const;
    for (const [name, payload] of gated) {
      const guest = await connected(test);
      await guest.front.negotiate(FEATURES, 0n);
      await guest.front.tell(name, payload);
      await guest.front.expectClosed(name);
    }
  });

  it('a version other than 1 is refused', async (test) => {
    const guest = await connected(test);
    // The connection adds version 1, which makes this 3.
    await guest.front.connection.send(MESSAGES.GET_FEATURES.id, 2, NOTHING);
    await guest.front.expectClosed('version 3');
  });

  it('a front end that jams its call descriptor loses its connection, and holds nobody up for long', async (test) => {
    const healthy = await HealthyGuest.start(test, served.socket('other'));
    for (let time = 0; time < 3; time++) {
      const guest = await connected(test);
      await guest.negotiate();
      await guest.shareMemory();
      await guest.startQueue(guest.queue);
      await guest.queue.writeAndRead();
      jam(guest.queue.driver.callFd);
      guest.queue.driver.ring.requestCalls();
      guest.queue.submitWrites();
      await guest.front.expectClosed('a call that blocks');
      healthy.run(5);
    }
    healthy.finish();
    assert.equal((await served.disk('vm')).faults.CALL_BLOCKED, 3);
    assert.equal((await served.status()).cores[0]?.deaths, 0);
  });

  it('eventfds are taken whatever their flags, and never make the back end wait', async (test) => {
    const guest = await connected(test);
    const fds = [eventFdOfAnotherKind(), eventFdOfAnotherKind()];
    test.after(() => fds.forEach(close));
    await guest.negotiate();
    await guest.shareMemory();
    await guest.startQueue(guest.queue);
    await guest.front.tell('SET_VRING_CALL', withFd(0), [fds[0]!]);
    await guest.front.tell('SET_VRING_ERR', withFd(0), [fds[1]!]);
    for (let round = 0; round < 20; round++) {
      guest.queue.driver.ring.requestCalls();
      await guest.queue.writeAndRead();
    }
  });
});
