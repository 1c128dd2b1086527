/** Guests behind a firewall that try to get past it: nothing that it would refuse comes out on the other side. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { firewall } from '../../src/filters/net/firewall/filter.js';
import { NET_HEADER_BYTES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { TestFirewall } from '../support/firewall.js';
import { definedFilter } from '../support/frame-filters.js';
import { type Guest, headerBytes, NetRig, SEND_AREA } from '../support/net-rig.js';
import { arp, echo, ethernet, ip, neighbour, TCP, tcp, udp } from '../support/packets.js';
import { type Random, seeded } from '../support/seed.js';

const OWN = '10.0.0.5';
const OWN6 = 'fd00::5';
const PEER = '10.0.0.9';
const PEER6 = 'fd00::9';
const LINK_HEADER_BYTES = 14;
const RULES = {
  default: 'drop',
  track: { on: false },
  spoof_guard: { addresses: [OWN, OWN6] },
  rules: [
    { both: 'accept', protocol: ['tcp', 'udp'], port: 443 },
    { both: 'accept', protocol: 'icmp', icmp_type: 'echo-request' },
  ],
};

const macText = (mac: Uint8Array) => [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

/** A guest that attacks, whose card has the firewall, or that of whom it attacks; and one that leaves nothing to the other side, so that we do it. */
function start(at: 'sender' | 'receiver' = 'sender') {
  const rig = new NetRig();
  const options = { bufferBytes: 4096, buffers: 64 };
  const first = Buffer.from(new NetRig().guest().mac);
  const mac = at === 'sender' ? first : Buffer.from([...first.subarray(0, 5), first[5]! + 1]);
  const { filter, counts } = definedFilter(firewall, RULES, { mac });
  const made = { filters: [filter] };
  const attacker = rig.guest({ ...options, ...(at === 'sender' ? made : {}) });
  const features = attacker.device.offeredFeatures & ~OFFLOAD_FEATURES;
  const victim = rig.guest({ ...options, features, ...(at === 'receiver' ? made : {}) });
  assert.deepEqual(at === 'sender' ? attacker.mac : victim.mac, mac);
  const link = { from: macText(attacker.mac), to: macText(victim.mac) };
  return { rig, attacker, victim, link, filter, counts };
}

const NEEDS_CSUM = 1;

/** What the sum over a frame has to be made of so that it comes to `wanted`: the last word of the frame, which is even. */
function aim(frame: Buffer, from: number, wanted: number): void {
  frame.writeUInt16BE(0, frame.length - 2);
  let sum = 0;
  for (let i = from; i < frame.length; i += 2) sum += frame.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  frame.writeUInt16BE(((~wanted & 0xffff) - sum + 0xffff) % 0xffff, frame.length - 2);
}

/** Has the guest change its memory when we have read some of what it sends so many times. */
function betweenReads(guest: Guest, reads: number, change: () => void): void {
  let count = 0;
  for (const bytes of guest.memory.guest.bytes)
    bytes.copy = (...args: Parameters<Buffer['copy']>) => {
      const copied = Buffer.prototype.copy.apply(bytes, args);
      if (++count === reads) change();
      return copied;
    };
}

describe('guests that leave a checksum to us', () => {
  for (const at of ['sender', 'receiver'] as const)
    it(`do not get it written over a port that was judged: firewall of the ${at}`, () => {
      const { rig, attacker, victim, link } = start(at);
      const syn = tcp(1000, 443, { flags: TCP.SYN, data: Buffer.alloc(12) });
      const frame = ethernet(link, ...ip(OWN, PEER, syn, { protocol: 6 }));
      attacker.send(frame);
      const port = LINK_HEADER_BYTES + 20 + 2;
      const attack = Buffer.from(frame);
      aim(attack, port, 22);
      attacker.send(attack, { header: headerBytes({ FLAGS: NEEDS_CSUM, CSUM_START: port, CSUM_OFFSET: 0 }) });
      attacker.send(frame);
      rig.run();
      const ports = victim.frames().map((got) => got.readUInt16BE(port));
      assert.deepEqual(ports, [443, 443]);
      assert.equal(attacker.count('DROPPED_OFFLOAD'), 1);
      rig.release();
    });

  it('do not get it written over the address that an ARP says is theirs', () => {
    const { rig, attacker, victim, link } = start();
    const frame = ethernet(link, 0x0806, Buffer.concat([arp(2, link.from, OWN), Buffer.alloc(18)]));
    const address = LINK_HEADER_BYTES + 14;
    attacker.send(frame);
    const attack = Buffer.from(frame);
    aim(attack, address + 2, 1);
    attacker.send(attack, { header: headerBytes({ FLAGS: NEEDS_CSUM, CSUM_START: address + 2, CSUM_OFFSET: 0 }) });
    rig.run();
    const addresses = victim.frames().map((got) => [...got.subarray(address, address + 4)].join('.'));
    assert.deepEqual(addresses, [OWN]);
    rig.release();
  });

  it('have the place of it held against the headers that are judged, whatever they were a moment before', () => {
    let changes = 0;
    for (const cuts of [[], [NET_HEADER_BYTES + 20], [NET_HEADER_BYTES + 30, 4, 1, 1]])
      for (const reads of [1, 2, 3]) {
        const { rig, attacker, victim, link } = start();
        const l3 = LINK_HEADER_BYTES;
        const port = l3 + 20 + 2;
        const frame = ethernet(link, ...ip(OWN, PEER, udp(1000, 443, Buffer.alloc(20)), { protocol: 17 }));
        aim(frame, port, 22);
        // At first it is a later fragment, which has no ports.
        frame.writeUInt16BE(64 / 8, l3 + 6);
        betweenReads(attacker, reads, () => {
          const memory = attacker.memory.bytesOf(SEND_AREA.guestAddress);
          // Wherever the pieces are.
          for (let at = memory.indexOf(0x08); at >= 0 && at < 4096; at = memory.indexOf(0x08, at + 1))
            if (memory[at - 1] === 0) {
              memory[at] = 0;
              changes++;
            }
        });
        attacker.send(frame, { header: headerBytes({ FLAGS: NEEDS_CSUM, CSUM_START: port, CSUM_OFFSET: 0 }), cuts });
        rig.run();
        for (const got of victim.frames())
          assert.equal(new TestFirewall(RULES, link.from).out(got), 'accepted', `${cuts} ${reads}`);
        rig.release();
      }
    assert.ok(changes > 0, 'the memory is changed');
  });
});

/** Where headers of a frame may be, bytes. */
const HEADS_END = 120;

const TAG_TYPES = [0x8100, 0x88a8];

/** A frame that is right, of any kind. */
function anyFrame(random: Random, link: { from: string; to: string }): Buffer {
  const six = random.chance(0.4);
  const [source, destination] = six ? [random.pick([OWN6, 'fd00::6']), PEER6] : [random.pick([OWN, '10.0.0.6']), PEER];
  const port = random.pick([443, 443, 22]);
  const data = Buffer.alloc(random.pick([8, 40, 100, 1200]), random.below(256));
  const flags = random.pick([TCP.SYN, TCP.ACK, TCP.SYN | TCP.FIN, 0]);
  const [protocol, payload] = random.pick<[number, Buffer]>([
    [6, tcp(1000, port, { flags, data })],
    [17, udp(1000, port, data)],
    [six ? 58 : 1, echo(six ? 128 : 8, 7)],
    [58, neighbour(random.pick([133, 135, 136]), OWN6, { type: 1, mac: random.pick([link.from, link.to]) })],
    [random.pick([47, 51, 4, 41, 132]), data],
  ]);
  const fragment = random.chance(0.2)
    ? { id: random.below(3), start: random.pick([0, 0, 8, 64, 72]), more: random.chance(0.5) }
    : undefined;
  const extensions = Array.from({ length: six ? random.below(4) : 0 }, () => ({
    number: random.pick([0, 43, 60, 44]),
    bytes: Buffer.concat([Buffer.from([0, random.below(2)]), Buffer.alloc(random.pick([6, 14]))]),
  }));
  const options = Buffer.alloc(4 * random.pick([0, 0, 1, 10]));
  const hops = random.pick([64, 255]);
  const more = { protocol, hops, extensions, options, ...(fragment === undefined ? {} : { fragment }) };
  const tags = Array.from({ length: random.pick([0, 0, 0, 1, 2, 3]) }, () => ({
    type: random.pick(TAG_TYPES),
    vlan: random.pick([0, 5]),
  }));
  const from = random.pick([link.from, link.from, link.from, link.to]);
  if (random.chance(0.1))
    return ethernet({ ...link, from, tags }, 0x0806, arp(1 + random.below(2), link.from, random.pick([OWN, PEER])));
  return ethernet({ ...link, from, tags }, ...ip(source, destination, payload, more));
}

/** A header that leaves work to us, often about where something is. */
function anyHeader(random: Random, byteLength: number): Buffer {
  if (random.chance(0.4)) return Buffer.alloc(NET_HEADER_BYTES);
  return headerBytes({
    FLAGS: random.pick([NEEDS_CSUM, NEEDS_CSUM, 0, 255]),
    GSO_TYPE: random.pick([0, 0, 0, 1, 4, 5, 0x81, 3]),
    GSO_SIZE: random.pick([0, 1, 48, 100, 1448]),
    HDR_LEN: random.pick([0, 54, byteLength, 0xffff]),
    CSUM_START: random.chance(0.5) ? random.pick([14, 34, 38, 54, 58]) : random.below(HEADS_END),
    CSUM_OFFSET: random.chance(0.5) ? random.pick([0, 2, 6, 16]) : random.below(40),
  });
}

describe('guests that send anything through a firewall', () => {
  for (const at of ['sender', 'receiver'] as const)
    it(`get through what it would let pass as it comes out, and it does not fail: firewall of the ${at}`, () => {
      let came = 0;
      for (let round = 0; round < 60; round++)
        seeded(round, (random) => {
          const { rig, attacker, victim, link, filter } = start(at);
          const judge = new TestFirewall(RULES, at === 'sender' ? link.from : link.to);
          for (let i = 0; i < 40; i++) {
            const frame = anyFrame(random, link);
            const changes = random.pick([0, 0, 1, 1, 3]);
            for (let j = 0; j < changes; j++)
              frame[12 + random.below(Math.min(frame.length, HEADS_END) - 12)] = random.below(256);
            const whole = random.chance(0.1) ? frame.subarray(0, random.below(frame.length)) : frame;
            const cuts = random.chance(0.5)
              ? []
              : Array.from({ length: 1 + random.below(5) }, () => 1 + random.below(40));
            attacker.send(whole, { header: anyHeader(random, whole.length), cuts, skew: random.below(4) });
            if (random.chance(0.3))
              betweenReads(attacker, 1 + random.below(3), () => {
                const memory = attacker.memory.bytesOf(SEND_AREA.guestAddress);
                for (let j = 0; j < 20; j++) memory[random.below(200) + 200 * random.below(20)] = random.below(256);
              });
            rig.run();
            for (const got of victim.frames()) {
              came++;
              // A card may get one tag more than a guest may send, and the judge looks at what is sent.
              if (at === 'receiver' && [12, 16, 20].every((tag) => TAG_TYPES.includes(got.readUInt16BE(tag)))) continue;
              const said = at === 'sender' ? judge.out(got) : judge.in(got);
              assert.match(said, /^(accepted|basics|related)$/, got.toString('hex'));
            }
          }
          assert.deepEqual(filter.memory.faults, []);
          assert.ok(!filter.memory.out);
          rig.release();
        });
      assert.ok(came > 20, `${came} frames came through`);
    });
});
