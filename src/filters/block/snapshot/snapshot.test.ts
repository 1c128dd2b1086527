import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { DiskLoad } from '../../../../test/support/disk-load.js';
import { FilterRig } from '../../../../test/support/filter-rig.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import { bootId } from '../../../host/boot-id.js';
import { snapshot } from './filter.js';
import type { Job } from './jobs.js';
import { snapshotsOf } from './store.js';
import { snapshotView } from './view.js';

/** No multiple of any cluster. */
const DISK_BYTES = 3 * 2 ** 20 + 5 * SECTOR_BYTES;

interface Options {
  readonly cluster?: number;
  readonly queues?: number;
  readonly power_safe?: boolean;
  readonly on_full?: 'fail' | 'drop';
  readonly max?: number;
  readonly size?: number;
}

interface Listed {
  readonly name: string | null;
  readonly damaged: boolean;
  readonly bytes: number;
}

/** A disk with snapshots in a folder. */
class Disk {
  readonly rig: FilterRig;
  readonly directory: string;
  readonly #steps: (() => unknown)[] = [];

  constructor(directory: string, { queues = 1, size = DISK_BYTES, ...options }: Options = {}) {
    this.directory = directory;
    this.rig = new FilterRig({ after: (step: () => unknown) => this.#steps.push(step) } as unknown as TestContext, {
      filters: [{ definition: snapshot, options: { path: 'snapshots', ...options } }],
      backend: { type: 'file', path: join(directory, 'disk.img'), size },
      base: directory,
      queues,
    });
  }

  // biome-ignore lint/suspicious/noExplicitAny: commands answer with whatever they like
  ask(command: string, given: Record<string, string> = {}): Promise<any> {
    return Promise.resolve().then(() => this.rig.filters.opened[0]!.commands[command]!(given));
  }

  async list(): Promise<Listed[]> {
    return (await this.ask('list')).snapshots;
  }

  /** What a snapshot has, while `meanwhile` goes on. */
  async content(name: string, meanwhile: () => Promise<void> = () => sleep(1)): Promise<Buffer> {
    const file = join(this.directory, `${name}.raw`);
    let job: Job = await this.ask('export', { name, file });
    while (job.state === 'running') {
      await meanwhile();
      job = await this.ask('job', { job: String(job.job) });
    }
    assert.equal(job.error, null);
    const content = readFileSync(file);
    rmSync(file);
    return content;
  }

  async close(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step();
  }
}

function requireSame(content: Buffer, expected: Buffer, what: string): void {
  if (content.equals(expected)) return;
  const at = content.findIndex((byte, i) => byte !== expected[i]);
  assert.fail(`${what}: byte ${at} of ${content.length}`);
}

/** A disk with data in most of it. */
async function filled(disk: Disk): Promise<Buffer> {
  const model = Buffer.alloc(DISK_BYTES);
  for (let at = 0; at < DISK_BYTES; at += 8192) model.fill(`first ${at} `, at, Math.min(at + 7000, DISK_BYTES));
  disk.rig.disk.image.write(0, model);
  return model;
}

describe('snapshots', () => {
  for (const options of [{ cluster: 4096 }, { cluster: 65536 }, { cluster: 8192, power_safe: true }])
    it(`stay as they were, whatever is written, made and deleted: ${JSON.stringify(options)} (seed ${SEED})`, async (test) => {
      const directory = scratchDirectory(test);
      const random = new Random(SEED);
      let disk = new Disk(directory, { ...options, queues: 3 });
      let model = await filled(disk);
      const known = new Map<string, Buffer>();
      for (let life = 0; life < 3; life++) {
        if (life > 0) disk = new Disk(directory, { ...options, queues: 3 });
        const load = new DiskLoad(disk.rig, random, model);
        for (let i = 0; i < 10; i++) {
          const names = [...known.keys()];
          if (random.chance(0.6) && names.length < 6) {
            const name = `s${life}-${i}`;
            await disk.ask('create', { name });
            known.set(name, Buffer.from(load.model));
          } else if (names.length > 0 && random.chance(0.6)) {
            const name = random.pick(names);
            known.delete(name);
            await disk.ask('delete', { name });
            if (names.length < 3 || random.chance(0.5)) await disk.ask('settle');
          }
          const dies = random.chance(0.3) ? () => disk.rig.die(random.below(3)) : undefined;
          for (let rounds = 3; rounds > 0; rounds--) await load.round(dies);
          const name = [...known.keys()].at(random.below(known.size));
          if (name !== undefined) requireSame(await disk.content(name, () => load.round()), known.get(name)!, name);
        }
        await disk.ask('settle');
        await load.check();
        assert.deepEqual(
          (await disk.list()).flatMap(({ name }) => name ?? []),
          [...known.keys()],
        );
        for (const [name, content] of known) requireSame(await disk.content(name), content, name);
        assert.equal(disk.rig.filters.opened[0]!.memory.faults, 0);
        ({ model } = load);
        await disk.close();
      }
      // When all are deleted, nothing is left of them.
      disk = new Disk(directory, options);
      for (const name of known.keys()) await disk.ask('delete', { name });
      assert.deepEqual((await disk.ask('settle')).snapshots, []);
      assert.equal(statSync(join(directory, 'snapshots', 'copies.raw')).blocks, 0);
      await disk.close();
    });

  it(`outlive a daemon that is killed, and the kernel if they are told so (seed ${SEED})`, async (test) => {
    for (const powerSafe of [false, true]) {
      const directory = scratchDirectory(test);
      const disk = new Disk(directory, { power_safe: powerSafe, queues: 2 });
      const load = new DiskLoad(disk.rig, new Random(SEED), await filled(disk));
      await disk.ask('create', { name: 'one' });
      const content = Buffer.from(load.model);
      for (let i = 0; i < 10; i++) await load.round();
      await disk.ask('create', { name: 'two' });
      for (let i = 0; i < 10; i++) await load.round();
      const copy = (to: string) => {
        cpSync(directory, join(to, 'copy'), { recursive: true });
        return join(to, 'copy');
      };
      // The daemon is gone at once; the kernel is the same.
      const killed = new Disk(copy(scratchDirectory(test)), { power_safe: powerSafe });
      for (const { damaged } of await killed.list()) assert.equal(damaged, false);
      requireSame(await killed.content('one'), content, 'after kill');
      await killed.close();
      // Another kernel: what was not durable may be missing.
      const after = copy(scratchDirectory(test));
      for (const file of ['snapshots.json', 'copies.map']) {
        const path = join(after, 'snapshots', file);
        const text = readFileSync(path).toString('latin1');
        assert.ok(text.includes(bootId()));
        writeFileSync(path, text.replaceAll(bootId(), bootId().replace(/./g, '0')), 'latin1');
      }
      const booted = new Disk(after, { power_safe: powerSafe });
      for (const { damaged } of await booted.list()) assert.equal(damaged, !powerSafe);
      if (powerSafe) requireSame(await booted.content('one'), content, 'after power failure');
      else {
        await assert.rejects(booted.ask('export', { name: 'one', file: 'x' }), { message: /is damaged/ });
        assert.match(booted.rig.log.join('\n'), /one, two/);
        await booted.ask('create', { name: 'three' });
        await booted.rig.write(0, Buffer.alloc(4096, 'new'));
        requireSame(await booted.content('three'), readFileSync(join(directory, 'disk.img')), 'a new one');
      }
      await booted.close();
      await disk.close();
    }
  });

  it(`have the disk go back, and newer ones stay (seed ${SEED})`, async (test) => {
    const directory = scratchDirectory(test);
    const disk = new Disk(directory, { queues: 2 });
    const load = new DiskLoad(disk.rig, new Random(SEED), await filled(disk));
    const contents: Buffer[] = [];
    for (const name of ['a', 'b', 'c']) {
      contents.push(Buffer.from(load.model));
      await disk.ask('create', { name });
      for (let i = 0; i < 8; i++) await load.round();
    }
    disk.rig.connected = true;
    await assert.rejects(disk.ask('merge', { name: 'b' }), { code: 'DEVICE_BUSY', message: /front end is connected/ });
    disk.rig.connected = false;
    let job: Job = await disk.ask('merge', { name: 'b' });
    while (job.state === 'running') {
      await sleep(1);
      job = await disk.ask('job', { job: String(job.job) });
    }
    assert.equal(job.error, null);
    contents[1]!.copy(load.model);
    await load.check();
    for (let i = 0; i < 4; i++) await load.round();
    for (const [i, name] of ['a', 'b', 'c'].entries()) requireSame(await disk.content(name), contents[i]!, name);
    // Interrupted: it is done when the disk is opened again.
    await disk.close();
    const path = join(directory, 'snapshots', 'snapshots.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...manifest, merging: manifest.stores[0].slot }));
    const again = new Disk(directory);
    requireSame(readFileSync(join(directory, 'disk.img')), contents[0]!, 'the disk');
    requireSame(await again.content('c'), contents[2]!, 'c');
    await again.close();
  });

  for (const cluster of [4096, 65536])
    it(`are shown by another disk while theirs is written: clusters of ${cluster} (seed ${SEED})`, async (test) => {
      const directory = scratchDirectory(test);
      const random = new Random(SEED);
      const disk = new Disk(directory, { queues: 2, cluster });
      const load = new DiskLoad(disk.rig, random, await filled(disk));
      await disk.ask('create', { name: 'older' });
      for (let i = 0; i < 2; i++) await load.round();
      await disk.ask('create', { name: 'one' });
      const content = Buffer.from(load.model);
      const steps: (() => unknown)[] = [];
      const source = snapshotsOf('vm/disk');
      const view = new FilterRig({ after: (step: () => unknown) => steps.push(step) } as unknown as TestContext, {
        filters: [
          { definition: snapshotView, options: { of: 'vm/disk', name: 'one', path: join(directory, 'snapshots') } },
        ],
        backend: { type: 'lent', disk: source.lend() },
        queues: 2,
      });
      assert.ok(view.filters.abilities.readOnly);
      await assert.rejects(disk.ask('delete', { name: 'one' }), { message: /is in use/ });
      for (let i = 0; i < 40; i++) {
        if (i === 10) await disk.ask('create', { name: 'newer' });
        if (i === 20) await disk.ask('create', { name: 'newest' });
        // The one between is put together with the snapshot, while that is read.
        if (i === 25) await disk.ask('delete', { name: 'newer' });
        const reads = Array.from({ length: 4 }, () => {
          const bytes = SECTOR_BYTES * (1 + random.below(400));
          const sector = random.below((DISK_BYTES - bytes) / SECTOR_BYTES);
          return { sector, request: view.begin(RequestType.IN, sector, bytes, { queue: random.below(2) }) };
        });
        await load.round(() => {
          for (let turns = random.below(4); turns > 0; turns--) view.queues[random.below(2)]!.turn();
        });
        for (const { sector, request } of reads) {
          await view.end(request);
          assert.equal(request.status, Status.OK);
          const at = sector * SECTOR_BYTES;
          requireSame(request.data, content.subarray(at, at + request.data.length), `read at ${at}`);
        }
      }
      await disk.ask('settle');
      await new DiskLoad(view, random, content).check();
      assert.equal(view.filters.opened[0]!.memory.faults, 0);
      for (const step of steps) await step();
      assert.equal(source.list().find(({ name }) => name === 'one')!.in_use, 0);
      await disk.close();
    });

  it('are exported to files that are new, sparse, and removed if that fails', async (test) => {
    const directory = scratchDirectory(test);
    const size = 256 * 2 ** 20;
    const disk = new Disk(directory, { size });
    await disk.rig.write(0, Buffer.alloc(4096, 'data'));
    await disk.ask('create', { name: 'one' });
    const file = join(directory, 'out.raw');
    const end = async (job: Job): Promise<Job> => {
      let now = job;
      for (; now.state === 'running'; await sleep(1)) now = await disk.ask('job', { job: String(job.job) });
      return now;
    };
    const first = await end(await disk.ask('export', { name: 'one', file }));
    assert.deepEqual([first.state, first.done_bytes, first.total_bytes], ['done', size, size]);
    assert.ok(statSync(file).blocks <= 64 && statSync(file).size === size);
    await assert.rejects(disk.ask('export', { name: 'one', file }), { message: /out\.raw is there already/ });
    assert.ok(existsSync(file));
    const other = join(directory, 'other.raw');
    const running: Job = await disk.ask('export', { name: 'one', file: other });
    await assert.rejects(disk.ask('delete', { name: 'one' }), { message: /is in use/ });
    await disk.ask('cancel', { job: String(running.job) });
    assert.equal((await end(running)).state, 'cancelled');
    assert.equal(existsSync(other), false);
    await assert.rejects(disk.ask('export', { name: 'one', file: '/dev/full/x' }), {
      message: /\/dev\/full is no folder/,
    });
    await disk.close();
  });

  for (const policy of ['fail', 'drop'] as const)
    it(`whose copies find no room: ${policy}`, async (test) => {
      const directory = scratchDirectory(test);
      const place = join(directory, 'snapshots');
      mkdirSync(place);
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place]).status !== 0)
        return test.skip('mount is refused');
      try {
        const disk = new Disk(directory, { on_full: policy });
        const model = await filled(disk);
        await disk.ask('create', { name: 'one' });
        const statuses: (number | undefined)[] = [];
        for (let at = 0; at < 2 ** 21; at += 65536) {
          const data = Buffer.alloc(65536, 'new');
          statuses.push(await disk.rig.write(at / 512, data));
          if (statuses.at(-1) === Status.OK) data.copy(model, at);
        }
        assert.equal(statuses[0], Status.OK);
        assert.equal(statuses.at(-1), policy === 'fail' ? Status.IOERR : Status.OK);
        requireSame(await disk.rig.read(0, 2 ** 21), model.subarray(0, 2 ** 21), 'the disk');
        const [one] = await disk.list();
        assert.equal(one!.damaged, policy === 'drop');
        if (policy === 'drop') await assert.rejects(disk.ask('merge', { name: 'one' }), { message: /is damaged/ });
        // What was not copied is as it was, and so the snapshot is whole.
        else assert.equal((await disk.content('one')).toString('latin1', 0, 5), 'first');
        assert.equal(disk.rig.filters.opened[0]!.memory.faults, 0);
        await disk.close();
      } finally {
        spawnSync('umount', ['--lazy', place]);
      }
    });

  it('are damaged if the disk was written without them, and say so', async (test) => {
    const directory = scratchDirectory(test);
    const disk = new Disk(directory);
    await filled(disk);
    await disk.ask('create', { name: 'one' });
    await disk.close();
    const good = new Disk(directory);
    assert.equal((await good.list())[0]!.damaged, false);
    await good.close();
    const image = openSync(join(directory, 'disk.img'), 'r+');
    await sleep(20);
    writeSync(image, Buffer.alloc(4096, 'other'), 0, 4096, 8192);
    closeSync(image);
    const changed = new Disk(directory);
    assert.equal((await changed.list())[0]!.damaged, true);
    assert.match(changed.rig.log.join(), /written without them: one/);
    await changed.close();
  });

  it('take no room for those that are not there, where a look through a mapping would', async (test) => {
    // Of a tmpfs that is full, such a look ends the process.
    const directory = mkdtempSync('/dev/shm/sidecore-test-');
    test.after(() => rmSync(directory, { recursive: true }));
    for (let i = 0; i < 2; i++) {
      const disk = new Disk(directory, { max: 256 });
      const { blocks, size } = statSync(join(directory, 'snapshots', 'copies.map'));
      assert.ok(512 * blocks <= 4 * 4096 && size >= 512 * 4096, `${512 * blocks} bytes of ${size}`);
      await disk.close();
    }
  });

  it('refuse what is not theirs', async (test) => {
    const directory = scratchDirectory(test);
    const disk = new Disk(directory, { max: 2 });
    await filled(disk);
    for (const name of ['', '../x', 'a b', '-x', 'x'.repeat(65)])
      await assert.rejects(disk.ask('create', { name }), { code: 'CONFIG_INVALID' });
    await disk.ask('create', { name: 'a' });
    await assert.rejects(disk.ask('create', { name: 'a' }), { message: /has a snapshot a already/ });
    await disk.ask('create', { name: 'b' });
    await assert.rejects(disk.ask('create', { name: 'c' }), { message: /as many snapshots as it may/ });
    await assert.rejects(disk.ask('delete', { name: 'z' }), { message: /has no snapshot z/ });
    await disk.close();
    assert.throws(() => new Disk(directory, { max: 3 }), { code: 'IMAGE_INVALID' });
    assert.throws(() => new Disk(directory, { max: 2, cluster: 8192 }), { code: 'IMAGE_INVALID' });
    const folder = join(directory, 'snapshots');
    writeFileSync(join(folder, 'snapshots.json'), '{"version": 7}');
    assert.throws(() => new Disk(directory, { max: 2 }), { message: /is no list of snapshots/ });
    truncateSync(join(folder, 'copies.map'), 4096);
    assert.throws(() => new Disk(directory, { max: 2 }), { message: /has 4096 bytes, and should have/ });
    rmSync(join(folder, 'copies.raw'));
    assert.throws(() => new Disk(directory, { max: 2 }), { code: 'IMAGE_MISSING' });
  });
});
