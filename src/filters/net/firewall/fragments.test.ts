import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OWN_MAC, TestFirewall } from '../../../../test/support/firewall.js';
import { ethernet, type IpOptions, ip, TCP, tcp, udp } from '../../../../test/support/packets.js';

const SIDES = { 4: ['192.0.2.1', '10.0.0.5'], 6: ['2001:db8::1', 'fd00::5'] } as const;

for (const family of [4, 6] as const) {
  const [theirs, mine] = SIDES[family];
  const make = (payload: Buffer, protocol: number, fragment: IpOptions['fragment'], more: Partial<IpOptions> = {}) =>
    ethernet({ from: OWN_MAC }, ...ip(theirs, mine, payload, { protocol, ...(fragment && { fragment }), ...more }));
  const first = (id: number, port = 53, bytes = 1000) =>
    make(udp(5000, port, Buffer.alloc(bytes - 8)), 17, { id, start: 0, more: true });
  const later = (id: number, start: number, more = false) => make(Buffer.alloc(64, 0xff), 17, { id, start, more });
  const firewall = (more = {}) =>
    new TestFirewall({
      rules: [
        { in: 'accept', protocol: 'udp', port: 53 },
        { in: 'accept', protocol: 'tcp', port: 80 },
      ],
      ...more,
    });

  describe(`fragments of IPv${family}`, () => {
    for (const track of [true, false]) {
      it(`do as their first one, ${track ? 'tracked' : 'stateless'}`, () => {
        const wall = firewall({ track });
        assert.equal(wall.in(later(1, 1000)), 'bad_fragment', 'none came before');
        assert.equal(wall.in(first(1)), 'accepted');
        assert.equal(wall.in(later(1, 1000, true)), 'related');
        assert.equal(wall.in(later(1, 1064)), 'related');
        assert.equal(wall.in(later(2, 1000)), 'bad_fragment', 'of another packet');
        assert.equal(wall.in(first(3, 54)), 'dropped_default');
        assert.equal(wall.in(later(3, 1000)), 'bad_fragment', 'of one that was dropped');
        assert.equal(wall.out(later(1, 1000)), 'bad_fragment', 'of the other direction');
        wall.pass(30);
        assert.equal(wall.in(later(1, 1000)), 'bad_fragment', 'too late');
      });
    }

    it('do not overwrite what the rules have looked at', () => {
      const wall = firewall();
      wall.in(first(1));
      assert.equal(wall.in(later(1, 8)), 'bad_fragment');
      assert.equal(wall.in(later(1, 992)), 'bad_fragment', 'nor what is behind that');
      const tiny = make(tcp(5000, 80, { flags: TCP.SYN }).subarray(0, 16), 6, { id: 4, start: 0, more: true });
      assert.equal(wall.in(tiny), 'bad_fragment', 'flags that are in the second');
      const headers = make(udp(5000, 53).subarray(0, 4), 17, { id: 5, start: 0, more: true });
      assert.equal(wall.in(headers), 'bad_fragment');
      assert.equal(
        wall.in(make(Buffer.alloc(64), 17, { id: 1, start: 65_528, more: false })),
        'bad_fragment',
        'too long a packet',
      );
      assert.equal(wall.in(make(Buffer.alloc(0), 17, { id: 1, start: 2000, more: false })), 'bad_fragment', 'nothing');
    });

    it('that are whole packets are judged as those', () => {
      const whole = (port: number) => make(udp(5000, port), 17, { id: 9, start: 0, more: false });
      // In IPv4 that is no fragment at all.
      assert.equal(firewall().in(whole(53)), 'accepted');
      assert.equal(firewall().in(whole(54)), 'dropped_default');
    });
  });
}

describe('headers of IPv6', () => {
  const [theirs, mine] = SIDES[6];
  const hop = { number: 0, bytes: Buffer.alloc(8) };
  const routing = { number: 43, bytes: Buffer.from([0, 2, ...Array<number>(22).fill(0)]) };
  const options = { number: 60, bytes: Buffer.alloc(16).fill(1, 1, 2) };

  it('are looked through, to their ports', () => {
    const wall = new TestFirewall({ rules: [{ in: 'accept', protocol: 'tcp', port: 80 }] });
    for (const extensions of [[hop], [hop, routing, options], [options, options]]) {
      const to = (port: number) =>
        ethernet(
          { from: OWN_MAC },
          ...ip(theirs, mine, tcp(extensions.length * 8 + extensions[0]!.number, port, { flags: TCP.SYN }), {
            protocol: 6,
            extensions,
          }),
        );
      assert.equal(wall.in(to(80)), 'accepted');
      assert.equal(wall.in(to(81)), 'dropped_default');
    }
  });

  it('hide no fragment within a fragment', () => {
    const wall = new TestFirewall({ default: 'accept' });
    const inner = { number: 44, bytes: Buffer.from([0, 0, 0x04, 0x01, 0, 0, 0, 1]) };
    const outer = { number: 44, bytes: Buffer.from([0, 0, 0x00, 0x00, 0, 0, 0, 2]) };
    assert.equal(
      wall.in(
        ethernet({ from: OWN_MAC }, ...ip(theirs, mine, udp(1, 2), { protocol: 17, extensions: [outer, inner] })),
      ),
      'malformed',
    );
  });

  it('behind more than can be looked through let nothing pass', () => {
    const wall = new TestFirewall({ default: 'accept' });
    const frame = ethernet(
      { from: OWN_MAC },
      ...ip(theirs, mine, udp(1, 2), { protocol: 17, extensions: Array(8).fill(hop) }),
    );
    assert.equal(wall.in(frame), 'malformed');
  });
});

describe('headers that contradict themselves', () => {
  const wall = new TestFirewall({ default: 'accept' });
  const tell = (payload: Buffer, more: IpOptions, tags: { type?: number; vlan: number }[] = []) =>
    wall.in(ethernet({ from: OWN_MAC, tags }, ...ip('192.0.2.1', '10.0.0.5', payload, more)));

  it('are dropped', () => {
    assert.equal(tell(udp(1, 2), { protocol: 17 }), 'accepted_default');
    assert.equal(tell(udp(1, 2), { protocol: 17, options: Buffer.alloc(8) }), 'established');
    assert.equal(tell(udp(1, 2), { protocol: 17, length: 20 }), 'malformed', 'a header behind the end of its packet');
    assert.equal(tell(udp(1, 2), { protocol: 17, length: 19 }), 'malformed');
    assert.equal(tell(tcp(1, 2).subarray(0, 19), { protocol: 6 }), 'malformed');
    const long = tcp(1, 2);
    long[12] = 0xf0;
    assert.equal(tell(long, { protocol: 6 }), 'malformed', 'options behind the end');
    long[12] = 0x40;
    assert.equal(tell(long, { protocol: 6 }), 'malformed');
    assert.equal(tell(tcp(1, 2, { flags: 0 }), { protocol: 6 }), 'invalid');
    assert.equal(tell(tcp(1, 2, { flags: TCP.SYN | TCP.FIN }), { protocol: 6 }), 'invalid');
    assert.equal(tell(tcp(1, 2, { flags: TCP.SYN | TCP.RST }), { protocol: 6 }), 'invalid');
  });

  it('are found behind two tags, and more tags let nothing pass', () => {
    const rules = new TestFirewall({ default: 'accept', rules: [{ in: 'drop', protocol: 'udp', port: 2 }] });
    const tagged = (count: number, type = 0x8100) =>
      ethernet(
        { from: OWN_MAC, tags: Array.from({ length: count }, (_, i) => ({ type: i === 0 ? type : 0x8100, vlan: 5 })) },
        ...ip('192.0.2.1', '10.0.0.5', udp(1, 2), { protocol: 17 }),
      );
    for (const count of [0, 1, 2]) assert.equal(rules.in(tagged(count)), 'dropped', `${count} tags`);
    assert.equal(rules.in(tagged(2, 0x88a8)), 'dropped');
    assert.equal(rules.in(tagged(3)), 'malformed');
  });
});
