/** Guests of a daemon that break the rings of their network cards: they lose these, and nobody else anything. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { NetDriver, NetRing } from '../../src/guest/net-driver.js';
import { signal } from '../../src/host/eventfd.js';
import { FRAME_BYTES_MAX } from '../../src/limits.js';
import { NET_FEATURES } from '../../src/net/features.js';
import { DescriptorFlag } from '../../src/virtio/ring-layout.js';
import { CleanupSteps } from '../support/daemon.js';
import { BROADCAST, makeFrame } from '../support/frames.js';
import { headerBytes } from '../support/net-rig.js';
import { until } from '../vhost-user/raw-front-end.js';
import { TestDaemon } from '../vhost-user/test-daemon.js';
import { connectGuest, introduce, next, send } from './guests.js';

const NIC = { nics: { n: {} } };
const TAGGED_NIC = { nics: { n: { vlan: 5 } } };

/** Writes one word of all descriptors of a ring: 0 is the address, 2 the length, 3 flags and next. */
function overwrite({ ram }: NetDriver, { ring }: NetRing, word: number, value: number): void {
  for (let slot = 0; slot < ring.size; slot++) ram.words[(ring.descriptors >>> 2) + 4 * slot + word] = value;
}

const { WRITE, NEXT } = DescriptorFlag;

/** How a ring is broken, and the fault of that. */
const FAULTS = [
  { code: 'ADDRESS_INVALID', word: 0, value: 0xf000_0000 },
  { code: 'NEXT_OUT_OF_RANGE', word: 3, value: (0xffff << 16) | NEXT },
  { code: 'NEXT_OUT_OF_RANGE', word: 3, value: (0xffff << 16) | NEXT | WRITE },
] as const;

for (const mode of ['sidecore', 'baseline'] as const) {
  describe(`hostile guests with network cards, mode ${mode}`, { timeout: 120_000 }, () => {
    let served: TestDaemon;
    let pair: [NetDriver, NetDriver];
    const cleanup = new CleanupSteps();
    before(async () => {
      served = await TestDaemon.start(cleanup, { hostile: NIC, a: NIC, b: NIC, c: TAGGED_NIC, d: TAGGED_NIC }, mode);
      pair = [
        await connectGuest(cleanup, { socket: served.socket('a', 'n') }),
        await connectGuest(cleanup, { socket: served.socket('b', 'n') }),
      ];
      await introduce(pair);
    });
    after(async () => {
      const { cores } = await served.status();
      assert.ok(cores.every(({ deaths }) => deaths === 0));
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
      await cleanup.run();
    });

    let round = 0;
    /** The neighbours send to each other, and hear that, whatever else they hear. */
    const talk = async () => {
      for (const [from, to] of [pair, [...pair].reverse()] as [NetDriver, NetDriver][]) {
        const frame = makeFrame(to.mac, from.mac, 200, ++round);
        await send(from, frame);
        while (!(await next(to, 'a neighbour is heard')).equals(frame));
      }
    };
    const guest = (test: TestContext) => connectGuest(test, { socket: served.socket('hostile', 'n') });
    const nic = async () => (await served.status()).nics.hostile!.n!;

    for (const [number, { code, word, value }] of FAULTS.entries()) {
      it(`that break a send ring: ${code} (${number})`, async (test) => {
        const hostile = await guest(test);
        await introduce([hostile, ...pair]);
        overwrite(hostile, hostile.tx, word, value);
        hostile.send(makeFrame(BROADCAST, hostile.mac, 60, 1));
        hostile.tx.publish();
        await until(async () => (await nic()).queues[1]!.phase === 'faulted', 'the queue is stopped');
        const { queues, faults } = await nic();
        assert.deepEqual([queues[0]!.fault, queues[1]!.fault], [null, code]);
        assert.ok(faults[code]! >= 1);
        // It still receives.
        const frame = makeFrame(hostile.mac, pair[0].mac, 90, 7);
        await send(pair[0], frame);
        assert.ok((await next(hostile, 'what is for it')).equals(frame));
        signal(hostile.tx.kickFd);
        await talk();
      });

      it(`that break a receive ring: ${code} (${number})`, async (test) => {
        const hostile = await guest(test);
        await introduce([hostile, ...pair]);
        overwrite(hostile, hostile.rx, word, value);
        for (let i = 0; i < 10; i++) {
          await send(pair[0], makeFrame(hostile.mac, pair[0].mac, 60, i));
          await talk();
        }
        await until(async () => (await nic()).queues[0]!.phase === 'faulted', 'the queue is stopped');
        const { queues, dropped_not_ready } = await nic();
        assert.deepEqual([queues[0]!.fault, queues[1]!.fault], [code, null]);
        assert.ok(dropped_not_ready > 0);
        // It still sends.
        const frame = makeFrame(pair[1].mac, hostile.mac, 90, 7);
        await send(hostile, frame);
        while (!(await next(pair[1], 'what it sends')).equals(frame));
        await talk();
      });
    }

    it('work again when they are set up anew', async (test) => {
      const hostile = await guest(test);
      await introduce([hostile, ...pair]);
      const { queues } = await nic();
      assert.deepEqual([queues[0]!.fault, queues[1]!.fault], [null, null]);
      await talk();
    });

    it('that ask for offloads beyond their frames are counted', async (test) => {
      const hostile = await guest(test);
      await introduce([hostile, ...pair]);
      const before = await nic();
      const wrong = [
        { FLAGS: 1, CSUM_START: 0xffff, CSUM_OFFSET: 0xffff },
        { FLAGS: 1, CSUM_START: 34, CSUM_OFFSET: 16 },
        { GSO_TYPE: 1, GSO_SIZE: 1, HDR_LEN: 0xffff },
        { FLAGS: 1, GSO_TYPE: 5, GSO_SIZE: 0 },
      ];
      for (const fields of wrong) {
        hostile.reclaim();
        assert.ok(hostile.send(makeFrame(pair[0].mac, hostile.mac, 60, 1)));
        // Whichever buffer it is in: all others are free.
        for (let i = 0; i < hostile.tx.ring.size; i++) headerBytes(fields).copy(hostile.tx.bytes(i));
        hostile.tx.publish();
        await talk();
      }
      await until(
        async () => (await nic()).dropped_offload === before.dropped_offload + wrong.length,
        'each is counted',
      );
    });

    it('that have a sum begin where the longest frames end do not harm another sidecore', async (test) => {
      const [c, d] = ['c', 'd'].map((vm) => served.socket(vm, 'n')) as [string, string];
      const features = NET_FEATURES.CSUM | NET_FEATURES.MRG_RXBUF;
      const hostile = await connectGuest(test, { socket: c, buffers: 16, bufferBytes: 69_632, features });
      const victim = await connectGuest(test, { socket: d, features: NET_FEATURES.MRG_RXBUF });
      await introduce([hostile, victim]);
      const dropped = async () => (await served.status()).nics.c!.n!.dropped_offload;
      for (const [i, csumStart] of [0xfffd, 0xffff].entries()) {
        hostile.reclaim();
        assert.ok(hostile.send(makeFrame(BROADCAST, hostile.mac, FRAME_BYTES_MAX, 1)));
        const header = headerBytes({ FLAGS: 1, CSUM_START: csumStart, CSUM_OFFSET: 3 });
        for (let slot = 0; slot < hostile.tx.ring.size; slot++) header.copy(hostile.tx.bytes(slot));
        hostile.tx.publish();
        await until(async () => (await dropped()) === i + 1, 'it is counted');
      }
      await talk();
    });
  });
}
