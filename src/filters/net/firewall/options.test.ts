import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { readFirewall } from '../../../../test/support/firewall.js';
import { memoryBytes } from './memory.js';
import { optionsSchema } from './options.js';
import { formatAddress, type Prefix, parsePrefix } from './values.js';

/** Where, and what, is wrong with options. */
function faults(written: unknown): string[] {
  const result = optionsSchema(z).safeParse(written);
  return result.success ? [] : result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
}
const rule = (written: unknown) => faults({ rules: [written] });

describe('the options of a firewall', () => {
  it('are those of a security group if nothing is said', () => {
    const options = readFirewall({});
    assert.deepEqual(options.default, { outbound: true, inbound: false });
    assert.equal(options.track.on && options.basics && options.guard.arp, true);
    assert.deepEqual(options.guard.macs, []);
    assert.ok(memoryBytes(options) < 2 ** 21);
    assert.deepEqual(structuredClone(options), options);
  });

  it('as the documentation has them', () => {
    const options = readFirewall({
      default: { outbound: 'accept', inbound: 'drop' },
      spoof_guard: { mac: true, arp: true, addresses: ['10.0.0.5', 'fd00::5'] },
      track: { tcp_established: '5d', udp: '180s', max: 65_536 },
      rules: [
        { in: 'accept', protocol: 'tcp', port: [22, 80, '8000-8100'], from: ['10.0.0.0/8', 'fd00::/8'] },
        { out: 'drop', to: '169.254.169.254' },
        { both: 'accept', protocol: 'icmp', name: 'ping' },
      ],
    });
    assert.deepEqual(options.names, ['rule 1', 'rule 2', 'ping']);
    assert.deepEqual([options.track.tcpEstablishedS, options.track.udpS, options.track.max], [432_000, 180, 65_536]);
    assert.deepEqual(options.rules[0]!.ports, [
      [22, 22],
      [80, 80],
      [8000, 8100],
    ]);
    assert.deepEqual(
      options.rules.map(({ inbound, outbound, accept }) => [inbound, outbound, accept]),
      [
        [true, false, true],
        [false, true, false],
        [true, true, true],
      ],
    );
  });

  it('that are wrong are told with their place', () => {
    const said: [unknown, RegExp][] = [
      [{ protocol: 'tcp' }, /^rules\.0: say one of in, out and both$/],
      [{ in: 'accept', out: 'drop' }, /^rules\.0: say one of/],
      [{ in: 'allow' }, /^rules\.0\.in: /],
      [{ in: 'accept', port: [22, '90-80'] }, /^rules\.0\.port\.1: 90-80 is no port: 0 to 65535, or a range/],
      [{ in: 'accept', port: 65_536 }, /^rules\.0\.port: 65536 is no port/],
      [
        { in: 'accept', from: ['10.0.0.0/8', '10.0.0.1/8'] },
        /^rules\.0\.from\.1: 10\.0\.0\.1\/8 has bits .*10\.0\.0\.0\/8$/,
      ],
      [{ in: 'accept', to: 'example.org' }, /no address and no prefix/],
      [{ in: 'accept', to: '10.0.0.0/33' }, /0 to 32/],
      [{ in: 'accept', to: 'fe80::1%eth0' }, /no address/],
      [{ in: 'accept', protocol: 'tpc' }, /^rules\.0\.protocol: tpc is no protocol: icmp, /],
      [{ in: 'accept', protocol: 'gre', port: 1 }, /only tcp and udp have ports/],
      [{ in: 'accept', protocol: 'tcp', icmp_type: 8 }, /only icmp has types/],
      [{ in: 'accept', icmp_type: 'ping' }, /no type of ICMP/],
      [{ in: 'accept', ether_type: 'arp', port: 1 }, /IPv4 and IPv6 only/],
      [{ in: 'accept', ether_type: 5 }, /no type of Ethernet/],
      [{ in: 'accept', vlan: 4095 }, /no VLAN/],
      [{ in: 'accept', from_mac: '52:54:00' }, /no Ethernet address/],
      [{ in: 'accept', form: '10.0.0.1' }, /form/],
      [{ in: 'accept', from: [] }, /is empty/],
      [{ in: 'accept', port: Array(257).fill(1) }, /at most 256/],
    ];
    for (const [written, message] of said) assert.match(rule(written).join('\n'), message, JSON.stringify(written));
    assert.match(faults({ track: { udp: '5 minutes' } }).join(), /^track\.udp: 5 minutes is no time/);
    assert.match(faults({ spoof_guard: { mac: ['x'] } }).join(), /^spoof_guard\.mac: x is no Ethernet address/);
    assert.match(faults({ rules: Array(4097).fill({ in: 'accept' }) }).join(), /at most 4096 rules/);
    const many = Array.from({ length: 33 }, () => ({ in: 'accept', from: Array(256).fill('10.0.0.1') }));
    assert.match(faults({ rules: many }).join(), /^rules: 8448 prefixes in all; 8192 is the limit/);
  });
});

describe('addresses', () => {
  it('are read and written as usual', () => {
    const same = [
      '0.0.0.0',
      '255.255.255.255',
      '10.1.2.3',
      '::',
      '::1',
      '1::',
      'fd00::5',
      '2001:db8:0:1:1:1:1:1',
      '2001:0:0:1::1',
      'ff02::1:ff00:1',
      '1:2:3:4:5:6:7:8',
    ];
    for (const text of same) {
      const { family, words } = parsePrefix(text) as Prefix;
      assert.equal(formatAddress(family, words), text);
    }
    assert.deepEqual((parsePrefix('::ffff:1.2.3.4') as Prefix).words, [0, 0, 0xffff, 0x01020304]);
  });
});
