/** A stock Debian guest behind a firewall, under QEMU. */
import assert from 'node:assert/strict';
import { guestTest } from './needs.js';
import { ADDRESS, Pair } from './network.js';

const TEST_TIMEOUT_MS = 120_000;

/** b is behind it. */
const FIREWALL = {
  use: 'firewall',
  options: {
    spoof_guard: { addresses: [ADDRESS.b] },
    rules: [
      { in: 'accept', protocol: 'tcp', port: 80, from: '10.0.0.0/24', name: 'web' },
      { in: 'accept', icmp_type: 'echo-request' },
    ],
  },
};

guestTest('a guest behind a firewall', TEST_TIMEOUT_MS, async (test) => {
  const pair = await Pair.boot(test, { filters: { b: [FIREWALL] } });
  const { a, b } = pair;
  const counters = async () => (await pair.nic('b')).filters[0]!.counters as Record<string, number>;
  await pair.expectPing();
  assert.match(await b.must(`ping -c 3 -i 0.2 -W 5 ${ADDRESS.a}`), / 0% packet loss/);

  const serve = (port: number) => `nc -l -p ${port} -e sh -c 'echo from ${port}' > /dev/null 2>&1 &`;
  // Left to itself, busybox's nc ends with its standard input.
  const ask = (address: string, port: number) => `sleep 1 | nc -w 3 ${address} ${port}`;
  await b.must(`${serve(80)} ${serve(81)} sleep 0.5`);
  assert.equal(await a.must(ask(ADDRESS.b, 80)), 'from 80');
  assert.notEqual((await a.run(ask(ADDRESS.b, 81))).status, 0, 'the other port is not open');
  assert.equal(await b.must(ask('127.0.0.1', 81)), 'from 81', 'though somebody listens');
  await a.must(`${serve(99)} sleep 0.5`);
  assert.equal(await b.must(ask(ADDRESS.a, 99)), 'from 99', 'b gets the answers to what it asks');
  const before = await counters();
  assert.ok(before.in_dropped_default! > 0 && before.in_established! > 0, JSON.stringify(before));
  assert.equal(before.in_malformed! + before.out_malformed! + before.in_invalid! + before.out_invalid!, 0);
  assert.equal(before.out_spoofed_mac! + before.out_spoofed_arp! + before.out_spoofed_address!, 0);

  // Large transfers leave their segmentation to us.
  await b.must('iperf3 -s -p 80 -D > /dev/null; sleep 0.5');
  await a.must(`iperf3 -c ${ADDRESS.b} -p 80 -n 20M > /dev/null`, { timeoutMs: 60_000 });

  // b pretends to be somebody else: by its address, in ARP, and by its card's.
  await b.must(`ip addr add 10.0.0.9/24 dev eth0`);
  assert.notEqual((await b.run(`ping -c 1 -W 1 -I 10.0.0.9 ${ADDRESS.a}`)).status, 0);
  await b.run('arping -U -c 1 -w 1 -I eth0 -s 10.0.0.9 10.0.0.9');
  assert.doesNotMatch(await a.must('ip neigh'), /^10\.0\.0\.9 .*lladdr/m);
  await pair.expectPing();
  await b.must(
    'ip addr del 10.0.0.9/24 dev eth0; ip link set eth0 down; ip link set eth0 address 52:54:00:99:99:99; ip link set eth0 up',
  );
  assert.notEqual((await b.run(`ping -c 1 -W 1 ${ADDRESS.a}`)).status, 0);
  const after = await counters();
  assert.ok(after.out_spoofed_arp! > 0, JSON.stringify(after));
  assert.ok(after.out_spoofed_mac! > 0, JSON.stringify(after));
});
