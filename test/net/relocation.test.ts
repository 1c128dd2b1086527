/** Cards that change sidecores, as switches see it: several sidecores in one thread. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accessPort, trunkPort, VLAN_DROP } from '../../src/net/vlan.js';
import { BROADCAST, expectSame, makeFrame, withTag } from '../support/frames.js';
import { type Guest, type Mesh, withMesh } from '../support/net-rig.js';
import { Random } from '../support/seed.js';

const SEED = Number(process.env.SEED ?? 1);

const crossed = (mesh: Mesh) => mesh.crossings.map((ways) => ways.reduce((sum, way) => sum + way.crossed, 0));

describe('a card that moves to another sidecore', () => {
  it('is found there, with all that was learned behind it', () =>
    withMesh(3, (mesh) => {
      const [a, b, c] = mesh.rigs.map((rig) => rig.guest()) as [Guest, Guest, Guest];
      const neighbours = mesh.rigs.map((rig) => rig.guest());
      const behind = Buffer.from('525400aa0001', 'hex');
      a.send(makeFrame(BROADCAST, behind, 60, 1));
      mesh.run();
      const everybody = [b, c, ...neighbours];
      for (const guest of everybody) assert.equal(guest.frames().length, 1);
      const [here, there, third] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0], Mesh['rigs'][0]];
      for (const [from, to] of [
        [here, there],
        [there, third],
        [third, there],
        [there, here],
      ] as const) {
        mesh.move(a, from, to);
        for (const sender of everybody) {
          for (const mac of [a.mac, behind]) {
            const frame = makeFrame(mac, sender.mac, 300, 2);
            // In a burst, and by itself.
            for (const cuts of [[], [30]]) sender.send(frame, { cuts });
            mesh.run();
            expectSame(a.frames(), [frame, frame]);
          }
          const back = makeFrame(sender.mac, behind, 300, 3);
          a.send(back);
          mesh.run();
          expectSame(sender.frames(), [back]);
        }
        for (const guest of everybody) expectSame(guest.frames(), []);
      }
      for (const guest of [a, ...everybody]) assert.deepEqual(guest.drops, {});
      assert.ok(mesh.crossings.flat().every(({ arrived }) => arrived.every((count) => count === 0)));
    }));

  it('has its sidecore leave the network with the last port, and nothing crosses to there in vain', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0]];
      const a = here.guest();
      const b = there.guest();
      const other = here.guest({ network: 1 });
      const flood = makeFrame(BROADCAST, b.mac, 60, 1);
      mesh.run();
      assert.ok(mesh.directory.has(0, 0));
      mesh.move(a, here, there);
      assert.deepEqual([mesh.directory.has(0, 0), mesh.directory.has(0, 1)], [false, true]);
      const before = crossed(mesh);
      b.send(flood);
      mesh.run();
      expectSame(a.frames(), [flood]);
      assert.deepEqual(crossed(mesh), before);
      expectSame(other.frames(), []);
      // It joins again with a port that comes back.
      mesh.move(a, there, here);
      assert.ok(mesh.directory.has(0, 0));
      b.send(makeFrame(a.mac, b.mac, 60, 2));
      b.send(flood);
      mesh.run();
      assert.equal(a.frames().length, 2);
    }));

  it('loses none of what is under way when its network freezes, and nobody sends until it is thawed', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0]];
      const a = here.guest({ buffers: 100 });
      const b = there.guest();
      const elsewhere = [here.guest({ network: 1 }), there.guest({ network: 1 })] as const;
      mesh.run();
      const frames = Array.from({ length: 40 }, (_, i) => makeFrame(a.mac, b.mac, 100, i));
      for (const frame of frames.slice(0, 20)) b.send(frame);
      there.turn();
      for (const frame of frames.slice(20)) b.send(frame);
      for (const { networks } of mesh.rigs) networks.freeze(0);
      mesh.run();
      expectSame(a.frames(), frames.slice(0, 20));
      const other = makeFrame(elsewhere[1].mac, elsewhere[0].mac, 60, 1);
      elsewhere[0].send(other);
      mesh.run();
      expectSame(elsewhere[1].frames(), [other]);
      expectSame(a.frames(), []);
      for (const { networks } of mesh.rigs) networks.thaw(0);
      mesh.run();
      expectSame(a.frames(), frames.slice(20));
    }));

  it('is not looked for where it was, if it has left in the midst of a turn', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0]];
      const [a, b, c] = [here.guest(), here.guest(), there.guest()];
      mesh.run();
      const frame = makeFrame(BROADCAST, c.mac, 60, 1);
      const changes = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(mesh.directory), 'changes')!.get!;
      let turns = 0;
      Object.defineProperty(mesh.directory, 'changes', {
        get: () => {
          const before = changes.call(mesh.directory);
          if (turns++ > 0) return before;
          // A turn has just looked who is where.
          here.guests.splice(here.guests.indexOf(a), 1);
          mesh.directory.move(a.spec.port, 1);
          a.moveTo(there);
          there.guests.push(a);
          c.send(frame);
          there.turn();
          return before;
        },
      });
      here.turn();
      assert.ok(turns > 1);
      for (const guest of [a, b]) expectSame(guest.frames(), [frame]);
      for (const guest of [a, b, c]) assert.deepEqual(guest.drops, {});
    }));

  it('leaves a station that has moved to another card where it is', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0]];
      const [a, b, c] = [here.guest(), there.guest(), there.guest()];
      here.guest();
      mesh.run();
      // Another card says what is the first one's address.
      b.send(makeFrame(BROADCAST, a.mac, 60, 1));
      mesh.run();
      mesh.move(a, here, there);
      mesh.move(a, there, here);
      for (const guest of [a, b, c]) guest.frames();
      const frame = makeFrame(a.mac, c.mac, 60, 2);
      c.send(frame);
      mesh.run();
      expectSame(b.frames(), [frame]);
      expectSame(a.frames(), []);
    }));

  it('is found if it lets no frames in without a tag', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [Mesh['rigs'][0], Mesh['rigs'][0]];
      const trunk = here.guest({ vlans: trunkPort(VLAN_DROP, [5]) });
      const near = here.guest({ vlans: accessPort(5) });
      const far = there.guest({ vlans: accessPort(5) });
      trunk.send(withTag(makeFrame(BROADCAST, trunk.mac, 60, 1), 5));
      mesh.run();
      for (const guest of [near, far]) guest.frames();
      mesh.move(trunk, here, there);
      for (const from of [near, far]) {
        from.send(makeFrame(trunk.mac, from.mac, 60, 2));
        mesh.run();
        expectSame(trunk.frames(), [withTag(makeFrame(trunk.mac, from.mac, 60, 2), 5)]);
        assert.equal(from.count('DROPPED_SAME_PORT'), 0);
      }
      expectSame(near.frames(), []);
    }));

  it(`whichever moves, among many that talk (SEED=${SEED})`, () =>
    withMesh(4, (mesh) => {
      const random = new Random(SEED);
      const guests = mesh.rigs.flatMap((rig) => [rig.guest({ buffers: 100 }), rig.guest({ buffers: 100 })]);
      const places = new Map(guests.map((guest, i) => [guest, mesh.rigs[i >> 1]!]));
      for (const guest of guests) guest.send(makeFrame(BROADCAST, guest.mac, 60, 0));
      mesh.run();
      for (const guest of guests) guest.frames();
      for (let round = 0; round < 300; round++) {
        const due = new Map<Guest, Map<Guest, Buffer[]>>(guests.map((guest) => [guest, new Map()]));
        for (let i = 0; i < 8; i++) {
          const [from, to] = [random.pick(guests), random.pick(guests)];
          if (from === to) continue;
          const frame = makeFrame(to.mac, from.mac, 60 + random.below(200), random.below(2 ** 30));
          from.send(frame, { cuts: random.chance(0.3) ? [20] : [] });
          const soFar = due.get(to)!;
          soFar.set(from, [...(soFar.get(from) ?? []), frame]);
          // Some is under way when the card moves.
          for (let turns = random.below(3); turns > 0; turns--) random.pick(mesh.rigs).turn();
        }
        const guest = random.pick(guests);
        const to = random.pick(mesh.rigs);
        if (to !== places.get(guest)) mesh.move(guest, places.get(guest)!, to);
        places.set(guest, to);
        mesh.run();
        for (const to of guests) {
          const received = to.frames();
          const all = [...due.get(to)!.values()];
          assert.equal(received.length, all.flat().length);
          for (const [from, sent] of due.get(to)!)
            expectSame(
              received.filter((frame) => frame.subarray(6, 12).equals(from.mac)),
              sent,
            );
          to.reclaim();
        }
      }
      for (const guest of guests) assert.deepEqual(guest.drops, {});
    }));
});
