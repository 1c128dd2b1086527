/** TAP devices of the daemon: guests and the host talk to each other. In a network namespace of the test's own. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NetDriver } from '../../src/guest/net-driver.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { Daemon } from '../support/daemon.js';
import { makeFrame } from '../support/frames.js';
import { enterNetworkNamespace, ip, link } from '../support/network-namespace.js';
import { PacketSocket } from '../support/packet-socket.js';
import { until, within } from '../vhost-user/raw-front-end.js';
import { SIDECORE_CPU } from '../vhost-user/test-daemon.js';
import { TapPeer } from './tap-peer.js';
import { silenceHost } from './tap-rig.js';

const skip = enterNetworkNamespace();
if (skip === false) silenceHost();

const MAC = '02:00:00:00:00:01';
const HOST = Buffer.from(MAC.replaceAll(':', ''), 'hex');
const TCP_BYTES = 32 * 2 ** 20;

const config = (mode: string, more: Record<string, unknown> = {}) => ({
  cores: [SIDECORE_CPU],
  mode,
  networks: { lan: { ports: { up: { type: 'tap', device: 'tap0', mac: MAC, queues: 2 } } } },
  vms: { a: { nics: { n: { queue_pairs: 2 } } } },
  ...more,
});

/** A guest and the host say something to each other, several times, with pauses. */
async function converse(guest: NetDriver, host: PacketSocket): Promise<void> {
  for (let round = 0; round < 10; round++) {
    const sent = [60, 1024, 1400, 1514].map((length) => makeFrame(HOST, guest.mac, length, round));
    for (const frame of sent) assert.ok(guest.send(frame));
    guest.tx.publish();
    for (const frame of sent) {
      let got: ReturnType<PacketSocket['receive']>;
      await until(() => (got = host.receive()) !== undefined, 'the host hears the guest');
      assert.deepEqual(got!.frame, frame);
    }
    const answers = [60, 1514].map((length) => makeFrame(guest.mac, HOST, length, round + 100));
    for (const frame of answers) assert.ok(host.send(frame));
    for (const frame of answers) {
      let got: Buffer | undefined;
      await until(() => (got = guest.receive()) !== undefined, 'the guest hears the host');
      assert.deepEqual(got, frame);
    }
    // Long enough for a sidecore that may sleep to do so.
    if (round % 5 === 0) await sleep(20);
  }
}

async function guestOf(test: TestContext, socket: string): Promise<NetDriver> {
  const guest = await NetDriver.connect({ socket });
  test.after(() => guest.close());
  return guest;
}

function packetSocket(test: TestContext): PacketSocket {
  const host = new PacketSocket('tap0');
  test.after(() => host.close());
  return host;
}

describe('a TAP device of the daemon', { skip, timeout: 120_000 }, () => {
  for (const mode of ['sidecore', 'adaptive', 'baseline']) {
    it(`joins guests and the host, and goes away with the daemon: mode ${mode}`, async (test) => {
      const daemon = await Daemon.start(test, config(mode));
      const guest = await guestOf(test, daemon.socket('a', 'n'));
      await converse(guest, packetSocket(test));
      const { up } = (await daemon.status()).networks.lan!;
      assert.deepEqual([up!.type, up!.device], ['tap', 'tap0']);
      assert.deepEqual([up!.frames_out, up!.frames_in], [40, 20]);
      const refused =
        'lan/up is no network card, and only these are captured [CONFIG_INVALID]\n  On the host: `tcpdump -i tap0`.';
      assert.equal((await daemon.cli('capture', 'lan/up', '-w', '-')).stderr, `sidecore: ${refused}\n`);
      assert.equal(await daemon.stop(), 0, daemon.log);
      assert.equal(link('tap0'), undefined);
    });
  }

  for (const [how, more] of [
    ['', {}],
    [', with a polling kernel thread', { sqpoll_cpu: 0 }],
  ] as const) {
    it(`outlives the sidecore that serves it${how}`, async (test) => {
      const daemon = await KillableDaemon.start(test, config('adaptive', more));
      const guest = await guestOf(test, daemon.socket('a').replace('.d.', '.n.'));
      const host = packetSocket(test);
      await converse(guest, host);
      for (let death = 1; death <= 2; death++) {
        await within(daemon.kill(0), 'another sidecore takes over');
        await converse(guest, host);
      }
      assert.equal((await daemon.status()).cores[0]!.deaths, 2);
    });
  }

  it('that somebody deletes is told of once', async (test) => {
    const daemon = await Daemon.start(test, config('adaptive'));
    const guest = await guestOf(test, daemon.socket('a', 'n'));
    ip('link', 'delete', 'tap0');
    const lines = () => daemon.log.split('\n').filter((line) => line.includes('lan/up: TAP device tap0 is gone'));
    await until(() => lines().length > 0, 'the log says so');
    for (let i = 0; i < 4; i++) {
      assert.ok(guest.send(makeFrame(HOST, guest.mac, 60, i)));
      guest.tx.publish();
      await sleep(100);
    }
    assert.equal(lines().length, 1, daemon.log);
    assert.equal((await daemon.status()).networks.lan!.up!.queues_lost, 2);
    assert.equal(await daemon.stop(), 0, daemon.log);
  });

  it('carries TCP between two hosts, with segmentation left to them', async (test) => {
    const tap = (device: string, number: number) => ({ type: 'tap', device, mac: `02:00:00:00:00:0${number}` });
    const ports = { one: tap('tap0', 1), two: tap('tap1', 2) };
    const daemon = await Daemon.start(test, { cores: [SIDECORE_CPU], mode: 'adaptive', networks: { lan: { ports } } });
    const peer = await TapPeer.start(test);
    ip('address', 'add', '192.0.2.1/24', 'dev', 'tap0');
    peer.take('tap1', '192.0.2.2/24');
    const [sent, got] = await within(echo('192.0.2.2', peer.port), 'all bytes come back', 60_000);
    assert.equal(got, sent);
    const { one, two } = (await daemon.status()).networks.lan!;
    assert.ok(one!.bytes_in > TCP_BYTES && one!.bytes_out > TCP_BYTES);
    // Neither end cut anything up, nor did the switch.
    assert.ok(one!.bytes_in / one!.frames_in > 3000, `${one!.bytes_in} bytes in ${one!.frames_in} frames`);
    assert.deepEqual([one!.software_offloads, two!.software_offloads], [0, 0]);
    assert.equal(await daemon.stop(), 0, daemon.log);
  });

  it('that cannot be had keeps the daemon from starting, which says why and leaves nothing behind', async (test) => {
    const ports = { one: { type: 'tap', device: 'tap0' }, two: { type: 'tap', device: 'tap1', bridge: 'br9' } };
    await assert.rejects(
      Daemon.start(test, { cores: [SIDECORE_CPU], networks: { lan: { ports } } }),
      /port two of network lan: tap1: there is no bridge br9 \[BRIDGE_MISSING\]/,
    );
    assert.deepEqual([link('tap0'), link('tap1')], [undefined, undefined]);
  });
});

/** Sends bytes to whoever sends them back. Returns the hashes of what was sent and of what came. */
async function echo(host: string, port: number): Promise<[sent: string, got: string]> {
  const bytes = Buffer.alloc(TCP_BYTES);
  for (let i = 0; i < bytes.length; i += 4) bytes.writeInt32LE(Math.imul(i, 2_654_435_761), i);
  const socket = connect({ host, port, noDelay: true });
  await once(socket, 'connect');
  const hash = createHash('sha256');
  let left = bytes.length;
  socket.on('data', (data) => {
    hash.update(data);
    left -= data.length;
    if (left <= 0) socket.end();
  });
  socket.write(bytes);
  await once(socket, 'close');
  return [createHash('sha256').update(bytes).digest('hex'), hash.digest('hex')];
}
