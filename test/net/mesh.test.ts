/** Guests on different sidecores, whose switches are one network: several sidecores in one thread, real rings between them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FRAME_BYTES_MAX } from '../../src/limits.js';
import { NET_FEATURES, OFFLOAD_FEATURES } from '../../src/net/features.js';
import { NetHeader } from '../../src/net/net-header.js';
import { buildPacket, expectSegments, offloadHeader, type PacketPlan } from '../../src/net/packets.test.js';
import { PortCounter } from '../../src/net/port.js';
import { accessPort, NO_VLAN, trunkPort } from '../../src/net/vlan.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { BROADCAST, expectSame, macOf, makeFrame, withTag } from '../support/frames.js';
import { type Guest, headerBytes, type Mesh, withMesh } from '../support/net-rig.js';

const PLAIN = RING_FEATURES.VERSION_1 | RING_FEATURES.INDIRECT_DESC | NET_FEATURES.MRG_RXBUF;

/** Two guests on each sidecore, with buffers for all that is sent at once. */
const twoEach = (mesh: Mesh): Guest[] =>
  mesh.rigs.flatMap((rig) => [rig.guest({ buffers: 100 }), rig.guest({ buffers: 100 })]);

describe('networks over several sidecores', () => {
  for (const cores of [2, 3, 5]) {
    it(`carry frames of everybody to everybody: ${cores} sidecores`, () =>
      withMesh(cores, (mesh) => {
        const guests = twoEach(mesh);
        for (const guest of guests) guest.send(makeFrame(BROADCAST, guest.mac, 60, 1));
        mesh.run();
        for (const guest of guests) {
          // Each once: what has come by one crossing does not leave by another.
          assert.equal(guest.frames().length, guests.length - 1);
          guest.reclaim();
        }
        const before = mesh.crossings.flat().reduce((sum, { crossed }) => sum + crossed, 0);
        let sent = 0;
        for (const from of guests) {
          for (const to of guests.filter((guest) => guest !== from)) {
            const frames = Array.from({ length: 70 }, (_, i) => makeFrame(to.mac, from.mac, 14 + 19 * i, i));
            for (const frame of frames) from.send(frame);
            if (guests.indexOf(from) >> 1 !== guests.indexOf(to) >> 1) sent += frames.length;
            mesh.run();
            expectSame(to.frames(), frames);
            from.reclaim();
          }
        }
        mesh.run();
        for (const guest of guests) {
          assert.deepEqual(guest.frames(), [], 'nobody hears what is for another');
          assert.deepEqual(guest.drops, {});
        }
        const crossed = mesh.crossings.flat().reduce((sum, { crossed }) => sum + crossed, -before);
        assert.equal(crossed, sent, 'each frame crosses once, to where its receiver is');
        assert.ok(mesh.wakes.every((wakes) => wakes > 0));
      }));
  }

  it('flood what nobody has been heard of at, to each once', () =>
    withMesh(3, (mesh) => {
      const guests = twoEach(mesh);
      const stranger = Buffer.from('525400ffffff', 'hex');
      const frame = makeFrame(stranger, guests[0]!.mac, 200, 1);
      guests[0]!.send(frame);
      mesh.run();
      for (const guest of guests.slice(1)) expectSame(guest.frames(), [frame]);
      // Somebody answers from there, and it is not flooded any more.
      guests[5]!.send(makeFrame(BROADCAST, stranger, 60, 2));
      mesh.run();
      for (const guest of guests) guest.frames();
      guests[0]!.send(frame);
      mesh.run();
      expectSame(guests[5]!.frames(), [frame]);
      for (const guest of guests.slice(0, 5)) assert.deepEqual(guest.frames(), []);
    }));

  it('follow a station that moves from one sidecore to another', () =>
    withMesh(2, (mesh) => {
      const [a, b, c, d] = twoEach(mesh) as [Guest, Guest, Guest, Guest];
      const station = Buffer.from('525400aa0001', 'hex');
      const to = makeFrame(station, a.mac, 100, 1);
      for (const place of [b, c, d, b, d]) {
        place.send(makeFrame(BROADCAST, station, 60, 3));
        mesh.run();
        for (const guest of [a, b, c, d]) guest.frames();
        for (let i = 0; i < 3; i++) {
          a.send(to);
          mesh.run();
          for (const guest of [a, b, c, d]) expectSame(guest.frames(), guest === place ? [to] : []);
        }
      }
    }));

  it('keep networks apart', () =>
    withMesh(2, (mesh) => {
      const [first, second] = mesh.rigs;
      const a = first!.guest({ network: 0 });
      const b = second!.guest({ network: 1 });
      const c = second!.guest({ network: 0 });
      const lone = first!.guest({ network: 2 });
      const frame = makeFrame(BROADCAST, a.mac, 80, 1);
      a.send(frame);
      lone.send(frame);
      mesh.run();
      assert.deepEqual(b.frames(), []);
      expectSame(c.frames(), [frame]);
      // Nothing crosses to where nobody is in that network.
      assert.deepEqual(
        mesh.crossings.flat().map(({ crossed, dropped }) => [crossed, dropped]),
        [
          [1, 0],
          [0, 0],
        ],
      );
    }));

  it('keep VLANs apart, with tags between sidecores', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const a = here!.guest({ vlans: accessPort(5) });
      const same = there!.guest({ vlans: accessPort(5) });
      const other = there!.guest({ vlans: accessPort(6) });
      const trunk = there!.guest();
      const untagged = there!.guest({ vlans: accessPort(0) });
      for (const length of [14, 15, 17, 60, 1514]) {
        const frame = makeFrame(BROADCAST, a.mac, length, 1);
        a.send(frame);
        mesh.run();
        expectSame(same.frames(), [frame]);
        expectSame(trunk.frames(), [withTag(frame, 5)]);
        for (const guest of [other, untagged]) assert.deepEqual(guest.frames(), []);
        const answer = withTag(makeFrame(a.mac, trunk.mac, length, 2), 0xe005);
        for (let i = 0; i < 2; i++) {
          trunk.send(answer);
          mesh.run();
          expectSame(a.frames(), [makeFrame(a.mac, trunk.mac, length, 2)]);
          for (const guest of [same, other, untagged]) assert.deepEqual(guest.frames(), []);
        }
      }
    }));

  it('keep offloads for receivers on other sidecores', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const sender = here!.guest({ features: PLAIN | OFFLOAD_FEATURES, vlans: accessPort(9) });
      const able = there!.guest({ features: PLAIN | OFFLOAD_FEATURES, buffers: 40 });
      const unable = there!.guest({ features: PLAIN, vlans: accessPort(9), buffers: 40 });
      for (const { tcp, gsoSize } of [
        { tcp: true, gsoSize: 0 },
        { tcp: true, gsoSize: 1448 },
        { tcp: false, gsoSize: 1000 },
      ]) {
        const plan: PacketPlan = {
          tags: [],
          version: 6,
          tcp,
          optionWords: 0,
          extensions: [],
          tcpOptionWords: 3,
          flags: 0x18,
          sequence: 5,
          id: 0,
          salt: Uint8Array.from([...BROADCAST, ...sender.mac, ...Array.from({ length: 52 }, (_, i) => i * 5)]),
          payload: Uint8Array.from({ length: 20_000 }, (_, i) => i * 3),
          lengthUnsaid: false,
        };
        const packet = buildPacket(plan);
        const { flags, gsoType, csumStart, csumOffset } = offloadHeader(plan, packet, gsoSize);
        const asks = { FLAGS: flags, GSO_TYPE: gsoType, GSO_SIZE: gsoSize };
        sender.send(packet.frame, { header: headerBytes({ ...asks, CSUM_START: csumStart, CSUM_OFFSET: csumOffset }) });
        mesh.run();
        sender.reclaim();
        const tagged = { ...plan, tags: [9] };
        const [whole] = able.received();
        expectSame([whole!.frame], [buildPacket(tagged).frame]);
        const expected = offloadHeader(tagged, buildPacket(tagged), gsoSize);
        expected.hdrLen = gsoSize === 0 ? 0 : packet.headerBytes + 4;
        expected.numBuffers = 10;
        assert.deepEqual(whole!.header, expected);
        const finished = unable.received();
        const size = gsoSize === 0 ? plan.payload.length : gsoSize;
        expectSegments(
          plan,
          packet,
          size,
          finished.map(({ frame }) => frame),
        );
        for (const { header, written } of finished)
          assert.deepEqual(header, Object.assign(new NetHeader(), { numBuffers: written.length }));
      }
    }));

  it('keep a guest in its VLAN, whatever tags are behind the first', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const plain = here!.guest({ vlans: accessPort(0) });
      const access = here!.guest({ vlans: accessPort(5) });
      const trunk = here!.guest({ vlans: trunkPort(NO_VLAN, [5]) });
      const listeners = mesh.rigs.flatMap((rig) =>
        [accessPort(0), accessPort(5), accessPort(20), trunkPort(5, [20])].map((vlans) => rig.guest({ vlans })),
      );
      for (const [from, first] of [
        [plain, 0],
        [access, 0],
        [trunk, 5],
      ] as const) {
        for (const second of [20, 5, 0, 4095]) {
          const dropped = from.count('DROPPED_VLAN');
          const frame = withTag(withTag(makeFrame(BROADCAST, from.mac, 60, 1), second), first);
          // Most frames go in bursts, and one in pieces does not.
          for (const cuts of [[], [20]]) from.send(frame, { cuts });
          mesh.run();
          for (const guest of listeners) assert.deepEqual(guest.frames(), [], `${first} ${second}`);
          assert.equal(from.count('DROPPED_VLAN') - dropped, 2);
        }
      }
      for (const guest of mesh.rigs.flatMap(({ guests }) => guests)) guest.frames();
      // One that is in the trunk's VLAN with its tag leaves with that.
      const carrier = there!.guest({ vlans: trunkPort(NO_VLAN, [5]) });
      const twice = withTag(withTag(makeFrame(carrier.mac, trunk.mac, 60, 1), 20), 5);
      trunk.send(twice);
      mesh.run();
      expectSame(carrier.frames(), [twice]);
      // And a priority is kept, without its tag or with that of the VLAN.
      access.send(withTag(makeFrame(carrier.mac, access.mac, 60, 2), 0xe000));
      mesh.run();
      expectSame(carrier.frames(), [withTag(makeFrame(carrier.mac, access.mac, 60, 2), 0xe005)]);
    }));

  it('do not let a frame that is cut off within its tag say where others go', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const a = here!.guest({ vlans: accessPort(5) });
      const near = here!.guest({ vlans: trunkPort(5, [20]) });
      const far = there!.guest({ vlans: trunkPort(5, [20]) });
      for (const to of [near, far]) {
        const tagged = withTag(makeFrame(to.mac, a.mac, 60, 1), 20);
        const dropped = a.count('DROPPED_VLAN');
        for (const length of [16, 17]) {
          for (const bytes of [tagged.subarray(0, length), tagged, tagged]) a.send(bytes);
          mesh.run();
          expectSame(to.frames(), [tagged.subarray(0, length)]);
          a.send(tagged);
          mesh.run();
          expectSame(to.frames(), []);
        }
        assert.equal(a.count('DROPPED_VLAN') - dropped, 6);
      }
      // It has no tag, so it gets one.
      const marks = here!.guest({ vlans: trunkPort(7, [5]) });
      for (const length of [16, 17]) {
        const cut = withTag(makeFrame(marks.mac, a.mac, 60, 1), 20).subarray(0, length);
        a.send(cut);
        mesh.run();
        expectSame(marks.frames(), [withTag(cut, 5)]);
      }
    }));

  it('carry what many senders send in turn as fast as what one does', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const senders = Array.from({ length: 16 }, () => here!.guest({ buffers: 1 }));
      const to = there!.guest({ buffers: 100 });
      mesh.run();
      // Each puts one frame into the ring in every turn.
      for (let turn = 0; turn < 4; turn++) {
        for (const [i, { mac }] of senders.entries()) senders[i]!.send(makeFrame(to.mac, mac, 60, turn));
        here!.turn();
      }
      let turns = 0;
      for (let count = 0; count < 64; turns++) {
        there!.turn();
        count += to.frames().length;
      }
      assert.equal(turns, 2);
    }));

  it('know the stations of cards everywhere, before they were heard from and after long silence', () =>
    withMesh(3, (mesh) => {
      const guests = mesh.rigs.map((rig) => rig.guest({ vlans: accessPort(7) }));
      const late = mesh.rigs[2]!.guest({ vlans: accessPort(7) });
      mesh.run();
      for (const to of [...guests.slice(1), late]) {
        const frame = makeFrame(to.mac, guests[0]!.mac, 60, 1);
        guests[0]!.send(frame);
        mesh.run();
        for (const guest of [...guests, late]) expectSame(guest.frames(), guest === to ? [frame] : []);
      }
    }));

  it('send to where a station is, though it has moved and told only one of them', () =>
    withMesh(3, (mesh) => {
      const guests = mesh.rigs.map((rig) => rig.guest());
      const [a, b, c] = guests as [Guest, Guest, Guest];
      const station = Buffer.from('525400aa0001', 'hex');
      const to = makeFrame(station, a.mac, 100, 1);
      for (const guest of guests) guest.send(makeFrame(BROADCAST, guest.mac, 60, 0));
      b.send(makeFrame(BROADCAST, station, 60, 2));
      mesh.run();
      for (const guest of guests) guest.frames();
      // It says something to a guest where it was before, and to nobody else; in a burst, or by itself.
      for (const [place, peer, cuts] of [
        [c, b, []],
        [b, c, [30]],
        [c, b, [30]],
      ] as const) {
        place.send(makeFrame(peer.mac, station, 60, 3), { cuts });
        mesh.run();
        assert.equal(peer.frames().length, 1);
        a.send(to);
        mesh.run();
        for (const guest of guests) expectSame(guest.frames(), guest === place ? [to] : []);
      }
      for (const crossing of mesh.crossings.flat()) assert.ok(crossing.arrived.every((count) => count === 0));
    }));

  it('let a port have as many addresses on every sidecore as on its own', () =>
    withMesh(2, (mesh) => {
      const ADDRESSES = 3000;
      const [here, there] = mesh.rigs;
      const gateway = here!.guest({ buffers: 250 });
      const [far, bystander] = [there!.guest({ buffers: 250 }), there!.guest({ buffers: 250 })];
      here!.networks.switch(0).allowAddresses(here!.networks.port(gateway.spec), 2 * ADDRESSES);
      const addresses = Array.from({ length: ADDRESSES }, (_, i) => macOf(0x10_0000 + i));
      const batches = Array.from({ length: ADDRESSES / 200 }, (_, i) => addresses.slice(200 * i, 200 * (i + 1)));
      for (const batch of batches) {
        for (const mac of batch) gateway.send(makeFrame(BROADCAST, mac, 60, 1));
        mesh.run();
        gateway.reclaim();
        for (const guest of [far, bystander]) assert.equal(guest.frames().length, batch.length);
      }
      let flooded = 0;
      for (const batch of batches) {
        for (const mac of batch) far.send(makeFrame(mac, far.mac, 60, 1));
        mesh.run();
        far.reclaim();
        assert.equal(gateway.frames().length, batch.length);
        flooded += bystander.frames().length;
      }
      assert.ok(flooded < ADDRESSES / 100, `${flooded} are not known`);
    }));

  it('count what comes from another sidecore and goes no further', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const trunk = here!.guest({ vlans: trunkPort(NO_VLAN, [5]) });
      const access = there!.guest({ vlans: accessPort(5) });
      trunk.send(withTag(withTag(makeFrame(access.mac, trunk.mac, 60, 1), 20), 5));
      mesh.run();
      assert.deepEqual(access.frames(), []);
      assert.equal(mesh.crossings[1]![0]!.arrived[PortCounter.DROPPED_VLAN], 1);
      assert.deepEqual(trunk.drops, {});
    }));

  it('are not harmed by a frame whose sum begins where the longest frames end', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs;
      const hostile = here!.guest({ vlans: accessPort(5) });
      const near = here!.guest({ buffers: 60 });
      const far = there!.guest({ features: PLAIN, vlans: accessPort(5), buffers: 60 });
      const frame = makeFrame(BROADCAST, hostile.mac, FRAME_BYTES_MAX, 1);
      for (const csumStart of [0xffff, 0xfffd, 0xfffc, 0xfffb]) {
        const dropped = hostile.count('DROPPED_OFFLOAD');
        hostile.send(frame, { header: headerBytes({ FLAGS: 1, CSUM_START: csumStart, CSUM_OFFSET: 3 }) });
        mesh.run();
        const fits = csumStart + 4 <= 0xffff;
        assert.equal(hostile.count('DROPPED_OFFLOAD') - dropped, fits ? 0 : 1);
        assert.deepEqual(
          near.received().map(({ header, frame }) => [header.csumStart, frame.length]),
          fits ? [[csumStart + 4, frame.length + 4]] : [],
        );
        assert.deepEqual(
          far.frames().map((bytes) => bytes.subarray(0, csumStart).equals(frame.subarray(0, csumStart))),
          fits ? [true] : [],
        );
      }
    }));

  it('a sidecore that does not keep up loses what crosses to it, and nothing else', () =>
    withMesh(
      2,
      (mesh) => {
        const [here, there] = mesh.rigs;
        const a = here!.guest();
        const near = here!.guest({ buffers: 200 });
        const far = there!.guest({ buffers: 200 });
        const frames = Array.from({ length: 100 }, (_, i) => makeFrame(BROADCAST, a.mac, 100, i));
        for (const frame of frames) a.send(frame);
        here!.run();
        expectSame(near.frames(), frames);
        a.reclaim();
        const { crossed, dropped } = mesh.crossings[0]![0]!;
        assert.equal(crossed + dropped, frames.length);
        assert.ok(crossed > 10 && dropped > 10, `${crossed} crossed, ${dropped} did not`);
        mesh.run();
        expectSame(far.frames(), frames.slice(0, crossed));
        // It goes on.
        a.send(frames[99]!);
        mesh.run();
        expectSame(far.frames(), [frames[99]!]);
      },
      2 ** 12,
    ));
});
