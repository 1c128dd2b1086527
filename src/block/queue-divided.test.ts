/** Long requests, which a queue does piece by piece: how they are divided, ended, and done again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockRig, header, MORE_RAM, RAM, type RigQueue, ranges } from '../../test/support/block-rig.js';
import { QueueCounter } from '../virtio/queue-state.js';
import { RequestType, SECTOR_BYTES, Status } from './features.js';

const PIECE_BYTES = 16_384;
const DATA_BYTES = 4 * PIECE_BYTES + 512;
const HEADERS = RAM.guestAddress + 0x4000;
const STATUSES = RAM.guestAddress + 0x5000;
const DATA = RAM.guestAddress + 0x6000;
const UNTOUCHED = 0xee;

function on(test: (rig: BlockRig, queue: RigQueue) => void): void {
  const rig = new BlockRig({ sectors: 256 });
  for (let i = 0; i < rig.disk.length; i++) rig.disk[i] = (i * 7 + (i >> 9)) & 0xff;
  try {
    test(rig, rig.queues[0]!);
    assert.equal(rig.free, 8, 'a request is lost');
  } finally {
    rig.release();
  }
}

/** Offers a request in slot 0 or 1. Its data are in two segments that cross windows. */
function offer(rig: BlockRig, { driver }: RigQueue, slot: number, type: number, sector: number, bytes: number): number {
  rig.memory.write(HEADERS + 32 * slot, header(type, sector));
  rig.memory.write(STATUSES + slot, Buffer.from([UNTOUCHED]));
  const data = slot === 0 ? DATA : MORE_RAM.guestAddress + 0x4000;
  const writable = type === RequestType.IN;
  const head = driver.add([
    { address: HEADERS + 32 * slot, length: 16 },
    { address: data, length: bytes - 512, writable },
    { address: data + bytes - 512, length: 512, writable },
    { address: STATUSES + slot, length: 1, writable: true },
  ]);
  driver.publish();
  return head;
}

const piece = (rig: BlockRig, { queue }: RigQueue, limit = 64): number => {
  const done = queue.serve(limit, PIECE_BYTES);
  rig.publish();
  return done;
};

describe('a long request', () => {
  for (const type of [RequestType.IN, RequestType.OUT]) {
    it(`is done piece by piece, and what follows it after it: type ${type}`, () =>
      on((rig, served) => {
        const written = Buffer.alloc(DATA_BYTES, 0x5a);
        rig.memory.write(DATA, written);
        const long = offer(rig, served, 0, type, 3, DATA_BYTES);
        const short = offer(rig, served, 1, RequestType.IN, 3, 1024);
        for (let i = 0; i < 4; i++) {
          assert.equal(piece(rig, served), 1);
          assert.equal(served.queue.servedBytes, PIECE_BYTES);
          assert.equal(served.queue.pending(), 2);
          assert.equal(served.queue.inFlight, 1);
          assert.equal(served.driver.take(), undefined);
        }
        assert.equal(piece(rig, served), 2);
        assert.equal(served.queue.servedBytes, 512 + 1024);
        assert.deepEqual(served.driver.take(), { head: long, written: type === RequestType.IN ? DATA_BYTES + 1 : 1 });
        assert.deepEqual(served.driver.take(), { head: short, written: 1025 });
        const onDisk = rig.disk.subarray(3 * SECTOR_BYTES, 3 * SECTOR_BYTES + DATA_BYTES);
        assert.deepEqual(rig.memory.read(DATA, DATA_BYTES), Buffer.from(onDisk));
        if (type === RequestType.OUT) assert.deepEqual(Buffer.from(onDisk), written);
        assert.deepEqual(rig.memory.read(MORE_RAM.guestAddress + 0x4000, 1024), Buffer.from(onDisk.subarray(0, 1024)));
        assert.deepEqual(rig.memory.read(STATUSES, 2), Buffer.from([Status.OK, Status.OK]));
        assert.equal(served.queue.pending(), 0);
        assert.equal(served.state.counters[QueueCounter.REQUESTS], 2);
      }));
  }

  it('is divided where it zeroes, too', () =>
    on((rig, served) => {
      rig.memory.write(HEADERS, header(RequestType.WRITE_ZEROES, 0));
      rig.memory.write(
        DATA,
        ranges([
          { sector: 8, sectors: 40 },
          { sector: 100, sectors: 60 },
        ]),
      );
      served.driver.add([
        { address: HEADERS, length: 16 },
        { address: DATA, length: 32 },
        { address: STATUSES, length: 1, writable: true },
      ]);
      served.driver.publish();
      const before = Buffer.from(rig.disk);
      let pieces = 0;
      while (served.driver.take() === undefined) {
        assert.ok(piece(rig, served) > 0);
        pieces++;
      }
      assert.equal(pieces, Math.ceil((100 * SECTOR_BYTES) / PIECE_BYTES));
      before.fill(0, 8 * SECTOR_BYTES, 48 * SECTOR_BYTES).fill(0, 100 * SECTOR_BYTES, 160 * SECTOR_BYTES);
      assert.equal(before.compare(rig.disk), 0);
    }));

  it('is brought to its end when its queue is stopped, and nothing else is begun', () =>
    on((rig, served) => {
      const long = offer(rig, served, 0, RequestType.IN, 3, DATA_BYTES);
      offer(rig, served, 1, RequestType.IN, 3, 1024);
      piece(rig, served);
      served.queue.closed = true;
      // As a sidecore does with a queue that it lets go of.
      for (let i = 0; i < 4; i++) piece(rig, served, 0);
      assert.equal(served.queue.inFlight, 0);
      assert.equal(served.driver.take()?.head, long);
      assert.equal(piece(rig, served, 0), 0);
      assert.equal(served.driver.take(), undefined);
    }));

  it('is done again from its beginning by a thread that takes over, before anything new', () =>
    on((rig, served) => {
      const long = offer(rig, served, 0, RequestType.IN, 3, DATA_BYTES);
      const short = offer(rig, served, 1, RequestType.IN, 3, 1024);
      piece(rig, served);
      piece(rig, served);
      // The thread dies, and its pool with it.
      const [lost] = rig.pool.requests;
      served.queue = served.takeOver();
      served.queue.retakeUnfinished();
      assert.ok(served.queue.pending() > 0, 'it is not forgotten when nothing new comes');
      for (let i = 0; i < 8; i++) piece(rig, served);
      assert.equal(served.driver.take()?.head, long);
      assert.equal(served.driver.take()?.head, short);
      const onDisk = rig.disk.subarray(3 * SECTOR_BYTES, 3 * SECTOR_BYTES + DATA_BYTES);
      assert.deepEqual(rig.memory.read(DATA, DATA_BYTES), Buffer.from(onDisk));
      rig.pool.giveBack(lost!);
    }));
});
