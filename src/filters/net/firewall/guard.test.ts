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

describe('what is delivered otherwise than it says', () => {
  const send = (type: number, payload: Buffer) =>
    new TestFirewall({ default: 'accept', basics: false }).out(ethernet({ from: OWN_MAC }, type, payload));

  /** IPv4 with options, whose header is as long as they need. */
  const withOptions = (...options: number[]) => {
    const [type, packet] = ip('10.0.0.5', '1.2.3.4', udp(1, 2), { protocol: 17 });
    const padded = Buffer.alloc(4 * Math.ceil(options.length / 4));
    padded.set(options);
    const longer = Buffer.concat([packet.subarray(0, 20), padded, packet.subarray(20)]);
    longer[0] = 0x45 + padded.length / 4;
    longer.writeUInt16BE(longer.length, 2);
    return send(type, longer);
  };
  /** IPv6 with a header before that of UDP. */
  const withExtension = (protocol: number, ...fields: number[]) =>
    send(...ip('fd00::5', 'fd00::9', Buffer.concat([Buffer.from([17, ...fields]), udp(1, 2)]), { protocol }));

  it('is dropped: source routes, and routing headers that are not used up', () => {
    assert.equal(withOptions(7, 7, 4, 0, 0, 0, 0), 'accepted_default', 'a record of the route');
    for (const kind of [131, 137]) {
      assert.equal(withOptions(kind, 7, 4, 9, 9, 9, 9), 'malformed');
      assert.equal(withOptions(1, 1, 7, 3, 4, kind, 3, 4), 'malformed', 'behind others');
      assert.equal(withOptions(0, kind, 3, 4), 'accepted_default', 'behind the end there are none');
    }
    for (const options of [[7, 1], [7, 0], [7, 60], [7]])
      assert.equal(withOptions(...options), 'malformed', `${options}`);
    for (const type of [0, 2, 4]) {
      assert.equal(withExtension(43, 0, type, 1, 0, 0, 0, 0), 'malformed');
      assert.equal(withExtension(43, 0, type, 0, 0, 0, 0, 0), 'accepted_default', 'it has arrived');
    }
    assert.equal(withExtension(60, 0, 1, 1, 0, 0, 0, 0), 'accepted_default', 'options');
    const first = [43, 0, 1, 4, 0, 0, 0, 0];
    const hidden = Buffer.concat([Buffer.from([...first, 17, 0, 0, 1, 0, 0, 0, 0]), udp(1, 2)]);
    assert.equal(send(...ip('fd00::5', 'fd00::9', hidden, { protocol: 60 })), 'malformed', 'behind another header');
  });

  it('is dropped: IP and ARP within LLC and SNAP', () => {
    const [type, packet] = ip('10.0.0.66', '1.2.3.4', udp(1, 2), { protocol: 17 });
    const snap = (inner: number) =>
      Buffer.concat([Buffer.from([0xaa, 0xaa, 3, 0, 0, 0, inner >> 8, inner & 255]), packet]);
    for (const inner of [type, 0x86dd, 0x0806, 0x8100, 0x88a8])
      assert.equal(send(packet.length + 8, snap(inner)), 'malformed', `${inner}`);
    assert.equal(send(packet.length + 8, snap(0x88cc)), 'accepted_default');
    assert.equal(send(packet.length + 3, Buffer.concat([Buffer.from([0x42, 0x42, 3]), packet])), 'accepted_default');
  });
});
