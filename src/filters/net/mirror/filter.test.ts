import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { definedFilter, frameFilter } from '../../../../test/support/frame-filters.js';
import { BROADCAST, expectSame, makeFrame, withTag } from '../../../../test/support/frames.js';
import { type GuestOptions, headerBytes, type Mesh, NetRig, withMesh } from '../../../../test/support/net-rig.js';
import type { FrameFilterSetup } from '../../../filter/frame-contract.js';
import { readOptions } from '../../../filter/load.js';
import { BlockType } from '../../../net/capture/pcapng.js';
import { NET_FEATURES, NET_HEADER_BYTES, OFFLOAD_FEATURES } from '../../../net/features.js';
import { buildPacket, expectSegments, offloadHeader, type PacketPlan } from '../../../net/packets.test.js';
import { PORT_COUNTER_BYTES, PortCounter } from '../../../net/port.js';
import { accessPort } from '../../../net/vlan.js';
import { RING_FEATURES } from '../../../virtio/features.js';
import { mirror } from './filter.js';

/** The frames in a file, and types of all blocks. */
function read(path: string): { frames: Buffer[]; types: number[] } {
  const bytes = readFileSync(path);
  const frames: Buffer[] = [];
  const types: number[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
    types.push(bytes.readUInt32LE(at));
    if (types.at(-1) !== BlockType.ENHANCED_PACKET) continue;
    const kept = bytes.readUInt32LE(at + 20);
    assert.equal(bytes.readUInt32LE(at + 24), kept);
    frames.push(bytes.subarray(at + 28, at + 28 + kept));
  }
  return { frames, types };
}

describe('the mirror', () => {
  it('copies what passes to a file, both ways or one, until that is long enough', async (test) => {
    const base = scratchDirectory(test);
    for (const [direction, wanted] of [
      ['both', [1, 2, 3]],
      ['outbound', [1, 2]],
      ['inbound', [3]],
    ] as const) {
      const file = `${direction}.pcapng`;
      const mirrored = definedFilter(mirror, { file, direction, max_bytes: 2 ** 16 });
      const said: string[] = [];
      const setup = { vm: 'vm', device: 'nic', base, log: (text: string) => said.push(text) };
      const whole = { ...setup, options: mirrored.options, shared: mirrored.shared };
      const manager = mirror.manage!(whole as unknown as FrameFilterSetup<never>);
      const rig = new NetRig();
      const one = rig.guest({ filters: [mirrored.filter] });
      const other = rig.guest();
      const frames = [
        makeFrame(other.mac, one.mac, 100, 1),
        makeFrame(other.mac, one.mac, 3000, 2),
        makeFrame(one.mac, other.mac, 60, 3),
      ];
      one.send(frames[0]!);
      one.send(frames[1]!, { cuts: [50] });
      rig.run();
      other.send(frames[2]!);
      rig.run();
      manager.commands!['flush']!({});
      assert.equal((manager.status!() as { written: number }).written, wanted.length);
      for (let i = 0; i < 50; i++) {
        one.send(makeFrame(other.mac, one.mac, 2500, 100 + i));
        rig.run();
        one.reclaim();
      }
      await manager.close!();
      const path = join(base, file);
      const { frames: packets, types } = read(path);
      expectSame(
        packets.slice(0, wanted.length),
        wanted.map((number) => frames[number - 1]!),
      );
      const isFull = direction !== 'inbound';
      assert.equal(packets.length < 53, true);
      assert.equal(said.length, isFull ? 1 : 0);
      assert.deepEqual(
        [types[0], types[1], types.at(-1)],
        [BlockType.SECTION_HEADER, BlockType.INTERFACE_DESCRIPTION, BlockType.INTERFACE_STATISTICS],
      );
      rig.release();
    }
  });

  it('says what keeps it from writing', (test) => {
    const base = scratchDirectory(test);
    const { options, shared } = definedFilter(mirror, { file: 'no/such/folder' });
    const setup = { vm: 'vm', device: 'nic', base, log() {}, options, shared } as unknown as FrameFilterSetup<never>;
    assert.throws(() => mirror.manage!(setup), { code: 'IO_FAILED' });
  });

  it('has a file or a port, and options of a file only with one', () => {
    const faults = (given: Readonly<Record<string, unknown>>) => {
      const read = readOptions(mirror, given);
      return 'faults' in read ? read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`) : [];
    };
    assert.deepEqual(faults({ file: 'f', snap_bytes: 64, max_bytes: 2 ** 20 }), []);
    assert.deepEqual(faults({ to: 'ids/n', direction: 'inbound' }), []);
    for (const given of [{}, { file: 'f', to: 'ids/n' }])
      assert.deepEqual(faults(given), [': mirror has either `file` or `to`']);
    assert.match(faults({ to: 'ids/n', snap_bytes: 64 })[0]!, /^snap_bytes: only with `file`/);
  });
});

const PLAIN = RING_FEATURES.VERSION_1 | RING_FEATURES.INDIRECT_DESC | NET_FEATURES.MRG_RXBUF;

/** Where the port is that gets copies, as the mirrored card sees it. */
const PLACES = {
  'the same network': { core: 0, network: 0 },
  'another network': { core: 0, network: 1 },
  'another sidecore': { core: 1, network: 0 },
  'another network of another sidecore': { core: 1, network: 1 },
} as const;

/** A card, its peer, and one that gets copies of what passes the card. */
function mirrored(
  mesh: Mesh,
  { core, network }: (typeof PLACES)[keyof typeof PLACES],
  options: { direction?: string; ids?: GuestOptions; one?: GuestOptions } = {},
) {
  const here = mesh.rigs[0]!;
  const { direction = 'both' } = options;
  const ids = mesh.rigs[core]!.guest({ network, buffers: 200, ...options.ids });
  const ports = { to: { number: ids.spec.port, network } };
  const { filter, counts } = definedFilter(mirror, { to: 'ids/n', direction }, { ports });
  const one = here.guest({ buffers: 200, ...options.one, filters: [filter] });
  const other = here.guest({ buffers: 200 });
  mesh.run();
  return { ids, one, other, filter, counts };
}

describe('the mirror to a port', () => {
  for (const [place, where] of Object.entries(PLACES)) {
    it(`copies what passes as it is, in order, both ways or one, by whatever way it comes: ${place}`, () => {
      for (const direction of ['both', 'outbound', 'inbound'])
        withMesh(2, (mesh) => {
          const { ids, one, other, counts } = mirrored(mesh, where, { direction, ids: { vlans: accessPort(7) } });
          const sent: Buffer[] = [];
          const got: Buffer[] = [];
          for (const [from, to, list] of [
            [one, other, sent],
            [other, one, got],
          ] as const) {
            for (let i = 0; i < 60; i++) {
              const bytes = makeFrame(to.mac, from.mac, [14, 60, 64, 300, 1514, 2050, 5000][i % 7]!, i);
              const frame = i % 5 === 0 ? withTag(bytes, 0xe009) : bytes;
              const cuts = i % 11 === 0 ? [NET_HEADER_BYTES, 20, 7] : [];
              list.push(frame);
              from.send(frame, { cuts, skew: i & 3 });
              if (i % 20 === 19) mesh.run();
            }
            mesh.run();
            expectSame(to.frames(), list);
          }
          const copied = { both: [...sent, ...got], outbound: sent, inbound: got }[direction]!;
          expectSame(ids.frames(), copied);
          assert.deepEqual(counts.readCounters(), { frames: copied.length, dropped: 0 });
          // Nothing was learned of them: what is for the card goes there, and not to where its copies are.
          const back = makeFrame(one.mac, other.mac, 80, 99);
          other.send(back);
          mesh.run();
          expectSame(one.frames(), [back]);
          expectSame(ids.frames(), direction === 'outbound' ? [] : [back]);
          for (const guest of [one, other, ids]) assert.deepEqual(guest.drops, {});
        });
    });

    it(`does what is left to be done for whoever gets a copy: ${place}`, () => {
      for (const able of [false, true])
        withMesh(2, (mesh) => {
          const { ids, one, other } = mirrored(mesh, where, {
            ids: { features: able ? PLAIN | OFFLOAD_FEATURES : PLAIN },
            one: { features: PLAIN | OFFLOAD_FEATURES },
          });
          for (const gsoSize of [0, 1448]) {
            const plan: PacketPlan = {
              tags: [],
              version: 4,
              tcp: true,
              optionWords: 0,
              extensions: [],
              tcpOptionWords: 3,
              flags: 0x18,
              sequence: 5,
              id: 0,
              salt: Uint8Array.from([...other.mac, ...one.mac, ...Array.from({ length: 52 }, (_, i) => i * 5)]),
              payload: Uint8Array.from({ length: 20_000 }, (_, i) => i * 3),
              lengthUnsaid: false,
            };
            const packet = buildPacket(plan);
            const { flags, gsoType, csumStart, csumOffset } = offloadHeader(plan, packet, gsoSize);
            const asks = { FLAGS: flags, GSO_TYPE: gsoType, GSO_SIZE: gsoSize };
            one.send(packet.frame, {
              header: headerBytes({ ...asks, CSUM_START: csumStart, CSUM_OFFSET: csumOffset }),
            });
            mesh.run();
            one.reclaim();
            expectSame(other.frames(), [packet.frame]);
            const copies = ids.frames();
            if (able) expectSame(copies, [packet.frame]);
            else expectSegments(plan, packet, gsoSize === 0 ? plan.payload.length : gsoSize, copies);
          }
        });
    });

    it(`never keeps anybody waiting, and counts what is lost; its port leaves and comes back: ${place}`, () =>
      withMesh(2, (mesh) => {
        const { ids, one, other, counts } = mirrored(mesh, where, { ids: { buffers: 3 } });
        const pass = (count: number) => {
          const frames = Array.from({ length: count }, (_, i) => makeFrame(other.mac, one.mac, 100, i));
          for (const frame of frames) one.send(frame);
          mesh.run();
          one.reclaim();
          expectSame(other.frames(), frames);
          return frames;
        };
        const frames = pass(5);
        assert.deepEqual(ids.drops, { DROPPED_NO_BUFFER: 2 });
        expectSame(ids.frames(), frames.slice(0, 3));
        ids.device.setLink(false);
        pass(2);
        assert.deepEqual(ids.drops, { DROPPED_NO_BUFFER: 2, DROPPED_LINK_DOWN: 2 });
        ids.device.setLink(true);
        expectSame(pass(2), ids.frames());
        assert.deepEqual(counts.readCounters(), { frames: 9, dropped: 0 });
      }));
  }

  it('finds its port on whichever sidecore that is, and counts what does not get there', () =>
    withMesh(
      2,
      (mesh) => {
        const [here, there] = mesh.rigs as [NetRig, NetRig];
        const nobody = { to: { number: 150, network: 1 } };
        const lone = definedFilter(mirror, { to: 'ids/n' }, { ports: nobody });
        const { ids, one, other, counts } = mirrored(mesh, PLACES['another network of another sidecore']);
        const third = here.guest({ filters: [lone.filter] });
        const pass = (from = one, count = 3) => {
          const frames = Array.from({ length: count }, (_, i) => makeFrame(other.mac, from.mac, 100, i));
          for (const frame of frames) from.send(frame);
          mesh.run();
          from.reclaim();
          expectSame(other.frames(), frames);
          return frames;
        };
        pass(third);
        assert.deepEqual(lone.counts.readCounters(), { frames: 0, dropped: 3 });
        mesh.move(ids, there, here);
        expectSame(pass(), ids.frames());
        mesh.move(ids, here, there);
        expectSame(pass(), ids.frames());
        // The way there has no room for as many at once.
        const frames = Array.from({ length: 100 }, (_, i) => makeFrame(other.mac, one.mac, 100, i));
        for (const frame of frames) one.send(frame);
        here.run();
        expectSame(other.frames(), frames);
        one.reclaim();
        mesh.run();
        const { frames: copied, dropped } = counts.readCounters() as { frames: number; dropped: number };
        assert.equal(copied + dropped, 106);
        assert.ok(dropped > 10 && copied > 16, `${dropped} of 100 are lost`);
        expectSame(ids.frames(), frames.slice(0, copied - 6), 'before that, 6');
        // Those that were on their way when it moved are counted where they have come.
        one.send(frames[0]!);
        here.turn();
        mesh.directory.move(ids.spec.port, 0);
        ids.moveTo(here);
        there.turn();
        assert.equal(mesh.crossings[1]![0]!.arrived[PortCounter.DROPPED_NOT_READY], 1);
      },
      2 ** 12,
    ));

  it('gives copies to a port that is no card, too', () =>
    withMesh(2, (mesh) => {
      const [here, there] = mesh.rigs as [NetRig, NetRig];
      const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
      const station = { high: 0x5254, low: 9 };
      const common = { number: 150, switchId: 1, vlans: accessPort(7), shared, mac: station, destination: station };
      there.networks.plug({ ...common, kind: 'generator', frameBytes: 60, send: false }, there);
      const { filter } = definedFilter(mirror, { to: 'lan/g' }, { ports: { to: { number: 150, network: 1 } } });
      const one = here.guest({ filters: [filter] });
      for (let i = 0; i < 3; i++) one.send(makeFrame(BROADCAST, one.mac, 100, i));
      mesh.run();
      assert.equal(new Float64Array(shared)[PortCounter.FRAMES_OUT], 3);
    }));

  it('gives copies past its port’s own filters: they are not copied again', () =>
    withMesh(2, (mesh) => {
      const last = mesh.rigs[1]!.guest();
      const again = definedFilter(mirror, { to: 'last/n' }, { ports: { to: { number: last.spec.port, network: 0 } } });
      const { ids, one, other } = mirrored(mesh, PLACES['the same network'], { ids: { filters: [again.filter] } });
      const frame = makeFrame(other.mac, one.mac, 100, 1);
      one.send(frame);
      mesh.run();
      expectSame(ids.frames(), [frame]);
      // What is for the port itself is.
      const own = makeFrame(ids.mac, one.mac, 100, 2);
      one.send(own);
      mesh.run();
      expectSame(ids.frames(), [own, own]);
      expectSame(last.frames(), [own]);
      expectSame(other.frames(), [frame]);
    }));

  it('is told that a frame is not its own any more', () =>
    withMesh(2, (mesh) => {
      const ids = mesh.rigs[0]!.guest();
      const late = frameFilter(
        ({ port }) => {
          const to = port('to');
          return {
            outbound(frame, next) {
              next(frame);
              to.deliver(frame);
            },
          };
        },
        { ports: { to: { number: ids.spec.port, network: 0 } } },
      );
      const one = mesh.rigs[0]!.guest({ filters: [late] });
      one.send(makeFrame(BROADCAST, one.mac, 100, 1));
      mesh.run();
      assert.match(late.memory.faults[0]!, /not this filter’s/);
      assert.deepEqual(ids.frames(), []);
    }));
});
