/** The first network of README.md, as it says: two stock guests under QEMU and the host ping each other. In a network namespace of the test's own. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { Daemon, repositoryRoot } from '../support/daemon.js';
import { enterNetworkNamespace, ip } from '../support/network-namespace.js';
import { RealGuest } from './guest.js';
import { guestTest } from './needs.js';

const why = enterNetworkNamespace();
const PING = ['-c', '3', '-i', '0.2', '-W', '5'];

guestTest('two guests and the host reach each other: examples/first-network.yaml', 120_000, async (test) => {
  if (why !== false) return test.skip(why);
  const example = readFileSync(join(repositoryRoot, 'examples/first-network.yaml'), 'utf8');
  const daemon = await Daemon.start(test, parse(example));
  ip('address', 'add', '192.0.2.1/24', 'dev', 'tap0');
  const { nics } = await daemon.status();
  const boot = async (vm: string, address: string) => {
    const guest = await RealGuest.boot({ nics: [{ socket: daemon.socket(vm, 'net0'), mac: nics[vm]!.net0!.mac }] });
    test.after(() => guest.kill());
    await guest.must(`ip address add ${address}/24 dev eth0 && ip link set eth0 up`);
    return guest;
  };
  const web1 = await boot('web1', '192.0.2.11');
  const web2 = await boot('web2', '192.0.2.12');
  for (const address of ['192.0.2.12', '192.0.2.1'])
    assert.match(await web1.must(`ping ${PING.join(' ')} ${address}`), / 0% packet loss/);
  for (const address of ['192.0.2.11', '192.0.2.12'])
    assert.match(execFileSync('busybox', ['ping', ...PING, address], { encoding: 'utf8' }), / 0% packet loss/);
  await web1.kill();
  await web2.kill();
  assert.equal(await daemon.stop(), 0, daemon.log);
});
