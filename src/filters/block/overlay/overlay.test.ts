import assert from 'node:assert/strict';
import { cpSync, readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { DiskLoad } from '../../../../test/support/disk-load.js';
import { FilterRig } from '../../../../test/support/filter-rig.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import { bootId } from '../../../host/boot-id.js';
import { overlay } from './filter.js';

/** No multiple of any cluster. */
const DISK_BYTES = 3 * 2 ** 20 + 5 * SECTOR_BYTES;

/** A base with data in most of it. */
function makeBase(directory: string): { path: string; content: Buffer } {
  const path = join(directory, 'base.img');
  const content = Buffer.alloc(DISK_BYTES);
  for (let at = 0; at < DISK_BYTES; at += 8192) content.fill(`base ${at} `, at, Math.min(at + 7000, DISK_BYTES));
  writeFileSync(path, content);
  return { path, content };
}

interface Options {
  readonly cluster?: number;
  readonly top?: string;
  readonly queues?: number;
  readonly accept_base?: boolean;
}

function open(test: Pick<TestContext, 'after'>, directory: string, options: Options = {}): FilterRig {
  const { top = 'top.img', queues = 1, ...more } = options;
  return new FilterRig(test as TestContext, {
    filters: [{ definition: overlay, options: { path: join(directory, top), ...more } }],
    backend: { type: 'file', path: join(directory, 'base.img'), readOnly: true },
    queues,
  });
}

/** Closes what a rig opened, before the test ends. */
class Closing {
  readonly #steps: (() => unknown)[] = [];
  after(step: () => unknown): void {
    this.#steps.push(step);
  }
  async close(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step();
  }
}

describe('overlay', () => {
  for (const cluster of [4096, 65536])
    it(`is a disk like any other, and its base stays as it is: clusters of ${cluster} (seed ${SEED})`, async (test) => {
      const directory = scratchDirectory(test);
      const { path, content } = makeBase(directory);
      let model: Buffer = Buffer.from(content);
      for (let life = 0; life < 3; life++) {
        const closing = new Closing();
        const rig = open(closing, directory, { cluster, queues: 3 });
        const load = new DiskLoad(rig, new Random(SEED + life), model);
        await load.check();
        for (let i = 0; i < 60; i++) await load.round(i % 4 === 0 ? () => rig.die(i % 3) : undefined);
        await load.check();
        ({ model } = load);
        assert.deepEqual(rig.filters.opened[0]!.memory.faults, 0);
        const { from_top, from_base, divided } = rig.counters();
        if (life === 0) assert.ok(from_top! > 0 && from_base! > 0 && divided! > 0);
        await closing.close();
      }
      assert.ok(readFileSync(path).equals(content));
    });

  it('lets several disks have one base', async (test) => {
    const directory = scratchDirectory(test);
    const { content } = makeBase(directory);
    const rigs = ['a.img', 'b.img', 'c.img'].map((top) => open(test, directory, { top }));
    for (const [index, rig] of rigs.entries())
      assert.equal(await rig.write(7, Buffer.alloc(1024, `own ${index}`)), Status.OK);
    for (const [index, rig] of rigs.entries()) {
      assert.deepEqual(await rig.read(7, 1024), Buffer.alloc(1024, `own ${index}`));
      assert.deepEqual(await rig.read(9, 4096), content.subarray(9 * 512, 9 * 512 + 4096));
    }
  });

  it('has all that was written after kill -9, and all that was flushed after the kernel went down', async (test) => {
    const directory = scratchDirectory(test);
    const { content } = makeBase(directory);
    const closing = new Closing();
    const rig = open(closing, directory, { queues: 2 });
    const [one, two, three] = ['one', 'two', 'three'].map((text) => Buffer.alloc(1024, text));
    await rig.write(1, one!);
    assert.equal(await rig.flush({ queue: 1 }), Status.OK);
    await rig.write(101, two!);
    // Durable by itself, and with it whatever was written before it.
    await rig.write(201, three!, { durable: true });
    await rig.write(301, one!);
    const expected = (...written: [number, Buffer][]) => {
      const disk = Buffer.from(content);
      for (const [sector, data] of written) data.copy(disk, sector * SECTOR_BYTES);
      return disk;
    };
    for (const kernel of ['the same', 'another']) {
      const copy = join(scratchDirectory(test), 'copy');
      cpSync(directory, copy, { recursive: true });
      const map = join(copy, 'top.img.map');
      const bytes = readFileSync(map);
      const text = bytes.toString('latin1', 0, 4096);
      assert.ok(text.includes(bootId()));
      if (kernel === 'another') bytes.write(text.replace(bootId(), 'x'.repeat(36)), 0, 'latin1');
      writeFileSync(map, bytes);
      const later = new Closing();
      const after = open(later, copy, { accept_base: true });
      const last: [number, Buffer][] = kernel === 'another' ? [] : [[301, one!]];
      const disk = expected([1, one!], [101, two!], [201, three!], ...last);
      await new DiskLoad(after, new Random(SEED), disk).check();
      await later.close();
    }
    await closing.close();
  });

  it('refuses another base, another size, and files that are none of its own', async (test) => {
    const directory = scratchDirectory(test);
    const { path } = makeBase(directory);
    const first = new Closing();
    const rig = open(first, directory);
    await rig.write(0, Buffer.alloc(512, 1));
    await first.close();
    utimesSync(path, 1, 1);
    assert.throws(() => open(test, directory), { code: 'IMAGE_INVALID', message: /base of .* has changed/ });
    const accepted = new Closing();
    open(accepted, directory, { accept_base: true });
    await accepted.close();
    const again = new Closing();
    open(again, directory);
    await again.close();
    truncateSync(join(directory, 'top.img.map'), 8192);
    assert.throws(() => open(test, directory), { code: 'IMAGE_INVALID', message: /has 8192 bytes, and should have/ });
    writeFileSync(join(directory, 'top.img.map'), 'something else'.padEnd(20_000));
    assert.throws(() => open(test, directory), { code: 'IMAGE_INVALID', message: /is no map of clusters/ });
    writeFileSync(join(directory, 'short.img'), Buffer.alloc(4096));
    assert.throws(() => open(test, directory, { top: 'short.img' }), { code: 'IMAGE_INVALID' });
    writeFileSync(join(directory, 'foreign.img'), Buffer.alloc(DISK_BYTES, 7));
    assert.throws(() => open(test, directory, { top: 'foreign.img' }), { message: /has data, and no map/ });
  });

  it('takes no cluster for one of its own of which a request names no sector', async (test) => {
    const directory = scratchDirectory(test);
    const { content } = makeBase(directory);
    const rig = open(test, directory, { cluster: 65536 });
    const sectors = DISK_BYTES / SECTOR_BYTES;
    for (const type of [RequestType.DISCARD, RequestType.WRITE_ZEROES])
      for (const sector of [sectors, sectors - 1, 3, 0]) assert.equal(await rig.clear(type, sector, 0), Status.OK);
    assert.ok((await rig.read(sectors - 5, 5 * SECTOR_BYTES)).equals(content.subarray(-5 * SECTOR_BYTES)));
    assert.ok((await rig.read(0, 65536)).equals(content.subarray(0, 65536)));
  });
});
