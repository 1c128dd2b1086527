import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OWN_MAC, TestFirewall } from '../../../../test/support/firewall.js';
import { arp, echo, ethernet, ip, neighbour, TCP, tcp, udp } from '../../../../test/support/packets.js';

const OTHER = '52:54:00:00:00:02';
/** fe80:: and the EUI-64 of `OWN_MAC`. */
const LOCAL = 'fe80::5054:ff:fe00:1';
const ADDRESSES = ['10.0.0.5', '10.0.1.0/24', 'fd00::5'];
const guarded = (more = {}) => new TestFirewall({ default: 'accept', spoof_guard: { addresses: ADDRESSES, ...more } });
const packet = (source: string, destination: string, payload: Buffer, protocol: number, from = OWN_MAC, hops = 64) =>
  ethernet({ from }, ...ip(source, destination, payload, { protocol, hops }));
const nd = (source: string, message: Buffer, hops = 255) => packet(source, 'ff02::1', message, 58, OWN_MAC, hops);

describe('the spoofing guard', () => {
  it('lets a guest send from its own addresses only', () => {
    const wall = guarded();
    for (const source of ['10.0.0.5', '10.0.1.77'])
      assert.equal(wall.out(packet(source, '1.2.3.4', udp(1, 2), 17)), 'accepted_default');
    for (const source of ['10.0.0.6', '10.0.2.1', '0.0.0.0', '255.255.255.255'])
      assert.equal(wall.out(packet(source, '1.2.3.4', udp(1, 2), 17)), 'spoofed_address', source);
    for (const source of ['fd00::5', LOCAL])
      assert.equal(wall.out(packet(source, 'fd00::9', tcp(1, 2), 6)), 'accepted_default');
    for (const source of ['fd00::6', 'fe80::1', '::'])
      assert.equal(wall.out(packet(source, 'fd00::9', tcp(1, 2), 6)), 'spoofed_address', source);
    assert.equal(wall.out(packet('10.0.0.5', '1.2.3.4', udp(1, 2), 17, OTHER)), 'spoofed_mac');
    assert.equal(
      wall.in(packet('10.0.0.6', '10.0.0.5', udp(1, 2), 17, OTHER)),
      'accepted_default',
      'others are others',
    );
    assert.equal(wall.out(packet('0.0.0.0', '255.255.255.255', udp(68, 67), 17)), 'basics');
  });

  it('guards no addresses where none are named, and no cards where that is not wanted', () => {
    assert.equal(new TestFirewall({}).out(packet('10.9.9.9', '1.2.3.4', udp(1, 2), 17)), 'accepted_default');
    const free = new TestFirewall({ spoof_guard: { mac: false } });
    assert.equal(free.out(packet('10.9.9.9', '1.2.3.4', udp(1, 2), 17, OTHER)), 'accepted_default');
    const two = new TestFirewall({ spoof_guard: { mac: [OTHER] } });
    for (const [i, from] of [OWN_MAC, OTHER].entries())
      assert.equal(two.out(packet('10.9.9.9', '1.2.3.4', udp(1, i), 17, from)), 'accepted_default');
    assert.equal(two.out(packet('10.9.9.9', '1.2.3.4', udp(1, 2), 17, '52:54:00:00:00:03')), 'spoofed_mac');
  });

  it('of ARP lets a guest say what it is, and ask', () => {
    const say = (wall: TestFirewall, operation: number, mac: string, address: string, from = OWN_MAC) =>
      wall.out(ethernet({ from }, 0x0806, arp(operation, mac, address)));
    for (const operation of [1, 2]) {
      assert.equal(say(guarded(), operation, OWN_MAC, '10.0.0.5'), 'basics');
      assert.equal(say(guarded(), operation, OWN_MAC, '10.0.0.1'), 'spoofed_arp', 'it is not the router');
      assert.equal(say(guarded(), operation, OTHER, '10.0.0.5'), 'spoofed_arp');
      assert.equal(say(guarded(), operation, OWN_MAC, '10.0.0.5', OTHER), 'spoofed_mac');
      assert.equal(say(new TestFirewall({}), operation, OTHER, '10.0.0.5'), 'spoofed_arp');
      assert.equal(say(new TestFirewall({ spoof_guard: { mac: false } }), operation, OTHER, '10.0.0.5'), 'spoofed_arp');
      assert.equal(say(guarded({ arp: false }), operation, OTHER, '10.0.0.1'), 'basics');
    }
    assert.equal(say(guarded(), 1, OWN_MAC, '0.0.0.0'), 'basics', 'is the address free?');
    const cut = ethernet({ from: OWN_MAC }, 0x0806, arp(1, OWN_MAC, '10.0.0.5').subarray(0, 27));
    assert.equal(guarded().out(cut), 'malformed');
  });

  it('of neighbour discovery lets a guest say what it is, and ask', () => {
    const wall = guarded();
    assert.equal(wall.out(nd('fd00::5', neighbour(136, 'fd00::5', { type: 2, mac: OWN_MAC }))), 'basics');
    assert.equal(wall.out(nd(LOCAL, neighbour(136, LOCAL))), 'basics');
    assert.equal(wall.out(nd('fd00::5', neighbour(136, 'fd00::1', { type: 2, mac: OWN_MAC }))), 'bad_neighbour');
    assert.equal(wall.out(nd('fd00::5', neighbour(136, 'fd00::5', { type: 2, mac: OTHER }))), 'bad_neighbour');
    assert.equal(wall.out(nd('fd00::5', neighbour(135, 'fd00::1', { type: 1, mac: OWN_MAC }))), 'basics');
    assert.equal(wall.out(nd('fd00::5', neighbour(135, 'fd00::1', { type: 1, mac: OTHER }))), 'bad_neighbour');
    assert.equal(wall.out(nd('::', neighbour(135, 'fd00::5'))), 'basics', 'is the address free?');
    assert.equal(wall.out(nd(LOCAL, neighbour(133, undefined, { type: 1, mac: OWN_MAC }))), 'basics');
    for (const type of [134, 137])
      assert.equal(wall.out(nd(LOCAL, neighbour(type, type === 134 ? undefined : 'fd00::1'))), 'bad_neighbour');
    assert.equal(wall.out(nd('fd00::5', neighbour(136, 'fd00::5'), 64)), 'bad_neighbour', 'from beyond the link');
    assert.equal(wall.in(nd('fe80::9', neighbour(134, undefined), 64)), 'bad_neighbour', 'nor to it');
    assert.equal(wall.in(nd('fe80::9', neighbour(134, undefined))), 'basics');
    assert.equal(guarded({ router: true }).out(nd(LOCAL, neighbour(134, undefined))), 'basics');
  });

  it('lets no guest be a DHCP server, unless it is one', () => {
    const offers = [
      packet('10.0.0.5', '255.255.255.255', udp(67, 68), 17),
      packet('fd00::5', 'fe80::9', udp(547, 546), 17),
    ];
    for (const offer of offers) {
      assert.equal(guarded().out(offer), 'dhcp_server');
      assert.equal(guarded({ dhcp_server: true }).out(offer), 'basics');
    }
    const strict = (more = {}) => new TestFirewall({ default: 'drop', spoof_guard: more });
    assert.equal(strict().in(packet('0.0.0.0', '255.255.255.255', udp(68, 67), 17, OTHER)), 'dropped_default');
    assert.equal(
      strict({ dhcp_server: true }).in(packet('0.0.0.0', '255.255.255.255', udp(68, 67), 17, OTHER)),
      'basics',
    );
  });
});

describe('what no card can do without', () => {
  it('passes where nothing else does, unless a rule or the options say otherwise', () => {
    const frames = [
      ethernet({ from: OWN_MAC }, 0x0806, arp(1, OWN_MAC, '10.0.0.5')),
      packet('0.0.0.0', '255.255.255.255', udp(68, 67), 17),
      nd(LOCAL, neighbour(135, 'fd00::1')),
    ];
    for (const frame of frames) {
      assert.equal(new TestFirewall({ default: 'drop' }).out(frame), 'basics');
      assert.equal(new TestFirewall({ default: 'drop', basics: false }).out(frame), 'dropped_default');
      assert.equal(new TestFirewall({ rules: [{ out: 'drop' }] }).out(frame), 'dropped');
    }
    const strict = new TestFirewall({ default: 'drop' });
    assert.equal(strict.out(packet('10.0.0.5', '10.0.0.1', echo(8, 1), 1)), 'dropped_default');
    assert.equal(strict.out(packet('10.0.0.5', '10.0.0.1', tcp(1, 2, { flags: TCP.SYN }), 6)), 'dropped_default');
    assert.equal(strict.out(ethernet({ from: OWN_MAC }, 0x88cc, Buffer.alloc(46))), 'dropped_default');
  });
});
