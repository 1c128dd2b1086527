import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { FilterRig, type RigFilter } from '../../../../test/support/filter-rig.js';
import { SectorHistory } from '../../../../test/support/sector-history.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { slowFilter } from '../../../../test/support/slow-filter.js';
import { defineBlockFilter, RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { LOCKS_FAILED_MAX } from '../../limits.js';
import { BlockLocks } from '../parts/block-locks.js';
import { BAD, checksum, UNKNOWN } from './checksum.js';
import { verify } from './filter.js';

const SIZE = 2 ** 20 + 3 * SECTOR_BYTES;
const SECTORS = SIZE / SECTOR_BYTES;
const BLOCK = 4096;

interface StartOptions {
  readonly queues?: number;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly below?: readonly RigFilter[];
  readonly folder?: string;
  readonly suffix?: string;
  readonly dataBytesMax?: number;
}

function start(test: TestContext, more: StartOptions = {}): FilterRig & { folder: string } {
  const { queues = 1, options = {}, below = [], folder = scratchDirectory(test), suffix = '' } = more;
  const rig = new FilterRig(test, {
    queues,
    ...(more.dataBytesMax === undefined ? {} : { dataBytesMax: more.dataBytesMax }),
    backend: { type: 'file', path: join(folder, `disk${suffix}.img`), size: SIZE },
    filters: [
      { definition: verify, options: { sums: join(folder, `disk${suffix}.sums`), scrub_rate: '64GiB', ...options } },
      ...below,
    ],
  });
  return Object.assign(rig, { folder });
}

interface VerifyStatus {
  readonly when_opened: string;
  readonly known_blocks: number;
  readonly damaged: number;
  readonly sectors: number[];
  readonly scrub: { running: boolean; bytes: number; damaged_pieces: number; ended: string | null };
}

const statusOf = (rig: FilterRig) => rig.filters.opened[0]!.status() as VerifyStatus;
const ask = (rig: FilterRig, command: string) => rig.filters.opened[0]!.commands[command]!({});

async function scrub(rig: FilterRig): Promise<VerifyStatus['scrub']> {
  ask(rig, 'scrub');
  await rig.until(() => {
    rig.pass(10e6);
    return !statusOf(rig).scrub.running;
  });
  return statusOf(rig).scrub;
}

const noFaults = (rig: FilterRig) => {
  for (const { memory } of rig.filters.opened) assert.equal(memory.faults, 0, memory.faultNote.look());
};

/** Changes one bit of the image, behind the filter. */
function damage(rig: FilterRig, byte: number): void {
  const one = Buffer.alloc(1);
  rig.disk.image.read(byte, one);
  one[0]! ^= 0x10;
  rig.disk.image.write(byte, one);
}

describe('verify', () => {
  it('has checksums that differ with each bit', () => {
    // By another implementation of XXH32.
    const bytes = Buffer.from(Array.from({ length: BLOCK }, (_, i) => i & 255));
    assert.equal(checksum(new Int32Array(Uint8Array.from(bytes).buffer), 0), 0x693c0bc2);
    assert.equal(checksum(new Int32Array(BLOCK / 4), 0), 0x475546f5);
    const words = new Int32Array(1024).map((_, i) => Math.imul(i, 0x9e3779b1));
    const sum = checksum(words, 0);
    const sums = new Set([sum]);
    for (let bit = 0; bit < 32_768; bit++) {
      words[bit >>> 5]! ^= 1 << (bit & 31);
      sums.add(checksum(words, 0));
      words[bit >>> 5]! ^= 1 << (bit & 31);
    }
    // Of 2^15 values of 32 bits some may be alike; with the right one none is.
    assert.ok(sums.size > 32_760, `${sums.size} of 32769`);
    assert.equal(checksum(words, 0), sum);
    // Errors that cancel out where words are only added or multiplied.
    for (const distance of [4, 8, 16, 512]) {
      words[100]! ^= 1 << 31;
      words[100 + distance]! ^= 1 << 31;
      assert.notEqual(checksum(words, 0), sum);
      words[100]! ^= 1 << 31;
      words[100 + distance]! ^= 1 << 31;
    }
    [words[4], words[8]] = [words[8]!, words[4]!];
    assert.notEqual(checksum(words, 0), sum);
    const zeros = checksum(new Int32Array(1024), 0);
    assert.ok(zeros !== UNKNOWN && zeros !== BAD);
  });

  for (const below of ['at once', 'slow'])
    it(`finds nothing wrong under reads and writes from several queues, ${below} (seed ${SEED})`, async (test) => {
      const random = new Random(SEED);
      const rig = start(test, { queues: 3, below: below === 'slow' ? [{ definition: slowFilter(random) }] : [] });
      const history = new SectorHistory(rig, random, SECTORS, 3);
      for (let round = 0; round < 1000; round++) {
        if (history.inFlight < 6) history.begin(300);
        if (random.chance(0.5)) for (const queue of rig.queues) queue.turn();
        history.look();
      }
      await history.check();
      const { mismatches, checked_blocks, learned_blocks, unchecked_reads } = rig.counters();
      assert.equal(mismatches, 0);
      // Pieces that writes have overtaken each time.
      assert.ok(unchecked_reads! < checked_blocks! / 10, `${unchecked_reads} pieces unchecked`);
      assert.ok(checked_blocks! > 100 && learned_blocks! > 0, `${checked_blocks} checked, ${learned_blocks} learned`);
      assert.equal(statusOf(rig).known_blocks, Math.ceil(SIZE / BLOCK));
      noFaults(rig);
    });

  it(`finds each damage, wherever it is and however it is read (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    const rig = start(test);
    const model = Buffer.alloc(SIZE);
    for (let sector = 0; sector < SECTORS; sector += 100) {
      const data = Buffer.alloc(Math.min(100, SECTORS - sector) * SECTOR_BYTES, `from ${sector} on `);
      data.copy(model, sector * SECTOR_BYTES);
      assert.equal(await rig.write(sector, data), Status.OK);
    }
    await scrub(rig);
    const reads: [number, number][] = [
      [8, 8],
      [0, 256],
      [9, 1],
      [3, 30],
      [0, 1024],
      [SECTORS - 3, 3],
      [SECTORS - 11, 11],
    ];
    let found = 0;
    for (const [sector, sectors] of reads) {
      const at = (sector + random.below(sectors)) * SECTOR_BYTES + random.below(SECTOR_BYTES);
      damage(rig, at);
      await assert.rejects(rig.read(sector, sectors * SECTOR_BYTES), /ended with 1/, `sector ${sector}`);
      found++;
      assert.equal(rig.counters().mismatches, found);
      const block = Math.floor(at / BLOCK) * 8;
      assert.match(rig.filters.opened[0]!.memory.logNote.look()!, new RegExp(`block at sector ${block} is not what`));
      assert.ok(statusOf(rig).sectors.includes(block));
      damage(rig, at);
      const expected = model.subarray(sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES);
      assert.ok((await rig.read(sector, expected.length, { cuts: [700] })).equals(expected));
    }
    noFaults(rig);
  });

  it('gives the guest what is there if it only reports', async (test) => {
    const rig = start(test, { options: { on_mismatch: 'report' } });
    const data = Buffer.alloc(2 * BLOCK, 'good ');
    await rig.write(16, data);
    damage(rig, 16 * SECTOR_BYTES + 5000);
    const read = await rig.read(16, data.length);
    assert.equal(read[5000]! ^ 0x10, data[5000]);
    assert.equal(rig.counters().mismatches, 1);
  });

  it('does not forget that a block is damaged when a part of it is written', async (test) => {
    const rig = start(test);
    await rig.write(16, Buffer.alloc(3 * BLOCK, 'good '));
    damage(rig, 16 * SECTOR_BYTES + 1000);
    assert.equal(await rig.write(20, Buffer.alloc(8 * SECTOR_BYTES, 'new ')), Status.OK);
    assert.equal(rig.counters().mismatches, 1);
    await assert.rejects(rig.read(16, BLOCK), /ended with 1/);
    assert.equal((await rig.read(24, BLOCK)).toString('latin1', 0, 4), 'new ');
    // All of it makes it good.
    await rig.write(16, Buffer.alloc(BLOCK, 'whole '));
    assert.equal((await rig.read(16, BLOCK)).toString('latin1', 0, 6), 'whole ');
  });

  it('says nothing wrong of a guest’s memory that changes meanwhile', async (test) => {
    const rig = start(test);
    for (let round = 0; round < 40; round++) {
      const type = round % 2 === 0 ? RequestType.OUT : RequestType.IN;
      const length = round % 3 === 0 ? 3 * SECTOR_BYTES : 2 * BLOCK;
      const request = rig.begin(
        type,
        8 * (round >> 1),
        type === RequestType.OUT ? Buffer.alloc(length, round) : length,
      );
      await rig.until(() => {
        request.data.fill(request.data[0]! + 1);
        return request.status !== undefined;
      });
      assert.equal(request.status, Status.OK);
    }
    assert.equal(rig.counters().mismatches, 0);
    assert.equal((await scrub(rig)).damaged_pieces, 0);
  });

  it('reads everything when it is asked to, and tells what is damaged', async (test) => {
    const rig = start(test);
    await rig.write(0, Buffer.alloc(SIZE - 5 * SECTOR_BYTES, 'all of it '));
    assert.deepEqual(await scrub(rig).then(({ damaged_pieces, bytes }) => [damaged_pieces, bytes]), [0, SIZE]);
    assert.equal(statusOf(rig).known_blocks, Math.ceil(SIZE / BLOCK));
    damage(rig, 100_000);
    damage(rig, 700_000);
    damage(rig, SIZE - 1);
    assert.equal((await scrub(rig)).damaged_pieces, 3);
    assert.deepEqual(
      statusOf(rig).sectors,
      [100_000, 700_000, SIZE - 1].map((byte) => Math.floor(byte / BLOCK) * 8),
    );
    assert.ok(statusOf(rig).scrub.ended! > '2020');
    // It is told to stop; and that all is good as it is.
    ask(rig, 'scrub');
    ask(rig, 'stop');
    rig.pass(1e9);
    for (let i = 0; i < 20; i++) rig.queues[0]!.turn();
    assert.ok(statusOf(rig).scrub.bytes < SIZE);
    await ask(rig, 'forget');
    assert.equal(statusOf(rig).known_blocks, 0);
    assert.equal((await scrub(rig)).damaged_pieces, 0);
    noFaults(rig);
  });

  it('reads no faster than it may', async (test) => {
    const rig = start(test, { options: { scrub_rate: '64KiB' } });
    ask(rig, 'scrub');
    for (let i = 0; i < 100; i++) {
      rig.pass(100e6);
      for (let turns = 0; turns < 20; turns++) rig.queues[0]!.turn();
      await rig.until(() => true);
    }
    const { bytes } = statusOf(rig).scrub;
    assert.ok(bytes > 0 && bytes <= 11 * 65_536, `${bytes} bytes in ten seconds`);
  });

  it(`gives no false alarm after its daemon was killed at any instant (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    // Data are stored some time before the filter is told.
    const rig = start(test, { queues: 2, below: [{ definition: slowFilter(random) }] });
    const history = new SectorHistory(rig, random, SECTORS, 2);
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 40; i++) {
        if (history.inFlight < 8) history.begin(SECTORS);
        if (random.chance(0.4)) for (const queue of rig.queues) queue.turn();
        history.look();
      }
      const suffix = `-${round}`;
      // What was written last of the two is copied last: a checksum that is there has its data.
      for (const name of ['sums', 'img'])
        copyFileSync(join(rig.folder, `disk.${name}`), join(rig.folder, `disk${suffix}.${name}`));
      await history.end();
      const again = start(test, { folder: rig.folder, suffix });
      assert.equal(statusOf(again).when_opened, 'killed');
      assert.equal((await scrub(again)).damaged_pieces, 0);
      assert.equal(again.counters().mismatches, 0);
      assert.ok(again.counters().learned_blocks! < 256, 'something was known');
    }
  });

  it('knows what it knew after it was closed, and nothing after its host went down', async (test) => {
    const folder = scratchDirectory(test);
    const run = async (check: (rig: FilterRig) => Promise<void>) => {
      const rig = start(test, { folder });
      await check(rig);
      await rig.until(() => rig.queues[0]!.chain.quiesce());
      rig.queues[0]!.close();
      await rig.filters.close();
      rig.disk.close();
      Object.assign(rig, { queues: [], filters: { close() {} }, disk: { close() {} } });
    };
    await run(async (rig) => void (await rig.write(0, Buffer.alloc(10 * BLOCK, 1))));
    await run(async (rig) => {
      assert.deepEqual([statusOf(rig).when_opened, statusOf(rig).known_blocks], ['clean', 10]);
      damage(rig, 5);
      await assert.rejects(rig.read(0, BLOCK), /ended with 1/);
    });
    const file = join(folder, 'disk.sums');
    const bytes = readFileSync(file);
    bytes.writeUInt32LE(0, 280);
    bytes.write('another boot', 284);
    writeFileSync(file, bytes);
    await run(async (rig) => {
      assert.deepEqual([statusOf(rig).when_opened, statusOf(rig).known_blocks], ['host-down', 0]);
      await rig.read(0, BLOCK);
    });
  });

  it(`survives sidecores that die at any instant (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    const rig = start(test, { queues: 2 });
    const history = new SectorHistory(rig, random, SECTORS, 2);
    for (let round = 0; round < 500; round++) {
      if (history.inFlight < 6) history.begin(400);
      if (random.chance(0.5)) for (const queue of rig.queues) queue.turn();
      if (random.chance(0.1)) rig.die(random.below(2));
      history.look();
    }
    await history.check();
    assert.equal(rig.counters().mismatches, 0);
    noFaults(rig);
  });
});

describe('a hostile guest before verify', () => {
  it(`teaches it nothing by changing its memory while it reads what is not known (seed ${SEED})`, async (test) => {
    const rig = start(test, { below: [{ definition: slowFilter(new Random(SEED)) }] });
    const content = Buffer.alloc(SIZE, 1);
    rig.disk.image.write(0, content);
    for (let block = 0; block < 40; block++) {
      const request = rig.begin(RequestType.IN, 8 * block, BLOCK);
      await rig.until(() => {
        request.data.fill(7);
        return request.status !== undefined;
      });
    }
    for (let block = 0; block < 40; block++)
      assert.ok((await rig.read(8 * block, BLOCK)).equals(content.subarray(0, BLOCK)));
    assert.equal(rig.counters()['mismatches'], 0);
    assert.equal(rig.counters()['learned_blocks'], 40);
    noFaults(rig);
  });

  it('has few locks asked for in one turn, however many of its requests wait for the last of many', async (test) => {
    const kept: number[] = [];
    let goOn: ((token: number) => void) | undefined;
    const keeper = defineBlockFilter({
      name: 'keeper',
      defers: true,
      create(context) {
        goOn = (token) => context.goOn(token);
        return {
          submit: (request, next) =>
            void (request.type === RequestType.OUT ? kept.push(request.defer()) : next(request)),
        };
      },
    });
    const blocks = 160;
    const rig = start(test, { below: [{ definition: keeper }], dataBytesMax: blocks * BLOCK });
    let asked = 0;
    const { take } = BlockLocks.prototype;
    test.mock.method(BlockLocks.prototype, 'take', function (this: BlockLocks, first: number, count: number) {
      asked += count;
      return take.call(this, first, count);
    });
    const data = Buffer.alloc(blocks * BLOCK);
    const requests = [rig.begin(RequestType.OUT, 8 * (blocks - 1), data.subarray(0, BLOCK))];
    for (let i = 0; i < 30; i++) requests.push(rig.begin(RequestType.OUT, 0, data));
    for (let turns = 0; turns < 10; turns++) {
      asked = 0;
      rig.queues[0]!.turn();
      assert.ok(asked > 0 && asked <= LOCKS_FAILED_MAX + blocks, `${asked}`);
    }
    await rig.until(() => {
      for (const token of kept.splice(0)) goOn!(token);
      return requests.every(({ status }) => status === Status.OK);
    });
    noFaults(rig);
  });
});
