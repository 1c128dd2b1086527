/**
 * Requests as no driver would make them, through filters that keep, copy, encrypt and check them, over a real ring: memory that is named
 * several times, status bytes in the data, segments of a byte, ranges that overlap or are empty, sectors that are not there, and
 * data that change while a filter has them. No filter fails of that, each chain comes back once, nothing is left over, and all other
 * sectors are as they were.
 */
import assert from 'node:assert/strict';
import { statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import { makeLuks1 } from '../../src/filters/block/encrypt/luks1-keys.js';
import { BLOCK_FILTERS } from '../../src/filters/block/index.js';
import type { Element } from '../conformance/virtqueue-layout.js';
import { BlockRig, header, MORE_RAM, RAM, type RangeField, ranges } from '../support/block-rig.js';
import { scratchDirectory } from '../support/daemon.js';
import { FilterRig, type RigFilter } from '../support/filter-rig.js';
import { Random, SEED } from '../support/seed.js';
import { slowFilter } from '../support/slow-filter.js';

/** No multiple of a block or a cluster. */
const SECTORS = 2 * 2048 + 5;
const ROUNDS = Number(process.env['ROUNDS'] ?? 15);
/** Hostile requests of a round, which are in flight together. */
const AT_ONCE = 16;
const SEGMENTS_MAX = 200;
/** What a guest's memory holds before something is read into it. */
const UNTOUCHED = 0xee;

/** Guest memory: data of requests that are sound; headers and status bytes; tables of descriptors; and what hostile requests name. */
const SOUND = RAM.guestAddress;
const SOUND_BYTES = 0x9000;
const HEADERS = SOUND + SOUND_BYTES;
const TABLES = HEADERS + 0x1000;
const TABLE_BYTES = 0x1000;
const WILD = MORE_RAM.guestAddress;
const WILD_BYTES = MORE_RAM.size;

type Stack = (folder: string, random: Random) => RigFilter[];

const key = (folder: string) => ({ key_file: join(folder, 'key') });
const ours = (use: string, options: object = {}): RigFilter => ({
  definition: BLOCK_FILTERS[use]!,
  options: options as Record<string, unknown>,
});
const slow = (random: Random): RigFilter => ({ definition: slowFilter(random) });

const STACKS: Readonly<Record<string, Stack>> = {
  encrypt: (folder, random) => [slow(random), ours('encrypt', { ...key(folder), discard: true })],
  'encrypt by its helper': (folder) => [ours('encrypt', { ...key(folder), offload_bytes: 512 })],
  verify: (_folder, random) => [ours('verify', { sums: 'sums' }), slow(random)],
  cache: (_folder, random) => [ours('cache', { size: '1MiB' }), slow(random)],
  mirror: (_folder, random) => [ours('mirror', { to: { type: 'file', path: 'second' } }), slow(random)],
  snapshot: (_folder, random) => [slow(random), ours('snapshot', { path: 'snapshots', cluster: 4096 })],
  overlay: () => [ours('overlay', { path: 'top', cluster: 65_536 })],
  'all of them': (folder, random) => [
    ours('meter'),
    ours('trace', { records: 256 }),
    ours('throttle', { iops: 1e6 }),
    ours('verify', { sums: 'sums' }),
    slow(random),
    ours('cache', { size: '1MiB' }),
    ours('mirror', { to: { type: 'file', path: 'second' } }),
    ours('encrypt', { ...key(folder), offload_bytes: 8192 }),
    ours('snapshot', { path: 'snapshots' }),
  ],
};

/** What a request that is not sound does to the disk, if anything. */
interface Touched {
  readonly sector: number;
  readonly sectors: number;
}

/** One guest on a disk with filters, and what it knows of its sectors. */
class Attack {
  readonly rig: FilterRig;
  readonly guest: BlockRig;
  readonly random: Random;
  readonly sectors: number;
  readonly path: string;
  /** What the disk has; of sectors that hostile requests have touched nobody knows. */
  readonly content: Buffer;
  readonly known: Uint8Array;
  readonly #freeAtFirst: number;
  #outstanding = 0;

  constructor(test: TestContext, stack: string, random: Random) {
    const folder = scratchDirectory(test);
    this.random = random;
    const filters = STACKS[stack]!(folder, random);
    const uses = (use: string) => filters.some(({ definition }) => definition.name === use);
    const passphrase = Buffer.from('a passphrase of a test');
    writeFileSync(join(folder, 'key'), passphrase, { mode: 0o600 });
    const luks = uses('encrypt') ? makeLuks1({ passphrase, iterations: 1000 }).bytes : Buffer.alloc(0);
    this.path = join(folder, 'disk.img');
    const plain = Buffer.alloc(SECTORS * SECTOR_BYTES);
    if (!uses('encrypt')) for (let i = 0; i < SECTORS; i++) plain.fill(`sector ${i} `, i * 512, (i + 1) * 512);
    writeFileSync(this.path, Buffer.concat([luks, plain]));
    this.rig = new FilterRig(test, {
      filters,
      backend: { type: 'file', path: this.path, readOnly: uses('overlay') },
      base: folder,
    });
    const [queue] = this.rig.queues;
    this.sectors = this.rig.filters.abilities.sizeBytes / SECTOR_BYTES;
    assert.equal(this.sectors, SECTORS);
    this.content = plain;
    this.known = new Uint8Array(SECTORS).fill(uses('encrypt') ? 0 : 1);
    this.guest = new BlockRig({ sectors: SECTORS, backend: queue!.chain, pool: queue!.pool });
    this.#freeAtFirst = this.guest.free;
  }

  get #driver() {
    return this.guest.queues[0]!.driver;
  }

  #put(elements: readonly Element[], table: number): void {
    const { memory } = this.guest;
    const address = TABLES + table * TABLE_BYTES;
    const bytes = this.#driver.table(elements);
    memory.write(address, bytes);
    this.#driver.add([{ address, length: bytes.length, indirect: true }]);
    this.#outstanding++;
  }

  /** Turns until all chains are back; what they are in meanwhile is for the guest to change. */
  async drain(meanwhile = () => {}): Promise<void> {
    this.#driver.publish();
    const { pool } = this.rig.queues[0]!;
    await this.rig.until(() => {
      this.guest.turn();
      while (this.#driver.take() !== undefined) this.#outstanding--;
      meanwhile();
      assert.equal(this.guest.queues[0]!.state.fault, 0);
      return this.#outstanding === 0;
    });
    await this.rig.until(() => this.guest.free === this.#freeAtFirst || pool === undefined);
  }

  /** A cut of bytes into lengths: whole, of single bytes, by chance, with empty ones. */
  #cut(bytes: number): number[] {
    const { random } = this;
    const lengths: number[] = [];
    const kind = random.below(4);
    let left = bytes;
    while (left > 0 && lengths.length < SEGMENTS_MAX) {
      const most = [left, 1, 1 + random.below(700), random.below(3) * 512][kind]!;
      const length = Math.min(left, most);
      if (length === 0 && random.chance(0.5)) continue;
      lengths.push(length);
      left -= length;
    }
    if (left > 0) lengths.push(left);
    return lengths;
  }

  /** A sound request, of any framing. Returns its status. */
  async sound(type: number, sector: number, data: Buffer): Promise<number> {
    const { memory } = this.guest;
    const writable = type === RequestType.IN;
    let at = SOUND;
    memory.write(SOUND, writable ? Buffer.alloc(data.length, UNTOUCHED) : data);
    const elements = this.#cut(data.length).map((length): Element => {
      const element = { address: at, length, writable };
      at += length;
      return element;
    });
    memory.write(HEADERS, header(type, sector));
    memory.write(HEADERS + 16, Buffer.of(0xff));
    this.#put([{ address: HEADERS, length: 16 }, ...elements, { address: HEADERS + 16, length: 1, writable: true }], 0);
    await this.drain();
    if (writable) memory.read(SOUND, data.length).copy(data);
    return memory.read(HEADERS + 16, 1)[0]!;
  }

  /** Puts one that is not sound into the ring. */
  hostile(place: number): Touched[] {
    const { random, guest } = this;
    const { memory } = guest;
    const type = random.pick([0, 0, 0, 1, 1, 1, 1, 4, 8, 11, 11, 13, 13, 14, 2, 0xffff_ffff]);
    const at = HEADERS + 64 + 96 * place;
    const isRange =
      type === RequestType.DISCARD || type === RequestType.WRITE_ZEROES || type === RequestType.SECURE_ERASE;
    const bytes = random.pick([512, 4096, 7 * 512, 65_536, 65_536 + 1024, 300 * 1024, 1024 * 1024, 0, 100, 513]);
    const count = Math.ceil(bytes / SECTOR_BYTES);
    const sector = random.chance(0.85)
      ? random.below(Math.max(1, SECTORS - count))
      : random.pick<number | bigint>([
          SECTORS - 1,
          SECTORS,
          SECTORS - 3,
          2 ** 31,
          2 ** 53,
          2n ** 63n - 1n,
          2n ** 64n - 1n,
        ]);
    memory.write(at, header(type, sector));
    const status = random.chance(0.7) ? at + 95 : WILD + random.below(WILD_BYTES);
    const elements: Element[] = [{ address: at, length: 16 }];
    const touched: Touched[] = [];
    if (isRange) {
      const fields: RangeField[] = Array.from({ length: 1 + random.below(4) }, () => {
        const sectors = random.pick([0, 0, 1, 8, 128, 129, 2048, random.below(600), 2 ** 32 - 1]);
        const from = random.chance(0.8)
          ? random.below(Math.max(1, SECTORS - sectors + 1))
          : random.pick<number | bigint>([SECTORS, SECTORS - 1, 2n ** 63n, 2n ** 64n - 8n, 0]);
        touched.push({ sector: Number(from), sectors });
        return { sector: from, sectors, flags: random.pick([0, 0, 1, 0, 2]) };
      });
      memory.write(at + 16, ranges(fields));
      elements.push({ address: at + 16, length: 16 * fields.length });
    } else if (type <= 1 || type === RequestType.GET_ID) {
      const writable = type !== RequestType.OUT;
      if (type === RequestType.OUT) touched.push({ sector: Number(sector), sectors: count });
      // A megabyte does not fit: the same memory is named again and again, by chance.
      for (const length of this.#cut(bytes)) {
        for (let left = length; left > 0 || length === 0; ) {
          const piece = Math.min(left, WILD_BYTES / 2);
          elements.push({ address: WILD + random.below(WILD_BYTES - piece), length: piece, writable });
          left -= piece;
          if (length === 0) break;
        }
      }
    }
    elements.push({ address: status, length: 1, writable: true });
    this.#put(elements, 1 + place);
    return touched;
  }

  forget(touched: readonly Touched[]): void {
    for (const { sector, sectors } of touched)
      if (sector < SECTORS) this.known.fill(0, sector, Math.min(SECTORS, sector + sectors));
  }

  /** Reads and compares, and learns what it did not know. */
  async look(sector: number, count: number): Promise<void> {
    const data = Buffer.alloc(count * SECTOR_BYTES);
    assert.equal(await this.sound(RequestType.IN, sector, data), Status.OK);
    for (let i = 0; i < count; i++) {
      const now = data.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES);
      const at = (sector + i) * SECTOR_BYTES;
      if (this.known[sector + i] === 1)
        assert.equal(now.compare(this.content, at, at + SECTOR_BYTES), 0, `sector ${sector + i}`);
      now.copy(this.content, at);
      this.known[sector + i] = 1;
    }
  }

  async write(sector: number, count: number): Promise<void> {
    const data = Buffer.alloc(count * SECTOR_BYTES);
    for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(this.random.word(), at);
    assert.equal(await this.sound(RequestType.OUT, sector, data), Status.OK);
    data.copy(this.content, sector * SECTOR_BYTES);
    this.known.fill(1, sector, sector + count);
  }

  async checkFilters(): Promise<void> {
    for (const { ready, memory } of this.rig.filters.opened)
      assert.equal(memory.out || memory.faults > 0, false, `${ready.use}: ${memory.faultNote.look()}`);
    await this.rig.until(() => this.rig.queues[0]!.chain.quiesce());
    this.rig.queues[0]!.chain.resume();
    assert.equal(this.guest.free, this.#freeAtFirst, 'requests that are not in flight are free');
    this.guest.checkCanaries();
  }
}

const SOUND_SECTORS = SOUND_BYTES / SECTOR_BYTES;

describe('requests as no driver makes them', () => {
  for (const stack of Object.keys(STACKS))
    it(`go through ${stack} (seed ${SEED})`, async (test) => {
      const random = new Random(SEED);
      const attack = new Attack(test, stack, random);
      for (let round = 0; round < ROUNDS; round++) {
        const snapshots = attack.rig.filters.opened.find(({ ready }) => ready.use === 'snapshot');
        if (round % 8 === 0 && round < 32) await snapshots?.commands['create']?.({ name: `s${round}` });
        const touched = Array.from({ length: 1 + random.below(AT_ONCE) }, (_, place) => attack.hostile(place)).flat();
        attack.forget(touched);
        const wild = attack.guest.memory.bytesOf(WILD);
        await attack.drain(() => {
          for (let i = 0; i < 50; i++) wild[random.below(wild.length)] = random.word();
        });
        const count = 1 + random.below(SOUND_SECTORS);
        const sector = random.below(SECTORS - count + 1);
        await attack.write(sector, count);
        const { sector: near = sector, sectors = 1 } = random.pick(
          touched.length > 0 ? touched : [{ sector, sectors: count }],
        );
        for (const from of [sector, near - 8, near + sectors - 8, SECTORS - 16]) {
          const at = Math.max(0, Math.min(SECTORS - 16, from));
          await attack.look(at, 16);
          await attack.look(at, 16);
        }
        await attack.checkFilters();
      }
      for (let at = 0; at < SECTORS; at += 64) await attack.look(at, Math.min(64, SECTORS - at));
      await attack.checkFilters();
    });
});

describe('a file that was cut short below', () => {
  for (const stack of Object.keys(STACKS))
    it(`gives an error, or what was there: ${stack} (seed ${SEED})`, async (test) => {
      const attack = new Attack(test, stack, new Random(SEED));
      for (let at = 0; at < SECTORS; at += 64) {
        const count = Math.min(64, SECTORS - at);
        if (attack.known[at] === 0) await attack.write(at, count);
      }
      truncateSync(attack.path, statSync(attack.path).size - 1500 * SECTOR_BYTES - 100);
      const seen: Record<string, number> = {};
      for (let at = 0; at < SECTORS; at += 64) {
        const data = Buffer.alloc(Math.min(64, SECTORS - at) * SECTOR_BYTES);
        const status = await attack.sound(RequestType.IN, at, data);
        seen[status] = (seen[status] ?? 0) + 1;
        for (let byte = 0; byte < data.length; byte += SECTOR_BYTES) {
          const from = at * SECTOR_BYTES + byte;
          const isThere = attack.content.compare(data, byte, byte + SECTOR_BYTES, from, from + SECTOR_BYTES) === 0;
          const isCut = data
            .subarray(byte, byte + SECTOR_BYTES)
            .every((value, i) => value === UNTOUCHED || value === attack.content[from + i]);
          assert.ok(
            isThere || (status === Status.IOERR && isCut),
            `sector ${at + byte / SECTOR_BYTES}: status ${status}`,
          );
        }
      }
      assert.ok(seen[Status.OK]! >= 40, JSON.stringify(seen));
      assert.ok(seen[Status.IOERR]! >= 20, JSON.stringify(seen));
      await attack.checkFilters();
    });
});
