import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ModelFirewall, type TrackedPacket } from '../../../../test/model/firewall.js';
import { BytesFrame } from '../../../../test/support/bytes-frame.js';
import { frameOf, randomPacket, randomRule, TestFirewall } from '../../../../test/support/firewall.js';
import { check, Random, seeded } from '../../../../test/support/seed.js';
import { REASONS } from './engine.js';

const FLAGS = ['S', 'SA', 'A', 'A', 'A', 'FA', 'RA', 'R', 'F', 'SF', ''];
const JUMPS = [0, 0, 0, 0, 1, 9, 10, 29, 30, 59, 60, 299, 400];

/** A packet with what a connection needs; now and then it belongs to one that there was before. */
function next(random: Random, before: TrackedPacket[]): TrackedPacket {
  let packet: TrackedPacket = randomPacket(random);
  const old = before.length > 0 && random.chance(0.85) ? random.pick(before) : undefined;
  if (old) {
    packet = { ...old };
    if (random.chance(0.5))
      packet = {
        ...packet,
        outbound: !old.outbound,
        source: old.destination,
        destination: old.source,
        sourcePort: old.port,
        port: old.sourcePort,
      };
    if (packet.icmpType !== undefined && random.chance(0.5))
      packet.icmpType = random.pick(packet.family === 4 ? [0, 8] : [128, 129]);
  }
  packet.flags = random.pick(FLAGS);
  packet.sequence = random.chance(0.7) ? 1000 : random.word();
  packet.acknowledgment = random.chance(0.7) ? random.pick([1001, 1001 + 65_535]) : random.word();
  packet.echoId = random.pick([1, 2]);
  return packet;
}

describe('the firewall', () => {
  it('decides as the plain one does, over random rules, packets and times', () => {
    const seen = new Map<string, number>();
    check(
      fc.property(fc.integer(), fc.constantFrom(0, 3, 20, 60), (seed, count) => {
        const random = new Random(seed);
        const rules = Array.from({ length: count }, () => ({ ...randomRule(random), track: random.chance(0.8) }));
        const [outbound, inbound] = [random.pick(['accept', 'drop']), random.pick(['accept', 'drop'])];
        const pickup = random.chance(0.7);
        const firewall = new TestFirewall({
          rules,
          default: { outbound, inbound },
          spoof_guard: { mac: false, arp: false, router: true, dhcp_server: false },
          track: { tcp_established: '400s', udp: '180s', pickup },
        });
        const model = new ModelFirewall({ rules, outbound, inbound, established: 400, udp: 180, pickup });
        const before: TrackedPacket[] = [];
        for (let i = 0; i < 150; i++) {
          const packet = next(random, before);
          if (before.length < 6) before.push(packet);
          // Its clients' ports are guarded, which is not the model's matter.
          if (packet.outbound && packet.protocol === 17 && [67, 547].includes(packet.sourcePort!)) continue;
          const expected = model.decide(packet, firewall.connections.nowS);
          const found = REASONS[firewall.engine.decide(frameOf(packet), packet.outbound)]!;
          assert.equal(
            found,
            expected,
            `frame ${i}: ${JSON.stringify(packet, (_, value) => (typeof value === 'bigint' ? value.toString(16) : value))}`,
          );
          seen.set(found, (seen.get(found) ?? 0) + 1);
          firewall.pass(random.pick(JUMPS));
        }
      }),
      200,
    );
    for (const reason of [
      'established',
      'accepted',
      'dropped',
      'accepted_default',
      'dropped_default',
      'invalid',
      'basics',
    ])
      assert.ok(seen.get(reason)! > 100, `${reason}: ${seen.get(reason)}`);
  });

  it('takes whatever bytes, and lets nothing malformed pass', () => {
    seeded(1, (random) => {
      const firewall = new TestFirewall({
        default: 'accept',
        spoof_guard: { addresses: ['10.0.0.0/8', 'fd00::/8'] },
        rules: Array.from({ length: 40 }, () => randomRule(random)),
      });
      const counts = new Map<string, number>();
      for (let i = 0; i < 60_000; i++) {
        const bytes = mangled(random);
        const frame = new BytesFrame(bytes);
        const outbound = random.chance(0.5);
        const reason = REASONS[firewall.engine.decide(frame, outbound)]!;
        counts.set(reason, (counts.get(reason) ?? 0) + 1);
        if (frame.fault !== 0) assert.equal(reason, 'malformed', bytes.toString('hex'));
        if (random.chance(0.01)) firewall.pass(random.below(100));
      }
      for (const reason of ['malformed', 'bad_fragment', 'spoofed_mac', 'accepted', 'dropped'] as const)
        assert.ok(counts.has(reason), `${reason}: ${JSON.stringify([...counts])}`);
    });
  });
});

/** Noise, or a good frame of which some bytes are other ones, or that is cut off. */
function mangled(random: Random): Buffer {
  const noise = () => Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256)));
  const packet: TrackedPacket = { ...randomPacket(random), flags: random.pick(FLAGS), echoId: 1 };
  const frame = Buffer.alloc(1600);
  const good = frame.subarray(0, frameOf(packet).copyTo(frame, 0, 1600));
  const kind = random.below(8);
  if (kind === 0) return noise();
  for (let i = random.below(4); i > 0; i--)
    good[12 + random.below(good.length - 12)] = random.pick([0, 1, 0x20, 44, 60, 255, random.below(256)]);
  if (kind === 1) return good.subarray(0, random.below(good.length));
  return kind === 2 ? Buffer.concat([good, noise()]) : good;
}
