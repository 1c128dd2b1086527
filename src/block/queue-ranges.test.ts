/** DISCARD, WRITE_ZEROES and SECURE_ERASE. VIRTIO 1.3, 5.2.6 and 5.2.6.2 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockRig, type BlockRigOptions, header, type RangeField, ranges, send } from '../../test/support/block-rig.js';
import { StubBackend } from '../../test/support/stub-backend.js';
import { DISCARD_SECTORS_MAX, RANGES_MAX, SECURE_ERASE_SECTORS_MAX, WRITE_ZEROES_SECTORS_MAX } from '../limits.js';
import { BLOCK_FEATURES, RequestType, Status } from './features.js';

const SECTORS = 64;
const UNMAP = 1;

const COMMANDS = [
  { name: 'DISCARD', what: 'discard', sectorsMax: DISCARD_SECTORS_MAX, unmap: Status.UNSUPP },
  { name: 'WRITE_ZEROES', what: 'writeZeroes', sectorsMax: WRITE_ZEROES_SECTORS_MAX, unmap: Status.OK },
  { name: 'SECURE_ERASE', what: 'secureErase', sectorsMax: SECURE_ERASE_SECTORS_MAX, unmap: Status.UNSUPP },
] as const;

function on(options: BlockRigOptions, test: (rig: BlockRig) => void): void {
  const rig = new BlockRig({ sectors: SECTORS, pool: 8, ...options });
  try {
    test(rig);
    assert.equal(rig.queues[0]!.state.fault, 0);
    assert.equal(rig.free, 8, 'requests are not given back');
  } finally {
    rig.release();
  }
}

for (const { name, what, sectorsMax, unmap } of COMMANDS) {
  const type = RequestType[name];
  const ask = (rig: BlockRig, data: Buffer, room = 0) =>
    send(rig, Buffer.concat([header(type, 0), data]), room)!.status;
  const askRanges = (rig: BlockRig, list: readonly RangeField[]) => ask(rig, ranges(list));

  describe(name, () => {
    it('zeroes its ranges, and no sector beside them', () =>
      on({}, (rig) => {
        const lists = [
          [{ sector: 0, sectors: SECTORS }],
          [{ sector: 3, sectors: 20 }],
          [
            { sector: SECTORS - 1, sectors: 1 },
            { sector: 0, sectors: 9 },
            { sector: 30, sectors: 0 },
          ],
          [
            { sector: 4, sectors: 4 },
            { sector: 6, sectors: 10 },
          ],
          [{ sector: SECTORS, sectors: 0 }],
          Array.from({ length: RANGES_MAX }, (_, i) => ({ sector: i * 4, sectors: i % 4 })),
        ];
        for (const list of lists) {
          rig.disk.fill(7);
          assert.equal(askRanges(rig, list), Status.OK);
          for (let sector = 0; sector < SECTORS; sector++) {
            const isGone = list.some((range) => sector >= range.sector && sector < range.sector + range.sectors);
            const found = rig.disk.subarray(sector * 512, sector * 512 + 512);
            assert.ok(
              found.every((byte) => byte === (isGone ? 0 : 7)),
              `sector ${sector}`,
            );
          }
        }
      }));

    it('hands over what was asked', () => {
      const backend = new StubBackend();
      const sectors = 2 * DISCARD_SECTORS_MAX;
      on({ backend }, (rig) => {
        rig.device.resize(sectors * 512);
        const list = [
          { sector: sectors - sectorsMax, sectors: sectorsMax },
          { sector: 0, sectors: 1, flags: unmap === Status.OK ? UNMAP : 0 },
        ];
        assert.equal(askRanges(rig, list), Status.OK);
        const [asked] = backend.take();
        assert.equal(asked!.what, what);
        assert.deepEqual(asked!.ranges, [
          { sector: sectors - sectorsMax, sectors: sectorsMax, unmap: false },
          { sector: 0, sectors: 1, unmap: unmap === Status.OK },
        ]);
        assert.equal(askRanges(rig, [{ sector: 0, sectors: sectorsMax + 1 }]), Status.IOERR);
        assert.equal(askRanges(rig, [{ sector: 0, sectors: 2 ** 32 - 1 }]), Status.IOERR);
        assert.equal(backend.asked.length, 0);
      });
    });

    it('is not supported unless it was negotiated', () => {
      const backend = new StubBackend();
      const others = COMMANDS.filter((command) => command.name !== name).reduce(
        (sum, command) => sum | BLOCK_FEATURES[command.name],
        BLOCK_FEATURES.FLUSH,
      );
      on({ backend, features: others }, (rig) => {
        assert.equal(askRanges(rig, [{ sector: 0, sectors: 1 }]), Status.UNSUPP);
        assert.equal(askRanges(rig, [{ sector: SECTORS, sectors: 1 }]), Status.UNSUPP);
        assert.equal(ask(rig, Buffer.alloc(3)), Status.UNSUPP);
        rig.device.negotiate(BLOCK_FEATURES[name]);
        assert.equal(askRanges(rig, [{ sector: 0, sectors: 1 }]), Status.OK);
        assert.equal(backend.asked.length, 1);
      });
    });

    it('does nothing to a disk that is read-only', () => {
      const backend = new StubBackend();
      on({ backend, readOnly: true }, (rig) => {
        assert.equal(askRanges(rig, [{ sector: 0, sectors: 1 }]), Status.UNSUPP);
        // As if a driver acknowledged what was not offered.
        rig.device.negotiate(BLOCK_FEATURES[name]);
        assert.equal(askRanges(rig, [{ sector: 0, sectors: 1 }]), Status.IOERR);
        assert.equal(backend.asked.length, 0);
      });
    });

    it('knows no flags but its own, and says so whatever else is wrong', () => {
      const backend = new StubBackend();
      on({ backend }, (rig) => {
        const good = { sector: 0, sectors: 1 };
        for (let bit = 0; bit < 32; bit++) {
          const flags = 2 ** bit;
          const expected = bit === 0 ? unmap : Status.UNSUPP;
          assert.equal(askRanges(rig, [{ ...good, flags }]), expected, `flag ${bit}`);
          assert.equal(askRanges(rig, [good, good, { ...good, flags }]), expected, `flag ${bit}`);
          if (bit === 0) continue;
          assert.equal(askRanges(rig, [{ ...good, flags: flags + UNMAP }]), Status.UNSUPP);
          for (const bad of [
            { sector: SECTORS, sectors: 1 },
            { sector: 0, sectors: 2 ** 32 - 1 },
          ]) {
            assert.equal(askRanges(rig, [bad, { ...good, flags }]), Status.UNSUPP);
            assert.equal(askRanges(rig, [{ ...good, flags }, bad]), Status.UNSUPP);
          }
        }
        assert.equal(backend.take().length, unmap === Status.OK ? 2 : 0);
      });
    });

    it('fails beyond the end, and does nothing then', () => {
      const backend = new StubBackend();
      on({ backend }, (rig) => {
        for (const [sector, sectors] of [
          [SECTORS, 1],
          [SECTORS + 1, 0],
          [SECTORS - 1, 2],
          [0, SECTORS + 1],
          [2n ** 53n, 1],
          [2n ** 64n - 1n, 1],
          [2n ** 64n - 1n, 2],
        ] as const) {
          assert.equal(askRanges(rig, [{ sector, sectors }]), Status.IOERR, `${sectors} from ${sector}`);
          assert.equal(
            askRanges(rig, [
              { sector: 0, sectors: 1 },
              { sector, sectors },
            ]),
            Status.IOERR,
          );
          assert.equal(
            askRanges(rig, [
              { sector, sectors },
              { sector: 0, sectors: 1 },
            ]),
            Status.IOERR,
          );
        }
        assert.equal(backend.asked.length, 0);
      });
    });

    it('fails without a whole number of ranges, without any, and with too many', () => {
      const backend = new StubBackend();
      on({ backend }, (rig) => {
        const whole = ranges(Array.from({ length: RANGES_MAX + 1 }, () => ({ sector: 0, sectors: 1 })));
        for (const length of [0, 1, 15, 17, 31, 16 * RANGES_MAX - 1, 16 * RANGES_MAX + 1, 16 * (RANGES_MAX + 1)]) {
          assert.equal(ask(rig, whole.subarray(0, length)), Status.IOERR, `${length} bytes`);
        }
        assert.equal(ask(rig, whole.subarray(0, 16), 16), Status.IOERR, 'with room for data');
        assert.equal(backend.asked.length, 0);
      });
    });
  });
}
