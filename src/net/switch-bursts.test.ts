/** A switch held against a plain model of one, frame by frame and in bursts: the same frames go to the same ports. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BROADCAST, expectSame, macOf, makeFrame, withoutTag, withTag } from '../../test/support/frames.js';
import { type Random, SEED, seeded } from '../../test/support/seed.js';
import { TestPort } from '../../test/support/test-port.js';
import { MAC_AGE_S } from '../limits.js';
import { macHigh, macLow } from './ethernet.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame } from './frame.js';
import { BURST_FRAMES, FrameBurst, Way } from './frame-burst.js';
import { MacTable } from './mac-table.js';
import { PortCounter } from './port.js';
import { StagingMemory } from './staging-memory.js';
import { Switch } from './switch.js';
import { accessPort, NO_VLAN, type PortVlans, trunkPort, VLAN_DROP } from './vlan.js';

const newSwitch = () => new Switch(new MacTable({ secrets: [1, 2], slots: 1024 }));

const memory = new StagingMemory(BURST_FRAMES * 256);
const burst = new FrameBurst(memory, 0);
const single = new StagingMemory();
const frame = new Frame();

/** Sends frames by a port, all together: those that a sender would not put into a burst by themselves. */
function sendBurst(network: Switch, frames: readonly Buffer[], from: TestPort): void {
  const { chains } = burst;
  for (const [i, bytes] of frames.entries()) {
    assert.ok(bytes.length >= 16 && bytes.length <= 200);
    bytes.copy(memory.buffer, 256 * i + NET_HEADER_BYTES);
    chains.offset[i] = 256 * i;
    chains.length[i] = NET_HEADER_BYTES + bytes.length;
  }
  burst.read(frames.length);
  assert.ok(frames.every((_, i) => burst.way[i] === Way.READ));
  network.forwardBurst(burst, 0, frames.length, from);
}

function sendOne(network: Switch, bytes: Buffer, from: TestPort): void {
  bytes.copy(single.buffer);
  single.describe(0, bytes.length, frame);
  frame.header.clear();
  network.forward(frame, from);
}

/** A switch as the standard describes it, in maps. */
class PlainSwitch {
  readonly #known = new Map<string, number>();
  readonly #ports = new Map<number, TestPort>();
  /** By port: what was delivered, and what was counted. */
  readonly delivered = new Map<number, Buffer[]>();
  readonly dropped = new Map<string, number>();

  plug(port: TestPort): void {
    this.#ports.set(port.number, port);
  }

  unplug({ number }: TestPort): void {
    this.#ports.delete(number);
    for (const [key, port] of this.#known) if (port === number) this.#known.delete(key);
  }

  expect(mac: Buffer, { number, vlans }: TestPort): void {
    if (vlans.native !== VLAN_DROP) this.#known.set(key(vlans.native, mac), number);
  }

  forward(bytes: Buffer, from: TestPort): void {
    const isTagged = bytes.readUInt16BE(12) === 0x8100 && bytes.length >= 18;
    const control = isTagged ? bytes.readUInt16BE(14) : 0;
    const bare = isTagged ? withoutTag(bytes) : bytes;
    const id = control & 0xfff;
    const vlan = id === 0 ? from.vlans.native : id;
    if (vlan === VLAN_DROP || (id !== 0 && !carries(from.vlans, id))) return this.#drop(from, 'DROPPED_VLAN');
    const [destination, source] = [bytes.subarray(0, 6), bytes.subarray(6, 12)];
    if ((source[0]! & 1) === 0 && source.some((byte) => byte !== 0)) this.#known.set(key(vlan, source), from.number);
    const known = (destination[0]! & 1) === 0 ? this.#known.get(key(vlan, destination)) : undefined;
    if (known === from.number) return this.#drop(from, 'DROPPED_SAME_PORT');
    for (const to of known === undefined ? this.#ports.values() : [this.#ports.get(known)!]) {
      if (to === from || (to.mesh && from.mesh)) continue;
      if (vlan === to.vlans.native) this.#deliver(to, bare);
      else if (carries(to.vlans, vlan)) this.#deliver(to, withTag(bare, (control & 0xf000) | vlan));
    }
  }

  #deliver({ number }: TestPort, bytes: Buffer): void {
    const list = this.delivered.get(number) ?? [];
    list.push(bytes);
    this.delivered.set(number, list);
  }

  #drop({ number }: TestPort, why: string): void {
    this.dropped.set(`${number} ${why}`, (this.dropped.get(`${number} ${why}`) ?? 0) + 1);
  }
}

const key = (vlan: number, mac: Buffer) => `${vlan} ${mac.toString('hex')}`;
const carries = ({ tagged }: PortVlans, vlan: number) =>
  vlan <= 4094 && ((tagged[vlan >>> 5]! >>> (vlan & 31)) & 1) === 1;

const STATIONS = Array.from({ length: 10 }, (_, i) => macOf(i * 0x1111));
const GROUPS = [BROADCAST, Buffer.from('01005e000001', 'hex')];
const NOBODY = Buffer.alloc(6);

function anyVlans(random: Random): PortVlans {
  const native = random.pick([NO_VLAN, NO_VLAN, 1, 2, VLAN_DROP]);
  if (random.chance(0.3)) return accessPort(random.below(3));
  return random.chance(0.5) ? trunkPort(native) : trunkPort(native, random.pick([[], [1], [2, 3], [1, 2, 4094]]));
}

/** Frames of one port, none of which is for a station that another of them comes from. */
function anyFrames(random: Random): Buffer[] {
  const senders = STATIONS.filter(() => random.chance(0.3));
  const receivers = STATIONS.filter((station) => !senders.includes(station));
  let last: Buffer | undefined;
  return Array.from({ length: 1 + random.below(BURST_FRAMES) }, () => {
    if (last !== undefined && random.chance(0.4)) return last;
    const from = senders.length === 0 || random.chance(0.05) ? random.pick([NOBODY, ...GROUPS]) : random.pick(senders);
    const to = receivers.length === 0 || random.chance(0.2) ? random.pick(GROUPS) : random.pick(receivers);
    const bytes = makeFrame(to, from, 16 + random.below(40), random.below(1000));
    const tag = random.pick([undefined, undefined, 0, 1, 2, 3, 4094, 4095]);
    last = tag === undefined ? bytes : withTag(bytes, (random.below(16) << 12) | tag);
    return last;
  });
}

describe('a switch and its plain model', () => {
  it(`agree on any ports, VLANs and frames, one by one and in bursts (seed ${SEED})`, () => {
    let inBursts = 0;
    for (let round = 0; round < 150; round++) {
      seeded(round, (random) => {
        const model = new PlainSwitch();
        const made = [newSwitch(), newSwitch()] as const;
        const ports = Array.from({ length: 2 + random.below(6) }, (_, number) => {
          const options = { vlans: anyVlans(random), mesh: random.chance(0.3) };
          return [new TestPort(number, options), new TestPort(number, options)] as const;
        });
        const plugged = new Set<(typeof ports)[number]>();
        const plug = (pair: (typeof ports)[number]) => {
          plugged.add(pair);
          model.plug(pair[0]);
          for (const [i, network] of made.entries()) network.plug(pair[i]!);
        };
        for (const pair of ports) plug(pair);
        for (let step = 0; step < 60; step++) {
          const pair = random.pick(ports);
          if (random.chance(0.05) && plugged.size > 1 && plugged.has(pair)) {
            plugged.delete(pair);
            model.unplug(pair[0]);
            for (const [i, network] of made.entries()) network.unplug(pair[i]!);
          } else if (!plugged.has(pair)) {
            plug(pair);
          } else if (random.chance(0.05)) {
            const mac = random.pick(STATIONS);
            model.expect(mac, pair[0]);
            for (const [i, network] of made.entries()) network.expect(macHigh(mac, 0), macLow(mac, 0), pair[i]!);
          }
          if (!plugged.has(pair)) continue;
          const frames = anyFrames(random);
          for (const bytes of frames) model.forward(bytes, pair[0]);
          for (const bytes of frames) sendOne(made[0], bytes, pair[0]);
          sendBurst(made[1], frames, pair[1]);
          for (const [one, other] of ports) {
            const expected = model.delivered.get(one.number) ?? [];
            expectSame(one.frames(), expected, `one by one, port ${one.number}:`);
            expectSame(other.frames(), expected, `in bursts, port ${one.number}:`);
          }
          model.delivered.clear();
        }
        for (const [one, other] of ports) {
          for (const why of ['DROPPED_VLAN', 'DROPPED_SAME_PORT'] as const) {
            const expected = model.dropped.get(`${one.number} ${why}`) ?? 0;
            assert.equal(one.counters[PortCounter[why]], expected, why);
            assert.equal(other.counters[PortCounter[why]], expected, why);
          }
          inBursts += other.inBursts;
        }
      });
    }
    assert.ok(inBursts > 1000, `${inBursts} frames went on in bursts`);
  });
});

describe('what a switch remembers of flows', () => {
  const [a, b] = [macOf(1), macOf(2)];
  const create = () => {
    const network = newSwitch();
    const ports = [0, 1, 2].map((number) => new TestPort(number)) as [TestPort, TestPort, TestPort];
    for (const port of ports) network.plug(port);
    network.tick(1000);
    /** Who gets a frame from a to b, sent by the first port. */
    const receivers = () => {
      sendBurst(network, [makeFrame(b, a, 60, 1)], ports[0]);
      return ports.flatMap((port) => port.frames().map(() => port.number));
    };
    const hear = (mac: Buffer, port: TestPort) => {
      sendBurst(network, [makeFrame(BROADCAST, mac, 60, 2)], port);
      for (const each of ports) each.frames();
    };
    return { network, ports, receivers, hear };
  };

  it('is where a station is now, after it has moved', () => {
    const { ports, receivers, hear } = create();
    assert.deepEqual(receivers(), [1, 2]);
    for (const port of [ports[1], ports[2], ports[1]]) {
      hear(b, port);
      assert.deepEqual(receivers(), [port.number]);
      assert.deepEqual(receivers(), [port.number]);
      assert.ok(port.inBursts > 0);
    }
    hear(b, ports[0]);
    assert.deepEqual(receivers(), []);
  });

  it('is nothing after a station was not heard of for long', () => {
    const { network, ports, receivers, hear } = create();
    hear(b, ports[1]);
    assert.deepEqual(receivers(), [1]);
    network.tick(1000 + MAC_AGE_S);
    assert.deepEqual(receivers(), [1]);
    network.tick(1000 + MAC_AGE_S + 1);
    assert.deepEqual(receivers(), [1, 2]);
  });

  it('keeps a station that is heard of in bursts from being forgotten', () => {
    const { network, ports, receivers, hear } = create();
    for (let now = 1000; now < 1000 + 3 * MAC_AGE_S; now += MAC_AGE_S / 2) {
      network.tick(now);
      for (let i = 0; i < 3; i++) hear(b, ports[1]);
      assert.deepEqual(receivers(), [1]);
    }
  });

  it('is nothing of ports that are there no longer, or were not there yet', () => {
    const { network, ports, receivers, hear } = create();
    hear(b, ports[1]);
    assert.deepEqual(receivers(), [1]);
    network.unplug(ports[1]);
    assert.deepEqual(receivers(), [2]);
    network.plug(ports[1]);
    assert.deepEqual(receivers(), [1, 2]);
  });

  it('is what was said of a station before it was heard of', () => {
    const { network, ports, receivers } = create();
    assert.deepEqual(receivers(), [1, 2]);
    network.expect(macHigh(b, 0), macLow(b, 0), ports[2]);
    assert.deepEqual(receivers(), [2]);
  });
});
