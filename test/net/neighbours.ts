/** Two guests beside a hostile one, which must never notice it; and what hostile guests send. */
import assert from 'node:assert/strict';
import { FRAME_BYTES_MAX } from '../../src/limits.js';
import { NET_FEATURES, NET_HEADER_BYTES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { GsoType, NetHeaderFlag } from '../../src/net/net-header.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { BROADCAST, expectSame, macOf, makeFrame } from '../support/frames.js';
import { type Guest, headerBytes, type NetRig, withRig } from '../support/net-rig.js';
import type { Random } from '../support/seed.js';

/** Features without offloads. */
export const PLAIN = RING_FEATURES.VERSION_1 | RING_FEATURES.INDIRECT_DESC | NET_FEATURES.MRG_RXBUF;

/** Two guests that talk to each other. */
export class Neighbours {
  readonly #rig: NetRig;
  readonly #pair: readonly [Guest, Guest];
  #round = 0;

  constructor(rig: NetRig) {
    this.#rig = rig;
    // One takes everything as it is, the other nothing.
    this.#pair = [
      rig.guest({ features: PLAIN | OFFLOAD_FEATURES, buffers: 100 }),
      rig.guest({ features: PLAIN, buffers: 100 }),
    ];
    for (const guest of this.#pair) guest.send(makeFrame(BROADCAST, guest.mac, 60, 0));
    rig.run();
    this.clear();
  }

  get macs(): readonly [Buffer, Buffer] {
    return [this.#pair[0].mac, this.#pair[1].mac];
  }

  /** Forgets what came from others, of which each frame was at least meant for who got it. */
  clear(): void {
    for (const guest of this.#pair) {
      for (const { frame, header } of guest.received()) {
        const to = frame.subarray(0, 6);
        // In a VLAN of which nothing is known, all get it.
        const tagged = frame.readUInt16BE(12) === 0x8100;
        const others = this.macs.some((mac) => mac.equals(to) && !mac.equals(guest.mac));
        assert.ok(!others || tagged, 'a frame went astray');
        assert.ok(frame.length <= FRAME_BYTES_MAX);
        // What is left to be done can be done.
        const asks = header.flags & NetHeaderFlag.NEEDS_CSUM;
        if (guest === this.#pair[1]) assert.deepEqual([asks, header.gsoType], [0, GsoType.NONE]);
        if (asks !== 0) assert.ok(header.csumStart + header.csumOffset + 2 <= frame.length);
        assert.ok(header.hdrLen <= frame.length);
      }
    }
  }

  /** Both send, and each gets exactly what the other sent. */
  talk(): void {
    this.clear();
    const [a, b] = this.#pair;
    const round = this.#round++;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const frames = [60, 1514, 16].map((length) => makeFrame(to.mac, from.mac, length, round));
      for (const frame of frames) from.send(frame);
      this.#rig.run();
      expectSame(to.frames(), frames);
      from.reclaim();
    }
  }

  /** Nothing of theirs was ever dropped for a reason of theirs; what others sent them and changed meanwhile may have been. */
  finish(): void {
    this.talk();
    for (const guest of this.#pair) {
      const { SOFTWARE_OFFLOADS: _, DROPPED_NO_BUFFER: __, DROPPED_OFFLOAD: ___, ...drops } = guest.drops;
      assert.deepEqual(drops, {});
      assert.deepEqual([guest.tx.state.fault, guest.rx.state.fault], [0, 0]);
    }
  }
}

/** Runs `test` on a rig with two such guests, and sees after them at the end. */
export function withNeighbours(test: (rig: NetRig, neighbours: Neighbours) => void): void {
  withRig((rig) => {
    const neighbours = new Neighbours(rig);
    test(rig, neighbours);
    neighbours.finish();
  });
}

/** A header and a frame, either of which may be of any kind. */
export function anything(random: Random, neighbours: Neighbours, own: Buffer): Buffer {
  const to = random.pick([...neighbours.macs, BROADCAST, own, macOf(random.below(1000))]);
  const length = random.pick([0, 1, 13, 14, 15, 16, 17, 18, 54, 60, 100, 1514, 3000]) + random.below(4);
  const frame = makeFrame(to, random.chance(0.7) ? own : macOf(random.word()), length, random.below(1000));
  // Mostly something that headers can be about.
  if (length > 54 && random.chance(0.8)) {
    const version = random.pick([4, 6]);
    frame.writeUInt16BE(version === 4 ? 0x0800 : 0x86dd, 12);
    frame[14] = version === 4 ? 0x45 : 0x60;
    if (random.chance(0.7))
      frame.writeUInt16BE(random.pick([length - 14, length - 54, 0, random.below(65_536)]), version === 4 ? 16 : 18);
    if (version === 4) frame.fill(0, 20, 22);
    frame[version === 4 ? 23 : 20] = random.pick([6, 17, 6, 17, 44, 0, 60, random.below(256)]);
    const l4 = version === 4 ? 34 : 54;
    if (l4 + 20 <= length) frame[l4 + 12] = random.pick([0x50, 0x50, 0x80, random.below(256)]);
  }
  if (length > 18 && random.chance(0.1)) frame.writeUInt16BE(random.pick([0x8100, 0x88a8]), 12);
  const near = () => random.pick([0, 14, 34, 54, 16, 6, length - 2, length - 1, length, 0xffff, random.below(65_536)]);
  const header = headerBytes({
    FLAGS: random.pick([0, 1, 1, 1, random.below(256)]),
    GSO_TYPE: random.pick([0, 1, 4, 5, 3, 0x81, 0x84, random.below(256)]),
    HDR_LEN: near() & 0xffff,
    GSO_SIZE: random.pick([0, 1, 2, 100, 1448, random.below(65_536)]),
    CSUM_START: random.pick([34, 54, 34, 54, near() & 0xffff]),
    CSUM_OFFSET: random.pick([16, 6, 16, 6, near() & 0xffff]),
    NUM_BUFFERS: random.below(65_536),
  });
  return random.chance(0.3) ? Buffer.concat([Buffer.alloc(NET_HEADER_BYTES), frame]) : Buffer.concat([header, frame]);
}
