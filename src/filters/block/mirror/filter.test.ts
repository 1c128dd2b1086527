import assert from 'node:assert/strict';
import { copyFileSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { FilterRig, type RigFilter, type RigRequest } from '../../../../test/support/filter-rig.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { slowFilter } from '../../../../test/support/slow-filter.js';
import { defineBlockFilter, RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { close, duplicate, replaceDescriptor } from '../../../host/libc.js';
import { mirror } from './filter.js';

const SIZE = 2 ** 20 + 3 * SECTOR_BYTES;
const SECTORS = SIZE / SECTOR_BYTES;
/** Fast, so that tests wait for nothing. */
const RATE = '64GiB';

interface Names {
  readonly first: string;
  readonly second: string;
}

const namesIn = (folder: string, suffix = ''): Names => ({
  first: join(folder, `first${suffix}.img`),
  second: join(folder, `second${suffix}.img`),
});

interface StartOptions {
  readonly queues?: number;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly below?: readonly RigFilter[];
}

function start(test: TestContext, { first, second }: Names, more: StartOptions = {}): FilterRig {
  const { queues = 1, options = {}, below = [] } = more;
  return new FilterRig(test, {
    queues,
    backend: { type: 'file', path: first, size: SIZE },
    filters: [
      { definition: mirror, options: { to: { type: 'file', path: second }, resync_rate: RATE, ...options } },
      ...below,
    ],
  });
}

interface Status_ {
  readonly phase: string;
  readonly left_bytes: number;
  readonly when_opened: string;
}

const statusOf = (rig: FilterRig) => rig.filters.opened[0]!.status() as Status_;
const ask = (rig: FilterRig, command: string, given = {}) =>
  rig.filters.opened[0]!.commands[command]!(given) as Status_;

/** Lets time pass until it is so. */
async function until(rig: FilterRig, isSo: () => boolean): Promise<void> {
  await rig.until(() => {
    rig.pass(10e6);
    return isSo();
  });
}

const inSync = (rig: FilterRig) => until(rig, () => statusOf(rig).phase === 'in sync');

function assertEqual({ first, second }: Names, model?: Buffer): void {
  const [one, other] = [readFileSync(first), readFileSync(second)];
  assert.equal(one.length, SIZE);
  for (let at = 0; at < SIZE; at += SECTOR_BYTES)
    if (one.compare(other, at, at + SECTOR_BYTES, at, at + SECTOR_BYTES) !== 0)
      assert.fail(`the halves differ at sector ${at / SECTOR_BYTES}`);
  if (model !== undefined) assert.ok(one.equals(model));
}

/** Has the second half fail, until what it returns is called. */
function breakSecond(rig: FilterRig): () => void {
  const { fd } = rig.filters.opened[0]!.spec.disks.to!.backend as { fd: number };
  const good = duplicate(fd);
  const full = openSync('/dev/full', 'r+');
  replaceDescriptor(fd, full);
  close(full);
  return () => {
    replaceDescriptor(fd, good);
    close(good);
  };
}

/** Random requests, of which those of one time do not overlap; the model has what the disk has. */
class Load {
  readonly model = Buffer.alloc(SIZE);
  readonly #rig: FilterRig;
  readonly #random: Random;
  #round = 0;

  constructor(rig: FilterRig, random: Random) {
    this.#rig = rig;
    this.#random = random;
  }

  begin(queues: number): RigRequest[] {
    const random = this.#random;
    this.#round++;
    const slots = Array.from({ length: 8 }, (_, slot) => slot).filter(() => random.chance(0.7));
    return slots.map((slot) => {
      const room = Math.floor(SECTORS / 8);
      const sectors = 1 + random.below(random.chance(0.2) ? room : 12);
      const sector = slot * room + random.below(room - sectors + 1);
      const bytes = sectors * SECTOR_BYTES;
      const cuts = Array.from({ length: random.below(4) }, () => 1 + random.below(bytes));
      const data = Buffer.alloc(bytes, `${this.#round} ${slot} ${random.below(1000)} `);
      data.copy(this.model, sector * SECTOR_BYTES);
      const queue = random.below(queues);
      return this.#rig.begin(RequestType.OUT, sector, data, { queue, cuts, durable: random.chance(0.2) });
    });
  }

  async run(rounds: number, queues: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (const request of this.begin(queues)) {
        await this.#rig.end(request);
        assert.equal(request.status, Status.OK);
      }
      if (this.#random.chance(0.3)) {
        const sector = this.#random.below(SECTORS - 64);
        const type = this.#random.chance(0.5) ? RequestType.DISCARD : RequestType.WRITE_ZEROES;
        assert.equal(await this.#rig.clear(type, sector, 64, true), Status.OK);
        this.model.fill(0, sector * SECTOR_BYTES, (sector + 64) * SECTOR_BYTES);
      }
      if (this.#random.chance(0.3)) assert.equal(await this.#rig.flush(), Status.OK);
    }
  }
}

const noFaults = (rig: FilterRig) => {
  for (const { memory } of rig.filters.opened) assert.equal(memory.faults, 0, memory.faultNote.look());
};

describe('mirror', () => {
  it(`has both halves equal under writes from several queues (seed ${SEED})`, async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names, { queues: 3 });
    assert.equal(statusOf(rig).phase, 'copying');
    const load = new Load(rig, new Random(SEED));
    await load.run(10, 3);
    await inSync(rig);
    await load.run(20, 3);
    assert.equal(statusOf(rig).left_bytes, 0);
    assert.equal(await rig.flush(), Status.OK);
    assertEqual(names, load.model);
    assert.ok(rig.counters().mirrored_writes! > 20);
    noFaults(rig);
  });

  it('takes over a first half that has data, and leaves its holes', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const data = Buffer.alloc(SIZE);
    data.write('here', 700_000);
    writeFileSync(names.first, data);
    const rig = start(test, names);
    await inSync(rig);
    assertEqual(names, data);
    noFaults(rig);
  });

  it('gives both halves the same, though the guest changes its memory meanwhile', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names);
    await inSync(rig);
    for (let round = 0; round < 50; round++) {
      const request = rig.begin(RequestType.OUT, 8 * round, Buffer.alloc(16_384, round));
      await rig.until(() => {
        request.data.fill(request.data[0]! + 1);
        return request.status !== undefined;
      });
    }
    assertEqual(names);
  });

  it('gives both halves the same, though writes overlap', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const random = new Random(SEED);
    const rig = start(test, names, { queues: 2, below: [{ definition: slowFilter(random) }] });
    await inSync(rig);
    for (let round = 0; round < 40; round++) {
      const requests = Array.from({ length: 6 }, (_, i) =>
        rig.begin(
          RequestType.OUT,
          random.below(16),
          Buffer.alloc((1 + random.below(40)) * SECTOR_BYTES, 6 * round + i),
          {
            queue: i % 2,
          },
        ),
      );
      for (const request of requests) assert.equal((await rig.end(request)).status, Status.OK);
    }
    assertEqual(names);
    noFaults(rig);
  });

  it('goes on with one half when the other fails, and copies what was noted when that works again', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names, { queues: 2 });
    await inSync(rig);
    const load = new Load(rig, new Random(SEED));
    await load.run(5, 2);
    const mend = breakSecond(rig);
    await load.run(10, 2);
    assert.equal(statusOf(rig).phase, 'degraded');
    const { single_writes, second_errors } = rig.counters();
    assert.ok(single_writes! > 0 && second_errors! > 0);
    assert.match(rig.filters.opened[0]!.memory.logNote.look()!, /second half has failed/);
    // It is tried again now and then, in vain.
    rig.pass(70e9);
    await until(rig, () => rig.counters().second_errors! > second_errors!);
    assert.equal(statusOf(rig).phase, 'degraded');
    mend();
    await load.run(5, 2);
    rig.pass(130e9);
    await inSync(rig);
    await load.run(5, 2);
    assertEqual(names, load.model);
    noFaults(rig);
  });

  it('knows nothing of the second half if that fails a flush, and copies all', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names);
    await inSync(rig);
    const mend = breakSecond(rig);
    assert.equal(await rig.flush(), Status.OK);
    mend();
    assert.deepEqual([statusOf(rig).phase, statusOf(rig).left_bytes], ['degraded', SIZE]);
  });

  it('does what its commands say', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names, { options: { resync_rate: '64KiB' } });
    ask(rig, 'pause');
    for (let i = 0; i < 50; i++) rig.pass(1e9), rig.queues[0]!.turn();
    const { phase, left_bytes } = statusOf(rig);
    assert.equal(phase, 'paused');
    assert.ok(left_bytes > SIZE / 2);
    ask(rig, 'resync');
    await until(rig, () => statusOf(rig).left_bytes < left_bytes);
    // At this rate, one region a second.
    const before = rig.counters().resynced_bytes!;
    for (let i = 0; i < 100; i++) rig.pass(100e6), await rig.until(() => true), rig.queues[0]!.turn();
    const copied = rig.counters().resynced_bytes! - before;
    assert.ok(copied <= 11 * 65_536, `${copied} bytes in ten seconds`);
    rig.pass(100e9);
    await inSync(rig);
    assert.equal(ask(rig, 'resync', { full: 'yes' }).left_bytes, SIZE);
    assert.throws(() => ask(rig, 'resync', { full: 'maybe' }), /yes or no/);
    await inSync(rig);
    assertEqual(names);
  });

  it('reads from the second half what the first one fails, if it is told so', async (test) => {
    const failing = { now: false };
    const bad = defineBlockFilter({
      name: 'bad-reads',
      create: () => ({
        submit(request, next) {
          if (failing.now && request.type === RequestType.IN) request.complete(Status.IOERR);
          else next(request);
        },
      }),
    });
    for (const read_failover of [true, false]) {
      failing.now = false;
      const names = namesIn(scratchDirectory(test));
      const rig = start(test, names, { options: { read_failover }, below: [{ definition: bad }] });
      await inSync(rig);
      const data = Buffer.alloc(200 * SECTOR_BYTES, 'mirrored ');
      assert.equal(await rig.write(3, data), Status.OK);
      failing.now = true;
      if (!read_failover) {
        await assert.rejects(rig.read(3, data.length), /ended with 1/);
        continue;
      }
      assert.ok((await rig.read(3, data.length, { cuts: [100, 5000] })).equals(data));
      assert.equal(rig.counters().failed_over_reads, 1);
      // What the second half does not have is an error.
      ask(rig, 'pause');
      ask(rig, 'resync', { full: 'yes' });
      ask(rig, 'pause');
      await assert.rejects(rig.read(3, data.length), /ended with 1/);
    }
  });

  it(`finds what differs after its daemon was killed at any instant (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    const folder = scratchDirectory(test);
    const names = namesIn(folder);
    const rig = start(test, names, { queues: 2 });
    await inSync(rig);
    const load = new Load(rig, random);
    for (let round = 0; round < 12; round++) {
      const requests = load.begin(2);
      for (let turns = random.below(4); turns > 0; turns--) for (const queue of rig.queues) queue.turn();
      // As the files are now: what a killed process leaves.
      const copies = namesIn(folder, `-${round}`);
      copyFileSync(names.first, copies.first);
      copyFileSync(`${names.second}.mirror`, `${copies.second}.mirror`);
      copyFileSync(names.second, copies.second);
      for (const request of requests) await rig.end(request);
      const again = start(test, copies);
      assert.match(statusOf(again).when_opened, /killed/);
      assert.ok(statusOf(again).left_bytes < SIZE, 'not all is copied');
      await inSync(again);
      assertEqual(copies);
      rig.pass(1e9);
    }
    assertEqual(names, load.model);
  });

  it('copies all after its host went down, and nothing after it was closed', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const bitmap = `${names.second}.mirror`;
    const run = async (check: (status: Status_) => void) => {
      const rig = start(test, names);
      check(statusOf(rig));
      await inSync(rig);
      await rig.write(9, Buffer.alloc(512, 1));
      await rig.until(() => rig.queues[0]!.chain.quiesce());
      rig.queues[0]!.close();
      await rig.filters.close();
      rig.disk.close();
      Object.assign(rig, { queues: [], filters: { close() {} }, disk: { close() {} } });
    };
    await run(({ left_bytes }) => assert.equal(left_bytes, SIZE));
    await run(({ left_bytes, when_opened }) => assert.deepEqual([left_bytes, when_opened], [0, 'it had been closed']));
    const bytes = readFileSync(bitmap);
    bytes.writeUInt32LE(0, 280);
    bytes.write('another boot', 284);
    writeFileSync(bitmap, bytes);
    await run(({ left_bytes, when_opened }) => {
      assert.equal(left_bytes, SIZE);
      assert.match(when_opened, /host had gone down/);
    });
    writeFileSync(bitmap, 'something else');
    assert.throws(() => start(test, names), /no file of the filter mirror/);
    assert.ok(!existsSync(`${bitmap}.new`));
  });

  it(`survives sidecores that die at any instant (seed ${SEED})`, async (test) => {
    const random = new Random(SEED);
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names, { queues: 2 });
    const load = new Load(rig, random);
    for (let round = 0; round < 30; round++) {
      const requests = load.begin(2);
      for (let turns = random.below(4); turns > 0; turns--) for (const queue of rig.queues) queue.turn();
      rig.die(random.below(2));
      for (const request of requests) assert.equal((await rig.end(request)).status, Status.OK);
      rig.pass(0.3e9);
    }
    await inSync(rig);
    assertEqual(names, load.model);
    noFaults(rig);
  });

  it('is changed while it copies, and goes on where it was', async (test) => {
    const names = namesIn(scratchDirectory(test));
    const rig = start(test, names, { queues: 2, options: { resync_rate: '1MiB' } });
    const load = new Load(rig, new Random(SEED));
    await load.run(3, 2);
    await until(rig, () => rig.counters().resynced_bytes! > 0);
    const requests = load.begin(2);
    const [old] = rig.filters.opened;
    const options = { to: { type: 'file', path: names.second }, resync_rate: RATE };
    await rig.change([{ ready: rig.ready({ definition: mirror, options }), old: old! }]);
    for (const request of requests) assert.equal((await rig.end(request)).status, Status.OK);
    assert.ok(statusOf(rig).left_bytes < SIZE);
    await inSync(rig);
    assertEqual(names, load.model);
    noFaults(rig);
  });
});
