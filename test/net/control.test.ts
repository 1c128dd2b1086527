/** What a front end and a driver say to a network card besides frames. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { NetDriver, NetRing } from '../../src/guest/net-driver.js';
import { NET_FEATURES } from '../../src/net/features.js';
import { NetConfigOffset } from '../../src/net/net-config.js';
import { encode } from '../../src/vhost-user/codec.js';
import { PROTOCOL_FEATURES } from '../../src/vhost-user/messages.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';
import { CleanupSteps } from '../support/daemon.js';
import { RawFrontEnd, until } from '../vhost-user/raw-front-end.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';

const { MAC, MTU, STATUS, MRG_RXBUF, CTRL_VQ, CTRL_RX, CTRL_MAC_ADDR, GUEST_ANNOUNCE } = NET_FEATURES;
const CONTROL = MAC | MTU | STATUS | MRG_RXBUF | CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR | GUEST_ANNOUNCE;
const BROADCAST = Buffer.from('ffffffffffff', 'hex');
const { REPLY_ACK, NET_MTU, CONFIG, RESET_DEVICE } = PROTOCOL_FEATURES;

describe('the control of network cards', { timeout: 60_000 }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    const vm = { nics: { n: {} }, disks: { d: { backend: { type: 'null', size: '1MiB' } } } };
    served = await TestDaemon.start(cleanup, { a: vm, b: vm }, 'sidecore');
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  const card = async (vm: string) => ((await served.status()) as DaemonStatus).nics[vm]!.n!;
  const guest = async (test: TestContext, vm: string, features = CONTROL) => {
    const driver = await NetDriver.connect({ socket: served.socket(vm, 'n'), features });
    test.after(() => driver.close());
    return driver;
  };
  const next = async (driver: NetDriver, what: string): Promise<Buffer> => {
    let found: Buffer | undefined;
    await until(() => (found = driver.receive()) !== undefined, what);
    return found!;
  };

  it('messages of network cards are for network cards', async (test) => {
    const disk = await RawFrontEnd.connect(served.socket('a', 'd'));
    test.after(() => disk.close());
    const nic = await RawFrontEnd.connect(served.socket('a', 'n'));
    test.after(() => nic.close());
    const ours = PROTOCOL_FEATURES.RARP | PROTOCOL_FEATURES.NET_MTU;
    assert.equal((await disk.ask('GET_PROTOCOL_FEATURES')).readBigUInt64LE(0) & ours, 0n);
    assert.equal((await nic.ask('GET_PROTOCOL_FEATURES')).readBigUInt64LE(0) & ours, ours);
  });

  it('a built-in guest that cannot come up leaves nothing behind', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    // A disk has no second ring.
    await assert.rejects(NetDriver.connect({ socket: served.socket('a', 'd') }));
    assert.equal(open(), before);
  });

  it('SEND_RARP has everybody learn where the guest is', async (test) => {
    const b = await guest(test, 'b');
    const a = await RawFrontEnd.connect(served.socket('a', 'n'));
    test.after(() => a.close());
    await a.negotiate(RING_FEATURES.VERSION_1, PROTOCOL_FEATURES.REPLY_ACK | PROTOCOL_FEATURES.RARP);
    const mac = Buffer.from('525400abcdef0000', 'hex');
    assert.ok(await a.acknowledged('SEND_RARP', mac));
    const heard = await next(b, 'b hears it');
    assert.deepEqual([heard.subarray(0, 6), heard.subarray(6, 12)], [BROADCAST, mac.subarray(0, 6)]);
    assert.ok(!(await a.acknowledged('SEND_RARP', Buffer.from('01005e0000010000', 'hex'))), 'of a group');
    assert.ok(await a.acknowledged('SET_OWNER'), 'the session goes on');
  });

  it('NET_SET_MTU is what the guest reads', async (test) => {
    const a = await RawFrontEnd.connect(served.socket('a', 'n'));
    test.after(() => a.close());
    const features = REPLY_ACK | NET_MTU | CONFIG | RESET_DEVICE;
    await a.negotiate(RING_FEATURES.VERSION_1 | MTU, features);
    assert.ok(await a.acknowledged('NET_SET_MTU', encode.u64(9000n)));
    const payload = encode.config({ offset: NetConfigOffset.MTU, flags: 0, bytes: Buffer.alloc(2) });
    assert.equal((await a.ask('GET_CONFIG', payload)).readUInt16LE(12), 9000);
    assert.equal((await card('a')).mtu, 9000);
    for (const mtu of [0n, 67n, 65536n, 2n ** 64n - 1n])
      assert.ok(!(await a.acknowledged('NET_SET_MTU', encode.u64(mtu))), `${mtu}`);
    assert.equal((await card('a')).mtu, 9000);
    assert.ok(await a.acknowledged('RESET_DEVICE'), 'the next driver has the same front end');
    assert.equal((await card('a')).mtu, 9000);
    assert.equal((await card('a')).last_fault?.code, 'NETWORK_MESSAGE_INVALID');
    a.close();
    await until(async () => !(await card('a')).connected, 'its session ends');
    assert.equal((await card('a')).mtu, 1500);
  });

  it('a driver says by the control queue what it wants, and gets nothing else', async (test) => {
    const a = await guest(test, 'a');
    const b = await guest(test, 'b');
    const control = new NetRing(a.ram, 8, 64, (a.frontEnd.features & RING_FEATURES.EVENT_IDX) !== 0n, 0);
    test.after(() => control.close());
    const { ring, kickFd, callFd } = control;
    const user = a.ram.userAddress;
    const place = { descriptors: user + ring.descriptors, available: user + ring.available, used: user + ring.used };
    await a.frontEnd.startRing({ index: 2, size: ring.size, ...place, kickFd, callFd });
    const [command, answer] = [0, 1];
    const words = a.ram.words;
    const say = async (...bytes: number[]): Promise<number> => {
      control.bytes(command).set(bytes);
      control.bytes(answer)[0] = 0xff;
      const word = ring.descriptors >>> 2;
      words[word + 2] = bytes.length;
      words[word + 3] = DescriptorFlag.NEXT | (answer << 16);
      words[word + 4 + 2] = 1;
      words[word + 4 + 3] = DescriptorFlag.WRITE;
      ring.add(command);
      control.publish();
      await until(() => ring.take() >= 0, 'the command is answered');
      return control.bytes(answer)[0]!;
    };
    const frame = (to: Uint8Array) => Buffer.concat([to, b.mac, Buffer.alloc(50, 1)]);
    const other = Buffer.from('520000000001', 'hex');
    const group = Buffer.from('01005e000005', 'hex');
    assert.equal(await say(0, 0, 0), 0, 'only its own');
    for (const to of [other, group, a.mac]) b.send(frame(to));
    b.tx.publish();
    assert.deepEqual((await next(a, 'its own')).subarray(0, 6), a.mac);
    assert.equal(a.receive(), undefined);
    assert.equal((await card('a')).dropped_filtered, 2);
    assert.equal(await say(0, 0, 1), 0, 'everything');
    b.send(frame(group));
    b.tx.publish();
    assert.deepEqual((await next(a, 'a group')).subarray(0, 6), group);
    assert.equal(await say(9, 9), 1, 'no such command');
    assert.equal((await card('a')).queues[2]!.errors, 1);
  });

  it('sidecore link unplugs a card, and a guest announces itself when it is back', async (test) => {
    const a = await guest(test, 'a');
    const b = await guest(test, 'b');
    const hello = Buffer.concat([BROADCAST, b.mac, Buffer.alloc(50, 2)]);
    assert.equal((await served.daemon.cli('link', 'a/n', 'down')).status, 0);
    const status = async () => (await a.frontEnd.readConfig(NetConfigOffset.STATUS, 2)).readUInt16LE(0);
    assert.equal(await status(), 0);
    const before = await card('a');
    b.send(hello);
    b.tx.publish();
    a.send(hello);
    a.tx.publish();
    await until(async () => (await card('a')).dropped_link_down === before.dropped_link_down + 2, 'both are dropped');
    const up = await served.daemon.cli('link', 'a/n', 'up', '--json');
    assert.deepEqual(JSON.parse(up.stdout), { nic: 'a/n', link: 'up', config_change_sent: false });
    assert.equal(await status(), 3, 'up, and to be announced');
    b.send(hello);
    b.tx.publish();
    assert.deepEqual(await next(a, 'the next one'), hello);
    const unknown = await served.daemon.cli('link', 'a/x', 'up');
    assert.equal(unknown.status, 1);
    assert.match(unknown.stderr, /there is no network card a\/x.*\n.*a\/n, b\/n/);
  });
});
