/** Stock Debian guests under QEMU talk through the switch. */
import assert from 'node:assert/strict';
import { guestTest } from './needs.js';
import { ADDRESS, bringUp, type IperfReport, Pair, type PairOptions } from './network.js';

const TEST_TIMEOUT_MS = 180_000;
/** Longest frame of a card with an MTU of 1500. */
const ETHERNET_BYTES_MAX = 1514;

/** The most that a card has; `a guest and the host talk` has split rings and one pair, `test/net` all of them. */
const VARIANTS: [string, PairOptions][] = [['packed rings, two queue pairs', { packed: true, queuePairs: 2 }]];

for (const [name, options] of VARIANTS) {
  guestTest(`two guests talk: ${name}`, TEST_TIMEOUT_MS, async (test) => {
    const pair = await Pair.boot(test, options);
    const { a, b } = pair;
    // One character a feature bit. VIRTIO 1.3, 6: RING_PACKED is 34.
    assert.equal(await a.must('cut -c 35 /sys/class/net/eth0/device/features'), options.packed ? '1' : '0');
    await pair.expectPing();
    // Neighbours are asked whether the address is free before it may be used.
    const waitForAddress =
      'for i in $(seq 50); do ip -6 addr show dev eth0 | grep fe80 | grep -qv tentative && break; sleep 0.1; done';
    await a.must(waitForAddress);
    const local = await b.must(
      `${waitForAddress}; ip -6 addr show dev eth0 | sed -n 's/.*inet6 \\(fe80[^/]*\\).*/\\1/p'`,
    );
    assert.match(await a.must(`ping -6 -c 3 -i 0.2 -W 5 ${local}%eth0`), / 0% packet loss/);
    if (options.queuePairs === 2) {
      for (const guest of [a, b]) await guest.must('ethtool -L eth0 combined 2');
    }
    await pair.expectFile(a, b, ADDRESS.b);
    await b.must('iperf3 -s -D > /dev/null; sleep 0.5');
    const iperf = async (more: string): Promise<IperfReport['end']> =>
      (JSON.parse(await a.must(`iperf3 -J -c ${ADDRESS.b} -t 1 ${more}`)) as IperfReport).end;
    for (const direction of ['', '-R']) {
      const tcp = await iperf(direction);
      assert.ok(tcp.sum_received!.bytes > 0, `TCP ${direction}`);
      const udp = await iperf(`-u -b 20M ${direction}`);
      assert.ok(udp.sum!.bytes > 0 && udp.sum!.lost_percent < 50, `UDP ${direction}: ${JSON.stringify(udp.sum)}`);
    }
    const nic = await pair.nic('a');
    assert.equal(nic.dropped_offload + nic.dropped_malformed + nic.dropped_vlan, 0);
    if (options.queuePairs !== 2) return;
    for (const core of [0, 1]) await a.must(`taskset -c ${core} iperf3 -c ${ADDRESS.b} -t 1 -P 4 > /dev/null`);
    const sent = (await pair.nic('a')).queues.filter(({ index }) => index === 1 || index === 3);
    assert.ok(sent.length === 2 && sent.every(({ requests }) => requests > 0), JSON.stringify(sent));
  });
}

guestTest(
  'checksums and segmentation are left to whoever can, and done by us where nobody can',
  TEST_TIMEOUT_MS,
  async (test) => {
    const pair = await Pair.boot(test, { withoutOffloads: ['b'] });
    const { a, b } = pair;
    const offloads = (output: string) =>
      ['tx-checksumming', 'tcp-segmentation-offload'].map(
        (one) => new RegExp(`^${one}: (on|off)`, 'm').exec(output)?.[1],
      );
    assert.deepEqual(offloads(await a.must('ethtool -k eth0')), ['on', 'on']);
    assert.deepEqual(offloads(await b.must('ethtool -k eth0')), ['off', 'off']);
    await pair.expectFile(a, b, ADDRESS.b);
    const toB = await pair.nic('b');
    assert.ok(toB.software_offloads > 0, 'what a left to us was done for b');
    await pair.expectFile(b, a, ADDRESS.a);
    const toA = await pair.nic('a');
    assert.equal(toA.software_offloads, 0, 'a gets what needs nothing');
    assert.equal(toA.dropped_offload + toB.dropped_offload, 0);
  },
);

guestTest('between guests that can, large segments cross whole', TEST_TIMEOUT_MS, async (test) => {
  const pair = await Pair.boot(test);
  const { a, b } = pair;
  await pair.expectFile(a, b, ADDRESS.b);
  // How long TCP makes segments is a question of time, unless it has much to send and is told how long they are at least.
  await b.must('iperf3 -s -D > /dev/null; sleep 0.5');
  await a.must('echo 20 > /proc/sys/net/ipv4/tcp_min_tso_segs');
  const before = await pair.nic('b');
  await a.must(`iperf3 -c ${ADDRESS.b} -l 1M -n 64M > /dev/null`);
  const after = await pair.nic('b');
  assert.equal(after.software_offloads, 0);
  const [bytes, frames] = [after.bytes_out - before.bytes_out, after.frames_out - before.frames_out];
  assert.ok(bytes / frames > 2 * ETHERNET_BYTES_MAX, `${bytes} bytes in ${frames} frames`);
});

guestTest('frames of 9000 bytes', TEST_TIMEOUT_MS, async (test) => {
  const pair = await Pair.boot(test, { mtu: 9000 });
  for (const guest of [pair.a, pair.b]) assert.equal(await guest.must('cat /sys/class/net/eth0/mtu'), '9000');
  // No part of the packet may be cut up: busybox's ping cannot forbid that, but the path has room for it whole.
  await pair.expectPing('-s 8900');
  const before = await pair.nic('b');
  await pair.expectPing('-s 8900');
  const after = await pair.nic('b');
  const bytes = after.bytes_out - before.bytes_out;
  assert.ok(bytes / (after.frames_out - before.frames_out) > 4000, 'each ping is one frame');
  await pair.expectFile(pair.a, pair.b, ADDRESS.b);
});

guestTest('the link goes down and up, by the VMM and by us', TEST_TIMEOUT_MS, async (test) => {
  const pair = await Pair.boot(test);
  const { a, daemon } = pair;
  const carrier = () => a.must('cat /sys/class/net/eth0/carrier');
  const becomes = (state: string) =>
    a.must(`for i in $(seq 50); do [ "$(cat /sys/class/net/eth0/carrier)" = ${state} ] && break; sleep 0.1; done`);
  await pair.expectPing();
  await a.qmp.execute('set_link', { name: 'nic0', up: false });
  await becomes('0');
  assert.equal(await carrier(), '0');
  assert.notEqual((await a.run(`ping -c 1 -W 1 ${ADDRESS.b}`)).status, 0);
  await a.qmp.execute('set_link', { name: 'nic0', up: true });
  await becomes('1');
  assert.equal(await carrier(), '1');
  await pair.expectPing();

  assert.equal((await daemon.cli('link', 'b/net0', 'down')).status, 0);
  assert.notEqual((await a.run(`ping -c 2 -W 1 ${ADDRESS.b}`)).status, 0);
  const cut = await pair.nic('b');
  assert.ok(!cut.link_up && cut.dropped_link_down > 0, JSON.stringify(cut));
  assert.equal((await daemon.cli('link', 'b/net0', 'up')).status, 0);
  await pair.expectPing();
});

guestTest('a guest that reboots is back on the network, and its disk with it', TEST_TIMEOUT_MS, async (test) => {
  const pair = await Pair.boot(test, { disks: true });
  const { a, b } = pair;
  await pair.expectPing();
  await b.reboot();
  await bringUp(b, 'b');
  await pair.expectPing();
  await b.must('mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt');
  const writing = b.must(
    'for i in $(seq 4); do dd if=/dev/urandom of=/mnt/$i bs=1M count=8 conv=fsync 2>/dev/null; done; cat /mnt/? | sha256sum',
    { timeoutMs: 60_000 },
  );
  const ping = a.must(`ping -c 20 -i 0.1 -W 5 ${ADDRESS.b}`);
  const [written, pinged] = await Promise.all([writing, ping]);
  assert.match(pinged, / 0% packet loss/);
  assert.equal(await b.must('echo 3 > /proc/sys/vm/drop_caches; cat /mnt/? | sha256sum'), written);
});
