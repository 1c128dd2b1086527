/** The same request means the same however it is cut into descriptors. VIRTIO 1.3, 2.7.4 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BlockModel } from '../../test/support/block-model.js';
import { BlockRig, type Framing, header, ranges, send } from '../../test/support/block-rig.js';
import { check } from '../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from './features.js';

const SECTORS = 64;

const fill = (bytes: number, seed: number) =>
  Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 17) & 0xff));

/** Readable bytes and the room for data of a request, good ones for the most part. */
const requests = fc.oneof(
  fc
    .record({ sector: fc.nat(SECTORS), sectors: fc.nat(9), write: fc.boolean(), seed: fc.nat(255) })
    .map(({ sector, sectors, write, seed }) => {
      const bytes = sectors * SECTOR_BYTES;
      return write
        ? { readable: Buffer.concat([header(RequestType.OUT, sector), fill(bytes, seed)]), dataBytes: 0 }
        : { readable: header(RequestType.IN, sector), dataBytes: bytes };
    }),
  fc
    .record({
      type: fc.constantFrom(RequestType.DISCARD, RequestType.WRITE_ZEROES, RequestType.SECURE_ERASE),
      list: fc.array(
        fc.record({ sector: fc.nat(SECTORS), sectors: fc.nat(8), flags: fc.constantFrom(0, 0, 0, 1, 2) }),
        {
          maxLength: 17,
        },
      ),
    })
    .map(({ type, list }) => ({ readable: Buffer.concat([header(type, 0), ranges(list)]), dataBytes: 0 })),
  fc
    .record({
      type: fc.constantFrom(...Object.values(RequestType), 5, 10, 2 ** 32 - 1),
      sector: fc.nat(SECTORS + 1),
      readable: fc.nat(600),
      dataBytes: fc.nat(600),
    })
    .map(({ type, sector, readable, dataBytes }) => ({
      readable: Buffer.concat([header(type, sector), fill(readable, sector)]),
      dataBytes,
    })),
);

const cuts = fc.array(fc.oneof(fc.nat(20), fc.nat(3), fc.constantFrom(0, 1, 511, 512, 513, 4096)), { maxLength: 60 });
const framings: fc.Arbitrary<Framing> = fc
  .record({
    readable: cuts,
    writable: cuts,
    gaps: fc.array(fc.oneof(fc.nat(9), fc.nat(1000)), { minLength: 1, maxLength: 9 }),
    direct: fc.option(fc.nat(30)),
  })
  .map(({ direct, ...rest }) => {
    const last = rest.readable.length + rest.writable.length + 1;
    return direct === null ? rest : { ...rest, direct: Math.min(direct, last) };
  });

describe('the framing of requests', () => {
  it('makes no difference', () => {
    const statuses = new Set<number>();
    check(
      fc.property(fc.array(fc.tuple(requests, framings), { minLength: 1, maxLength: 8 }), (history) => {
        const rig = new BlockRig({ sectors: SECTORS, pool: 4 });
        const model = new BlockModel(rig.disk.length, rig.device.offeredFeatures, false, 'a serial number');
        fill(rig.disk.length, 99).copy(rig.disk);
        rig.disk.copy(model.disk);
        try {
          for (const [{ readable, dataBytes }, framing] of history) {
            const expected = model.answer(readable, dataBytes);
            const answer = send(rig, readable, dataBytes, framing);
            assert.ok(answer, `the queue stopped with ${rig.queues[0]!.state.fault}`);
            assert.equal(answer.status, expected.status);
            statuses.add(answer.status);
            assert.equal(rig.disk.compare(model.disk), 0, 'the disk differs');
            const { data } = expected;
            if (data) assert.deepEqual(answer.data.subarray(0, data.length), data);
            else
              assert.ok(
                answer.data.every((byte) => byte === 0xee),
                'data were written that nobody asked for',
              );
            const isRead = readable.readUInt32LE(0) === RequestType.IN && answer.status === Status.OK;
            if (isRead) assert.equal(answer.written, dataBytes + 1);
            else assert.ok(answer.written <= dataBytes + 1);
          }
          assert.equal(rig.free, 4);
        } finally {
          rig.release();
        }
      }),
      600,
    );
    assert.deepEqual([...statuses].sort(), [Status.OK, Status.IOERR, Status.UNSUPP]);
  });

  it('may be one byte a descriptor, throughout', () => {
    const rig = new BlockRig({ ringSize: 256 });
    const ones = (count: number) => Array.from({ length: count }, () => 1);
    const serial = send(rig, header(RequestType.GET_ID, 0), 20, { readable: ones(16), writable: ones(21), gaps: [3] })!;
    assert.equal(serial.status, Status.OK);
    assert.equal(serial.data.toString('latin1'), 'a serial number'.padEnd(20, '\0'));
    const list = ranges([
      { sector: 0, sectors: 3 },
      { sector: 5, sectors: 1 },
    ]);
    rig.disk.fill(7);
    const readable = Buffer.concat([header(RequestType.WRITE_ZEROES, 0), list]);
    assert.equal(send(rig, readable, 0, { readable: ones(48), writable: [], gaps: [1] })!.status, Status.OK);
    for (let sector = 0; sector < 8; sector++) {
      assert.equal(rig.disk[sector * SECTOR_BYTES], sector < 3 || sector === 5 ? 0 : 7);
    }
    rig.release();
  });

  it('may be one descriptor for all that is read and one for all that is written', () => {
    const rig = new BlockRig();
    const framing = { readable: [], writable: [], gaps: [1] };
    const out = Buffer.concat([header(RequestType.OUT, 3), fill(1024, 1)]);
    assert.deepEqual(send(rig, out, 0, framing), { status: Status.OK, written: 1, data: Buffer.alloc(0) });
    assert.deepEqual(send(rig, header(RequestType.IN, 3), 1024, framing), {
      status: Status.OK,
      written: 1025,
      data: fill(1024, 1),
    });
    rig.release();
  });
});
