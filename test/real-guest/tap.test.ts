/** A stock Debian guest under QEMU and the host talk through a TAP device. In a network namespace of the test's own. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type Cleanup, Daemon, spawnTied } from '../support/daemon.js';
import { enterNetworkNamespace, ip } from '../support/network-namespace.js';
import { within } from '../vhost-user/raw-front-end.js';
import { RealGuest } from './guest.js';
import { guestTest } from './needs.js';
import type { IperfReport } from './network.js';

const why = enterNetworkNamespace();
const TEST_TIMEOUT_MS = 120_000;
const HOST = '10.0.0.1';
const GUEST = '10.0.0.2';
const FILE_BYTES = 100 * 2 ** 20;
/** Longest frame with an MTU of 1500. */
const ETHERNET_BYTES_MAX = 1514;

/** A server of the host for one connection. */
async function serveOnce<T>(test: Cleanup, body: (socket: Socket) => Promise<T>) {
  const server = createServer().listen(0, HOST);
  test.after(() => void server.close());
  await once(server, 'listening');
  const result = once(server, 'connection').then(([socket]) => body(socket as Socket));
  return { port: (server.address() as AddressInfo).port, result };
}

async function hashOf(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  for await (const data of socket) hash.update(data);
  return hash.digest('hex');
}

for (const [name, queues, vlan] of [
  ['one queue', 1, undefined],
  ['two queues, in a VLAN that neither knows of', 2, 10],
] as const) {
  guestTest(`a guest and the host talk: ${name}`, TEST_TIMEOUT_MS, async (test) => {
    if (why !== false) return test.skip(why);
    const inVlan = vlan === undefined ? {} : { vlan };
    const daemon = await Daemon.start(test, {
      cores: [1],
      mode: 'adaptive',
      networks: { lan: { ports: { up: { type: 'tap', device: 'tap0', queues, ...inVlan } } } },
      vms: { a: { nics: { net0: { queue_pairs: queues, ...inVlan } } } },
    });
    ip('address', 'add', `${HOST}/24`, 'dev', 'tap0');
    // How long TCP makes segments is a question of time, unless it is told how long they are at least.
    writeFileSync('/proc/sys/net/ipv4/tcp_min_tso_segs', '20');
    const { mac } = (await daemon.status()).nics.a!.net0!;
    const nics = [{ socket: daemon.socket('a', 'net0'), mac, queuePairs: queues }];
    const guest = await RealGuest.boot({ cpus: queues, nics });
    test.after(() => guest.kill());
    await guest.must(`ip addr add ${GUEST}/24 dev eth0; ip link set eth0 up`);
    if (queues > 1) await guest.must(`ethtool -L eth0 combined ${queues}`);
    assert.match(await guest.must(`ping -c 3 -i 0.2 -W 5 ${HOST}`), / 0% packet loss/);

    const receiver = await serveOnce(test, hashOf);
    // The same file ten times, each time with a number before it: more than that the guest's memory does not hold.
    const stream = 'for i in $(seq 10); do echo $i; cat /tmp/file; done';
    const sent = await guest.must(
      `dd if=/dev/urandom of=/tmp/file bs=1M count=${FILE_BYTES / 10 / 2 ** 20} 2>/dev/null; (${stream}) | nc ${HOST} ${receiver.port}; (${stream}) | sha256sum`,
      { timeoutMs: 60_000 },
    );
    assert.equal(await within(receiver.result, 'the host has got all', 30_000), sent.split(' ')[0]);

    const port = async () => (await daemon.status()).networks.lan!.up!;
    const before = await port();
    const bytes = randomBytes(FILE_BYTES);
    const sender = await serveOnce(test, async (socket) => void socket.end(bytes));
    const got = await guest.must(`nc ${HOST} ${sender.port} < /dev/null | sha256sum`, { timeoutMs: 60_000 });
    assert.equal(got.split(' ')[0], createHash('sha256').update(bytes).digest('hex'));
    // Neither end has cut anything up, nor have we.
    const after = await port();
    const [bytesIn, framesIn] = [after.bytes_in - before.bytes_in, after.frames_in - before.frames_in];
    assert.ok(bytesIn / framesIn > 2 * ETHERNET_BYTES_MAX, `${bytesIn} bytes in ${framesIn} frames`);

    for (const more of ['', '-u -b 20M']) {
      const server = spawnTied('iperf3', ['-s', '-1', '-B', HOST]);
      test.after(() => void server.kill());
      const measured = await guest.must(
        `for i in $(seq 50); do iperf3 -J -c ${HOST} -t 1 ${more} && break; sleep 0.1; done`,
      );
      const { end } = JSON.parse(measured.slice(measured.lastIndexOf('\n{\n') + 1)) as IperfReport;
      assert.ok((end.sum_received ?? end.sum)!.bytes > 0, `iperf3 ${more}`);
    }

    const up = await port();
    assert.equal(up.software_offloads + (await daemon.status()).nics.a!.net0!.software_offloads, 0);
    assert.equal(up.dropped_offload + up.dropped_malformed, 0);
    await guest.kill();
    assert.equal(await daemon.stop(), 0, daemon.log);
  });
}
