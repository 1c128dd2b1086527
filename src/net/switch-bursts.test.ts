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

/** Sends frames by a port, all together, as a queue does: those that do not go in bursts by themselves. */
function sendBurst(network: Switch, frames: readonly Buffer[], from: TestPort, native = from.vlans.native): void {
  const { chains, way } = burst;
  for (const [i, bytes] of frames.entries()) {
    assert.ok(bytes.length <= 200);
    bytes.copy(memory.buffer, 256 * i + NET_HEADER_BYTES);
    chains.offset[i] = 256 * i;
    chains.length[i] = NET_HEADER_BYTES + bytes.length;
  }
  burst.read(frames.length);
  for (let i = 0; i < frames.length; ) {
    let end = i;
    while (end < frames.length && way[end] === Way.READ) end++;
    if (end > i) network.forwardBurst(burst, i, end, from, native);
    else sendOne(network, frames[end++]!, from, native);
    i = end;
  }
}

function sendOne(network: Switch, bytes: Buffer, from: TestPort, native = from.vlans.native): void {
  bytes.copy(single.buffer);
  single.describe(0, bytes.length, frame);
  frame.header.clear();
  network.forward(frame, from, native);
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

  expect(mac: Buffer, { number, vlans }: TestPort): void {
    if (vlans.native !== VLAN_DROP) this.#known.set(key(vlans.native, mac), number);
  }

  /** @param native - VLAN of frames without a tag, if it is not the port's own */
  forward(bytes: Buffer, from: TestPort, native = from.vlans.native): void {
    const isTagged = bytes.readUInt16BE(12) === 0x8100 && bytes.length >= 18;
    const control = isTagged ? bytes.readUInt16BE(14) : 0;
    const bare = isTagged ? withoutTag(bytes) : bytes;
    const id = control & 0xfff;
    const vlan = id === 0 ? native : id;
    if (vlan === VLAN_DROP || (id !== 0 && !carries(from.vlans, id))) return this.#drop(from, 'DROPPED_VLAN');
    const [destination, source] = [bytes.subarray(0, 6), bytes.subarray(6, 12)];
    if ((source[0]! & 1) === 0 && source.some((byte) => byte !== 0)) this.#known.set(key(vlan, source), from.number);
    const known = (destination[0]! & 1) === 0 ? this.#known.get(key(vlan, destination)) : undefined;
    const there = known === undefined ? undefined : this.#ports.get(known)!;
    if (there === from || (there?.mesh && from.mesh)) return this.#drop(from, 'DROPPED_SAME_PORT');
    let kept = false;
    for (const to of there === undefined ? this.#ports.values() : [there]) {
      if (to === from || (to.mesh && from.mesh)) continue;
      if (to.mesh) this.#deliver(to, bytes);
      else if (vlan === to.vlans.native && isTagged && bare.readUInt16BE(12) === 0x8100) kept = true;
      else if (vlan === to.vlans.native) this.#deliver(to, bare);
      else if (carries(to.vlans, vlan)) this.#deliver(to, withTag(bare, (control & 0xf000) | vlan));
      else if (there !== undefined) kept = true;
    }
    if (kept) this.#drop(from, 'DROPPED_VLAN');
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
    last = makeFrame(to, from, 14 + random.below(40), random.below(1000));
    // Tags behind tags, too.
    for (let tags = random.pick([0, 0, 0, 0, 1, 1, 1, 2]); tags > 0; tags--) {
      last = withTag(last, (random.below(16) << 12) | random.pick([0, 0, 1, 2, 3, 4094, 4095]));
    }
    // And tags that are cut off.
    if (random.chance(0.1)) last = last.subarray(0, 14 + random.below(5));
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
          const mesh = random.chance(0.3);
          const options = { vlans: mesh ? trunkPort() : anyVlans(random), mesh };
          return [new TestPort(number, options), new TestPort(number, options)] as const;
        });
        for (const pair of ports) {
          model.plug(pair[0]);
          for (const [i, network] of made.entries()) network.plug(pair[i]!);
        }
        for (let step = 0; step < 60; step++) {
          const pair = random.pick(ports);
          if (random.chance(0.05)) {
            const mac = random.pick(STATIONS);
            model.expect(mac, pair[0]);
            for (const [i, network] of made.entries()) network.expect(macHigh(mac, 0), macLow(mac, 0), pair[i]!);
          }
          const frames = anyFrames(random);
          // What comes from another sidecore comes with its VLAN.
          const native = pair[0].mesh ? random.pick([NO_VLAN, 1, 2, 4094]) : pair[0].vlans.native;
          for (const bytes of frames) model.forward(bytes, pair[0], native);
          for (const bytes of frames) sendOne(made[0], bytes, pair[0], native);
          sendBurst(made[1], frames, pair[1], native);
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

  it('is nothing of ports that were not there yet', () => {
    const { network, ports, receivers } = create();
    const fourth = new TestPort(3);
    assert.deepEqual(receivers(), [1, 2]);
    network.plug(fourth);
    assert.deepEqual(receivers(), [1, 2]);
    assert.equal(fourth.frames().length, 1);
    assert.ok(ports.every((port) => port.frames().length === 0));
  });

  it('is that of whole tags: a frame that is cut off within its tag says nothing of others', () => {
    const network = newSwitch();
    const [access, trunk] = [new TestPort(0, { vlans: accessPort(5) }), new TestPort(1, { vlans: trunkPort(5, [20]) })];
    for (const port of [access, trunk]) network.plug(port);
    network.expect(macHigh(b, 0), macLow(b, 0), trunk);
    const tagged = withTag(makeFrame(b, a, 60, 1), 20);
    for (const length of [16, 17]) {
      sendBurst(network, [tagged.subarray(0, length), tagged, tagged], access);
      expectSame(trunk.frames(), [tagged.subarray(0, length)]);
    }
    assert.equal(access.counters[PortCounter.DROPPED_VLAN], 4);
  });

  it('is what was said of a station before it was heard of', () => {
    const { network, ports, receivers } = create();
    assert.deepEqual(receivers(), [1, 2]);
    network.expect(macHigh(b, 0), macLow(b, 0), ports[2]);
    assert.deepEqual(receivers(), [2]);
  });
});
