/** A guest that sends from ever new addresses: what others have been heard at stays known, on its sidecore and on others. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import { type Guest, withMesh } from '../support/net-rig.js';
import { seeded } from '../support/seed.js';

/** Several times what the table has slots. */
const ADDRESSES = 300_000;

/** Sends frames from so many addresses at random, to everybody. */
function flood(from: Guest, count: number, salt: number, run: () => void): void {
  seeded(salt, (random) => {
    const source = Buffer.alloc(6);
    for (let sent = 0; sent < count; ) {
      for (let i = 0; i < 64; i++, sent++) {
        source.writeUInt16BE((random.word() & 0xfe) << 8, 0);
        source.writeUInt32BE(random.word(), 2);
        from.send(makeFrame(BROADCAST, source, 16, 0));
      }
      run();
      from.reclaim();
    }
  });
}

describe('a flood of addresses', { timeout: 240_000 }, () => {
  it('leaves the addresses of others known, on every sidecore', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const hostile = here!.guest();
      const victim = here!.guest({ buffers: 80 });
      const peer = there!.guest({ buffers: 80 });
      const accomplice = there!.guest({ buffers: 80 });
      const quiet = [victim, peer];
      for (const guest of quiet) guest.send(makeFrame(BROADCAST, guest.mac, 60, 0));
      mesh.run();
      // Those who hear of it lose most of it: they do not look.
      flood(hostile, ADDRESSES, 1, () => mesh.run());
      for (const guest of mesh.rigs.flatMap(({ guests }) => guests)) guest.received();
      // Neither has said a word since, and still nobody else hears what is for them.
      for (const [from, to] of [
        [peer, victim],
        [victim, peer],
      ] as const) {
        const frame = makeFrame(to.mac, from.mac, 200, 1);
        from.send(frame);
        mesh.run();
        expectSame(to.frames(), [frame]);
        for (const other of [hostile, accomplice]) assert.deepEqual(other.frames(), []);
      }
      // A guest that is new is learned all the same.
      const late = here!.guest();
      late.send(makeFrame(BROADCAST, late.mac, 60, 0));
      mesh.run();
      for (const guest of mesh.rigs.flatMap(({ guests }) => guests)) guest.received();
      const frame = makeFrame(late.mac, peer.mac, 100, 2);
      peer.send(frame);
      mesh.run();
      expectSame(late.frames(), [frame]);
      for (const other of [hostile, victim, accomplice]) assert.deepEqual(other.frames(), []);
    }));
});
