import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { OWN_MAC, TestFirewall } from '../../../../test/support/firewall.js';
import { echo, ethernet, icmp, ip, TCP, type TcpOptions, tcp, udp } from '../../../../test/support/packets.js';
import { check, Random } from '../../../../test/support/seed.js';
import { Connections, connectionsBytes } from './connections.js';
import { KEY_WORDS, Key } from './key.js';

const ROUTER = '52:54:00:00:00:09';
const MINE = { 4: '10.0.0.5', 6: 'fd00::5' } as const;
const THEIRS = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
type Family = 4 | 6;
const PROTOCOL = { 4: 1, 6: 58 } as const;

/** From the guest, or to it. */
function out(payload: Buffer, protocol: number, family: Family = 4, theirs: string = THEIRS[family]): Buffer {
  return ethernet({ from: OWN_MAC, to: ROUTER }, ...ip(MINE[family], theirs, payload, { protocol }));
}
function into(payload: Buffer, protocol: number, family: Family = 4, theirs: string = THEIRS[family]): Buffer {
  return ethernet({ from: ROUTER, to: OWN_MAC }, ...ip(theirs, MINE[family], payload, { protocol }));
}
const segment = (more: TcpOptions, family: Family = 4) => ({
  out: out(tcp(5000, 80, more), 6, family),
  in: into(tcp(80, 5000, more), 6, family),
});

const SSH = { in: 'accept', protocol: 'tcp', port: 22 };

/** Has the guest connect to port 80 out there. */
function connect(firewall: TestFirewall, family: Family = 4): void {
  assert.equal(firewall.out(segment({ flags: TCP.SYN, sequence: 100 }, family).out), 'accepted_default');
  assert.equal(
    firewall.in(segment({ flags: TCP.SYN | TCP.ACK, sequence: 700, acknowledgment: 101 }, family).in),
    'established',
  );
  assert.equal(firewall.out(segment({ flags: TCP.ACK, acknowledgment: 701 }, family).out), 'established');
}

describe('connections', () => {
  for (const family of [4, 6] as const) {
    it(`that the guest begins get their answers, and nothing else does: IPv${family}`, () => {
      const firewall = new TestFirewall({});
      assert.equal(firewall.in(segment({}, family).in), 'dropped_default');
      connect(firewall, family);
      firewall.pass(86_400);
      assert.equal(firewall.in(segment({}, family).in), 'established');
      assert.equal(firewall.in(into(tcp(81, 5000), 6, family)), 'dropped_default', 'another port');
      const other = family === 4 ? '192.0.2.2' : '2001:db8:0:0:1::1';
      assert.equal(firewall.in(into(tcp(80, 5000), 6, family, other)), 'dropped_default', 'another address');
      assert.equal(firewall.in(into(udp(80, 5000), 17, family)), 'dropped_default', 'another protocol');
      const tagged = ethernet(
        { from: ROUTER, tags: [{ vlan: 7 }] },
        ...ip(THEIRS[family], MINE[family], tcp(80, 5000), { protocol: 6 }),
      );
      assert.equal(firewall.in(tagged), 'dropped_default', 'another VLAN');
      firewall.pass(5 * 86_400);
      assert.equal(firewall.in(segment({}, family).in), 'dropped_default', 'it has expired');
    });

    it(`of UDP and echoes end by time: IPv${family}`, () => {
      const firewall = new TestFirewall({});
      firewall.out(out(udp(5000, 53), 17, family));
      firewall.pass(29);
      assert.equal(firewall.in(into(udp(53, 5000), 17, family)), 'established');
      firewall.pass(179);
      assert.equal(firewall.in(into(udp(53, 5000), 17, family)), 'established');
      firewall.pass(180);
      assert.equal(firewall.in(into(udp(53, 5000), 17, family)), 'dropped_default');
      const [request, reply] = (family === 4 ? [8, 0] : [128, 129]) as [number, number];
      const protocol = PROTOCOL[family];
      assert.equal(firewall.in(into(echo(reply, 3), protocol, family)), 'dropped_default');
      assert.equal(firewall.out(out(echo(request, 3), protocol, family)), 'accepted_default');
      assert.equal(firewall.in(into(echo(reply, 4), protocol, family)), 'dropped_default', 'another identifier');
      assert.equal(firewall.in(into(echo(request, 3), protocol, family)), 'dropped_default', 'a request is no answer');
      assert.equal(firewall.in(into(echo(reply, 3), protocol, family)), 'established');
    });

    it(`both sides may ask for echoes with one identifier: IPv${family}`, () => {
      const firewall = new TestFirewall({ rules: [{ in: 'accept', icmp_type: 'echo-request' }] });
      const [request, reply] = (family === 4 ? [8, 0] : [128, 129]) as [number, number];
      const protocol = PROTOCOL[family];
      assert.equal(firewall.in(into(echo(request, 3), protocol, family)), 'accepted');
      assert.equal(firewall.in(into(echo(reply, 3), protocol, family)), 'dropped_default');
      assert.equal(firewall.out(out(echo(request, 3), protocol, family)), 'accepted_default');
      assert.equal(firewall.in(into(echo(reply, 3), protocol, family)), 'established');
      assert.equal(firewall.out(out(echo(reply, 3), protocol, family)), 'established');
      const [, inner] = ip(MINE[family], THEIRS[family], echo(request, 3), { protocol });
      const error = icmp(family === 4 ? 11 : 3, 0, 0, inner);
      assert.equal(firewall.in(into(error, protocol, family)), 'related');
    });

    it(`get the errors that are about them, and no others: IPv${family}`, () => {
      const firewall = new TestFirewall({});
      connect(firewall, family);
      const protocol = PROTOCOL[family];
      const [unreachable, redirect] = (family === 4 ? [3, 5] : [1, 137]) as [number, number];
      const about = (source: string, payload: Buffer, type = unreachable, cut = 200, innerProtocol = 6) => {
        const [, inner] = ip(source, THEIRS[family], payload, { protocol: innerProtocol });
        const router = family === 4 ? '198.51.100.1' : '2001:db8:ffff::1';
        return into(icmp(type, 1, 0, inner.subarray(0, cut)), protocol, family, router);
      };
      assert.equal(firewall.in(about(MINE[family], tcp(5000, 80))), 'related');
      assert.equal(firewall.in(about(MINE[family], tcp(5000, 80), unreachable, family === 4 ? 28 : 48)), 'related');
      assert.equal(
        firewall.in(about(MINE[family], tcp(5000, 80), unreachable, family === 4 ? 27 : 47)),
        'dropped_default',
      );
      assert.equal(firewall.in(about(MINE[family], tcp(5001, 80))), 'dropped_default');
      assert.equal(firewall.in(about(MINE[family], udp(5000, 80), unreachable, 200, 17)), 'dropped_default');
      assert.notEqual(firewall.in(about(MINE[family], tcp(5000, 80), redirect)), 'related');
      const notMine = family === 4 ? '10.0.0.6' : 'fd00::6';
      assert.equal(firewall.in(about(notMine, tcp(5000, 80))), 'dropped_default', 'what somebody else has sent');
    });
  }

  it('that others begin are answered even where the guest may begin none', () => {
    const firewall = new TestFirewall({ default: 'drop', rules: [SSH] });
    assert.equal(firewall.out(out(tcp(22, 6000, { flags: TCP.SYN | TCP.ACK }), 6)), 'dropped_default');
    assert.equal(firewall.in(into(tcp(6000, 22, { flags: TCP.SYN }), 6)), 'accepted');
    assert.equal(firewall.out(out(tcp(22, 6000, { flags: TCP.SYN | TCP.ACK }), 6)), 'established');
    assert.equal(firewall.out(out(tcp(22, 6000, { flags: TCP.SYN }), 6)), 'dropped_default', 'nor one to there');
    assert.equal(firewall.hits[0], 1);
  });

  it('without tracking answers need a rule of their own', () => {
    for (const written of [{ track: false, rules: [SSH] }, { rules: [{ ...SSH, track: false }] }]) {
      const firewall = new TestFirewall({ default: 'drop', ...written });
      assert.equal(firewall.in(into(tcp(6000, 22, { flags: TCP.SYN }), 6)), 'accepted');
      assert.equal(firewall.out(out(tcp(22, 6000, { flags: TCP.SYN | TCP.ACK }), 6)), 'dropped_default');
    }
  });

  it('of TCP end: with both FINs, with RST, or half', () => {
    const firewall = new TestFirewall({});
    connect(firewall);
    firewall.out(segment({ flags: TCP.FIN | TCP.ACK }).out);
    firewall.pass(299);
    assert.equal(firewall.in(segment({}).in), 'established', 'the other side may still send');
    firewall.in(segment({ flags: TCP.FIN | TCP.ACK }).in);
    firewall.pass(59);
    assert.equal(firewall.in(segment({}).in), 'established');
    assert.equal(firewall.in(segment({ flags: TCP.SYN }).in), 'dropped_default', 'a new one needs a rule');
    assert.equal(
      firewall.out(segment({ flags: TCP.SYN }).out),
      'accepted_default',
      'and gets the place of the old one',
    );
    firewall.pass(59);
    assert.equal(firewall.in(segment({ flags: TCP.RST | TCP.ACK }).in), 'established');
    firewall.pass(10);
    assert.equal(firewall.in(segment({}).in), 'dropped_default');
  });

  it('outlive a segment with RST that nobody takes', () => {
    const firewall = new TestFirewall({});
    connect(firewall);
    firewall.in(segment({ flags: TCP.RST }).in);
    for (let i = 0; i < 20; i++) {
      firewall.pass(9);
      assert.equal(firewall.in(segment({}).in), 'established');
    }
    firewall.pass(3600);
    assert.equal(firewall.in(segment({}).in), 'established', 'whoever has sent more has not reset it');
    firewall.in(segment({ flags: TCP.RST }).in);
    firewall.pass(9);
    assert.equal(firewall.out(segment({}).out), 'established', 'what was on its way');
    firewall.pass(11);
    assert.equal(firewall.in(segment({}).in), 'dropped_default');
  });

  it('of which the beginning was not seen are taken up, unless that is forbidden', () => {
    const open = new TestFirewall({});
    assert.equal(open.out(segment({}).out), 'accepted_default');
    assert.equal(open.in(segment({}).in), 'established');
    open.pass(1000);
    assert.equal(open.in(segment({}).in), 'established', 'both have shown that they know of it');
    const strict = new TestFirewall({ track: { pickup: false } });
    assert.equal(strict.out(segment({}).out), 'invalid');
    const ended = new TestFirewall({});
    assert.equal(ended.out(segment({ flags: TCP.RST }).out), 'accepted_default');
    assert.equal(ended.in(segment({}).in), 'dropped_default', 'an end begins nothing');
  });
});

describe('a full table', () => {
  const SLOTS = 64;
  const options = { default: { outbound: 'accept', inbound: 'accept' }, track: { max: SLOTS } };
  const syn = (i: number) =>
    into(tcp(1024 + (i % 60_000), 80, { flags: TCP.SYN }), 6, 4, `198.51.${(i >> 8) & 255}.${i & 255}`);

  it('of a flood of beginnings loses no connection that is one, nor what the guest has begun', () => {
    const firewall = new TestFirewall(options);
    connect(firewall);
    assert.equal(firewall.out(out(udp(7000, 53), 17)), 'accepted_default');
    assert.equal(firewall.out(out(tcp(5001, 80, { flags: TCP.SYN }), 6)), 'accepted_default');
    const reasons = new Set<string>();
    for (let i = 0; i < 5000; i++) reasons.add(firewall.in(syn(i)));
    assert.deepEqual([...reasons], ['accepted_default'], 'there is always one of the flood to push out');
    for (const frame of [segment({}).in, into(udp(53, 7000), 17), into(tcp(80, 5001, { flags: TCP.SYN | TCP.ACK }), 6)])
      assert.equal(firewall.in(frame), 'established');
    assert.ok(firewall.connections.forEach(() => {}) <= SLOTS);
  });

  it('of connections that answers were forged for keeps none of them', () => {
    const firewall = new TestFirewall(options);
    connect(firewall);
    for (let i = 0; i < 2000; i++) {
      const from = `198.51.${(i >> 8) & 255}.${i & 255}`;
      firewall.in(syn(i));
      firewall.out(out(tcp(80, 1024 + i, { flags: TCP.SYN | TCP.ACK, sequence: 0x7000_0000 }), 6, 4, from));
      // Whoever sends with another's address does not see what it has to acknowledge.
      firewall.in(into(tcp(1024 + i, 80, { flags: TCP.ACK, acknowledgment: i * 1000 }), 6, 4, from));
    }
    let sure = 0;
    firewall.connections.forEach(({ state }) => (state & 0xff) === 3 && sure++);
    assert.equal(sure, 1);
    assert.equal(firewall.in(segment({}).in), 'established');
  });

  it('of connections that are ones takes no more, and lets nothing pass that it cannot remember', () => {
    const firewall = new TestFirewall(options);
    let refused = 0;
    for (let port = 1; port <= 3 * SLOTS; port++) {
      const begun = firewall.out(out(tcp(port, 80, { flags: TCP.SYN }), 6));
      if (begun === 'table_full') {
        refused++;
        continue;
      }
      firewall.in(into(tcp(80, port, { flags: TCP.SYN | TCP.ACK, sequence: 9 }), 6));
      assert.equal(firewall.out(out(tcp(port, 80, { acknowledgment: 10 }), 6)), 'established');
    }
    assert.ok(refused >= 2 * SLOTS);
  });
});

describe('the table of connections', () => {
  it('finds what was put in, and nothing else, as a map does', () => {
    check(
      fc.property(fc.integer(), (seed) => {
        const random = new Random(seed);
        const tracking = { on: true, max: 4096, tcpEstablishedS: 100, udpS: 100, pickup: true };
        const table = new Connections(new SharedArrayBuffer(connectionsBytes(4096)), 0, tracking);
        const map = new Set<string>();
        for (let i = 0; i < 300; i++) {
          const key = new Int32Array(KEY_WORDS);
          key[Key.FAMILY] = random.pick([4, 6]);
          key[Key.PROTOCOL] = random.pick([6, 17]);
          key[Key.VLAN] = random.pick([0, 5]);
          key[Key.SOURCE_PORT] = random.below(3) + 65_533;
          key[Key.DESTINATION_PORT] = random.below(3);
          const words = key[Key.FAMILY] === 4 ? 1 : 4;
          for (let word = 0; word < words; word++)
            for (const at of [Key.SOURCE, Key.DESTINATION]) key[at + word] = random.pick([0, -1, 5]);
          const outbound = random.chance(0.5);
          const [mine, theirs] = outbound ? [Key.SOURCE, Key.DESTINATION] : [Key.DESTINATION, Key.SOURCE];
          const [from, to] = outbound
            ? [Key.SOURCE_PORT, Key.DESTINATION_PORT]
            : [Key.DESTINATION_PORT, Key.SOURCE_PORT];
          const part = (at: number) => key.subarray(at, at + words).join();
          const name = [
            key[Key.FAMILY],
            key[Key.PROTOCOL],
            key[Key.VLAN],
            part(mine),
            part(theirs),
            key[from],
            key[to],
          ].join(' ');
          const found = table.find(key, outbound);
          assert.equal(found >= 0, map.has(name), name);
          if (found >= 0 || random.chance(0.3)) continue;
          assert.ok(table.insert(-1, key, outbound, false, 0));
          map.add(name);
        }
        assert.equal(
          table.forEach(() => {}),
          map.size,
        );
        assert.equal(table.forget(), map.size);
        assert.equal(
          table.forEach(() => {}),
          0,
        );
      }),
      40,
    );
  });

  it('is the same for whoever takes over its memory, and can be taken over into another one', () => {
    const first = new TestFirewall({});
    connect(first);
    const memory = new SharedArrayBuffer(connectionsBytes(16_384));
    const other = new Connections(memory, 0, first.options.track);
    other.nowS = first.connections.nowS;
    other.adopt(first.connections, () => 7);
    const again = new Connections(memory, 0, first.options.track);
    again.nowS = first.connections.nowS;
    const list: unknown[] = [];
    again.forEach(({ protocol, ports, rule, state }) => list.push([protocol, ports, rule, state & 0xff]));
    assert.deepEqual(list, [[6, [5000, 80], 7, 3]]);
  });
});
