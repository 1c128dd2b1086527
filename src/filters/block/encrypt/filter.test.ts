import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check, Random } from '../../../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type { BlockFilterContext, FilterRequest, IoBuffer } from '../../../filter/contract.js';
import { encrypt } from './filter.js';
import { BUFFERS, PIECE_BYTES, type Prepared, QueueCipher, type QueueOptions, TURN_BYTES } from './pieces.js';
import { encryptSector } from './xts.js';

const PAYLOAD = 7;
const DISK_SECTORS = 1200;
const SLOTS = 256;
const KEY = Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 7 + 1) & 0xff));

/** A request that a filter keeps, with its data in segments of any length. */
interface Kept {
  readonly request: FilterRequest;
  readonly data: Buffer;
  status: number | undefined;
}

/** A filter's context before an image in memory, in which everything ends later, in an order of chance. */
class Rig {
  readonly image = Buffer.alloc((PAYLOAD + DISK_SECTORS) * SECTOR_BYTES);
  readonly kept = new Map<number, Kept>();
  readonly counts: Record<string, number> = {};
  readonly cipher: QueueCipher;
  readonly operations: string[] = [];
  fail: (sector: number) => boolean = () => false;
  readonly #random: Random;
  readonly #events: (() => void)[] = [];
  #buffersOut = 0;

  constructor(seed: number, options: Partial<QueueOptions> = {}) {
    this.#random = new Random(seed);
    const free: IoBuffer[] = [];
    const act = (tag: number, sector: number, act: () => void) =>
      this.#events.push(() => {
        if (this.fail(sector)) return this.cipher.done(tag, Status.IOERR);
        act();
        this.cipher.done(tag, Status.OK);
      });
    const at = (sector: number, length: number) => {
      assert.ok(sector >= PAYLOAD && length > 0, 'the header is left alone');
      return this.image.subarray(sector * SECTOR_BYTES, sector * SECTOR_BYTES + length);
    };
    let helper: ReturnType<NonNullable<typeof encrypt.helper>> | undefined;
    const context = {
      slots: SLOTS,
      options: { discard: false, offload_bytes: 2 ** 30, ...options },
      prepared: { key: KEY, payloadSector: PAYLOAD },
      counter: (name: string) => ({
        add: (count: number) => {
          this.counts[name] = (this.counts[name] ?? 0) + count;
        },
      }),
      buffers: (count: number, bytes: number) => {
        const memory = Buffer.from(new SharedArrayBuffer(count * bytes));
        for (let index = 0; index < count; index++)
          free.push({ index, bytes: memory.subarray(index * bytes, (index + 1) * bytes) } as IoBuffer);
        return {
          take: () => {
            const buffer = free.pop();
            if (buffer !== undefined) this.#buffersOut++;
            return buffer;
          },
          giveBack: (buffer: IoBuffer) => {
            this.#buffersOut--;
            buffer.bytes.fill(0xee);
            free.push(buffer);
          },
        };
      },
      requestOf: (token: number) => this.kept.get(token)!.request,
      finish: (token: number, status: number) => {
        const kept = this.kept.get(token)!;
        assert.equal(kept.status, undefined, 'ended twice');
        kept.status = status;
      },
      below: {
        read: (buffer: IoBuffer, sector: number, length: number, tag: number) => {
          this.operations.push(`read ${sector} ${length}`);
          act(tag, sector, () => void at(sector, length).copy(buffer.bytes));
        },
        write: (buffer: IoBuffer, sector: number, length: number, tag: number, offset: number, durable: boolean) => {
          this.operations.push(`write ${sector} ${length}${durable ? ' durable' : ''}`);
          act(tag, sector, () => void buffer.bytes.copy(at(sector, length), 0, offset, offset + length));
        },
        discard: (sector: number, sectors: number, tag: number) => {
          this.operations.push(`discard ${sector} ${sectors}`);
          act(tag, sector, () => void at(sector, sectors * SECTOR_BYTES).fill(0));
        },
      },
      helper: {
        ask: (code: number, buffer: IoBuffer, tag: number, a: number, b: number) => {
          helper ??= encrypt.helper!({ prepared: { key: KEY, payloadSector: PAYLOAD } } as never);
          this.#events.push(() => {
            const job = { code, bytes: buffer.bytes, address: undefined as never, a, b };
            this.cipher.answered(tag, this.fail(a + PAYLOAD) ? -1 : (helper!.handle(job) as number));
          });
        },
      },
    };
    this.cipher = new QueueCipher(context as unknown as BlockFilterContext<QueueOptions, Prepared>);
  }

  /** Gives a request to the filter; its data are cut where `cuts` says. */
  submit(type: number, sector: number, data: Buffer, cuts: readonly number[] = [], more: Partial<FilterRequest> = {}) {
    const slot = this.kept.size % SLOTS;
    // As large as tokens become.
    const token = this.kept.size + 2 ** 40;
    const edges = [0, ...cuts.map((cut) => cut % (data.length + 1)).sort((a, b) => a - b), data.length];
    const segments = edges.slice(1).map((end, i) => Buffer.from(data.subarray(edges[i], end)));
    let ended: number | 'passed' | undefined;
    const copy = (
      position: number,
      length: number,
      each: (segment: Buffer, from: number, at: number, n: number) => void,
    ) => {
      for (let start = 0, i = 0; i < segments.length; start += segments[i++]!.length) {
        const from = Math.max(position, start);
        const end = Math.min(position + length, start + segments[i]!.length);
        if (from < end) each(segments[i]!, from - start, from - position, end - from);
      }
    };
    const kept: Kept = {
      data,
      status: undefined,
      request: {
        slot,
        type,
        sector,
        bytes: data.length,
        durable: false,
        rangeCount: 0,
        complete: (status: number) => {
          ended = status;
        },
        defer: () => {
          this.kept.set(token, kept);
          return token;
        },
        copyTo: (position: number, target: Buffer, offset: number, length: number) => {
          assert.equal(type, RequestType.OUT);
          copy(position, length, (segment, from, at, n) => void segment.copy(target, offset + at, from, from + n));
        },
        copyFrom: (position: number, source: Buffer, offset: number, length: number) => {
          assert.equal(type, RequestType.IN);
          copy(
            position,
            length,
            (segment, from, at, n) => void source.copy(segment, from, offset + at, offset + at + n),
          );
        },
        ...more,
      } as unknown as FilterRequest,
    };
    this.cipher.submit(kept.request, () => {
      ended = 'passed';
    });
    return { kept, ended: () => ended, guestData: () => Buffer.concat(segments) };
  }

  /** Lets everything end, in an order of chance. */
  settle(): void {
    while (this.isBusy) {
      const before = this.#crypted;
      this.cipher.tick();
      for (let i = this.#random.below(8); i >= 0 && this.#events.length > 0; i--)
        this.#events.splice(this.#random.below(this.#events.length), 1)[0]!();
      const inTurn = this.#crypted - before;
      assert.ok(inTurn < TURN_BYTES + PIECE_BYTES || this.counts['pieces_offloaded']! > 0, `${inTurn} bytes in a turn`);
    }
    assert.equal(this.#buffersOut, 0, 'all buffers are given back');
    for (const { status } of this.kept.values()) assert.notEqual(status, undefined, 'all requests have ended');
  }

  get #crypted(): number {
    return (this.counts['bytes_encrypted'] ?? 0) + (this.counts['bytes_decrypted'] ?? 0);
  }

  get isBusy(): boolean {
    return this.#events.length > 0 || [...this.kept.values()].some(({ status }) => status === undefined);
  }

  /** What is stored, by `node:crypto`. */
  plain(sector: number, sectors: number): Buffer {
    const expected = [];
    for (let i = 0; i < sectors; i++) expected.push(this.cipherOf(sector + i));
    return Buffer.concat(expected);
  }

  cipherOf(sector: number): Buffer {
    const at = (PAYLOAD + sector) * SECTOR_BYTES;
    return this.image.subarray(at, at + SECTOR_BYTES);
  }
}

const ranges = (list: readonly (readonly [sector: number, sectors: number])[]) => ({
  bytes: list.reduce((sum, [, sectors]) => sum + sectors * SECTOR_BYTES, 0),
  rangeCount: list.length,
  rangeSector: (i: number) => list[i]![0],
  rangeSectors: (i: number) => list[i]![1],
  rangeUnmap: () => true,
});

const encrypted = (plain: Buffer, sector: number): Buffer =>
  Buffer.concat(
    Array.from({ length: plain.length / SECTOR_BYTES }, (_, i) =>
      encryptSector(KEY, sector + i, plain.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES)),
    ),
  );

const bytesOf = (seed: number, sectors: number) => {
  const random = new Random(seed);
  return Buffer.from(Uint32Array.from({ length: sectors * 128 }, () => random.word()).buffer);
};

describe('the filter encrypt', () => {
  it('stores each sector encrypted by its number, and gives it back, however requests are cut, on the sidecore or off it', () => {
    const one = fc.record({
      sector: fc.nat(DISK_SECTORS - 1),
      sectors: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 700 })),
      cuts: fc.array(fc.nat(), { maxLength: 6 }),
      seed: fc.nat(),
    });
    const offload = fc.constantFrom(512, 4096, 2 ** 17, 2 ** 30);
    check(
      fc.property(fc.array(one, { minLength: 1, maxLength: 6 }), offload, fc.nat(), (list, offload_bytes, seed) => {
        const rig = new Rig(seed, { offload_bytes });
        const expected = Buffer.alloc(DISK_SECTORS * SECTOR_BYTES);
        const written = new Uint8Array(DISK_SECTORS);
        for (const { sector, sectors: wanted, cuts, seed } of list) {
          const sectors = Math.min(wanted, DISK_SECTORS - sector);
          const plain = bytesOf(seed, sectors);
          const { kept } = rig.submit(RequestType.OUT, sector, plain, cuts);
          // In turn: what overlaps has an order.
          rig.settle();
          assert.equal(kept.status, Status.OK);
          plain.copy(expected, sector * SECTOR_BYTES);
          written.fill(1, sector, sector + sectors);
        }
        for (let sector = 0; sector < DISK_SECTORS; sector++) {
          const plain = expected.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
          const stored = rig.cipherOf(sector);
          if (written[sector]) assert.deepEqual(stored, encryptSector(KEY, sector, plain), `sector ${sector}`);
          else assert.ok(stored.every((byte) => byte === 0));
        }
        const reads = list.map(({ sector, sectors, cuts }) => {
          const length = Math.min(sectors, DISK_SECTORS - sector) * SECTOR_BYTES;
          return { sector, length, ...rig.submit(RequestType.IN, sector, Buffer.alloc(length), cuts) };
        });
        rig.settle();
        for (const { kept, sector, length, guestData } of reads) {
          assert.equal(kept.status, Status.OK);
          const at = sector * SECTOR_BYTES;
          assert.ok(guestData().equals(expected.subarray(at, at + length)));
        }
        assert.ok(rig.image.subarray(0, PAYLOAD * SECTOR_BYTES).every((byte) => byte === 0));
      }),
      60,
    );
  });

  it('serves more requests at once than it has buffers, each in its turn', () => {
    const rig = new Rig(1);
    const data = bytesOf(5, 4);
    const writes = Array.from({ length: 250 }, (_, i) => rig.submit(RequestType.OUT, i * 4, data));
    rig.settle();
    assert.ok(writes.every(({ kept }) => kept.status === Status.OK));
    for (let i = 0; i < 250; i++) assert.deepEqual(rig.plain(i * 4, 4), encrypted(data, i * 4));
    assert.equal(rig.counts['buffer_waits'], 250 - BUFFERS);
    assert.equal(rig.counts['bytes_encrypted'], 250 * 2048);
  });

  it('writes zeroes as encrypted zeroes: they read as zeroes, and are not seen to be', () => {
    const rig = new Rig(2);
    rig.image.fill(0xaa);
    const list = [
      [3, 200],
      [500, 1],
      [600, 130],
    ] as const;
    const { kept } = rig.submit(RequestType.WRITE_ZEROES, 0, Buffer.alloc(0), [], ranges(list));
    rig.settle();
    assert.equal(kept.status, Status.OK);
    for (const [sector, sectors] of list)
      assert.deepEqual(rig.plain(sector, sectors), encrypted(Buffer.alloc(sectors * SECTOR_BYTES), sector));
    for (const sector of [2, 203, 499, 501, 599, 730]) assert.ok(rig.cipherOf(sector).every((byte) => byte === 0xaa));
  });

  it('passes flushes, keeps discards back unless it is told, and refuses to erase', () => {
    const rig = new Rig(3);
    assert.equal(rig.submit(RequestType.FLUSH, 0, Buffer.alloc(0)).ended(), 'passed');
    for (const type of [RequestType.DISCARD, RequestType.SECURE_ERASE])
      assert.equal(rig.submit(type, 0, Buffer.alloc(0), [], ranges([[1, 8]])).ended(), Status.UNSUPP);
    const allowed = new Rig(3, { discard: true });
    const list = [
      [1, 8],
      [20, 2],
    ] as const;
    const { kept } = allowed.submit(RequestType.DISCARD, 0, Buffer.alloc(0), [], ranges(list));
    allowed.settle();
    assert.equal(kept.status, Status.OK);
    assert.deepEqual(allowed.operations, [`discard ${PAYLOAD + 1} 8`, `discard ${PAYLOAD + 20} 2`]);
  });

  it('keeps durable writes durable, piece by piece', () => {
    const rig = new Rig(4);
    rig.submit(RequestType.OUT, 10, bytesOf(1, 200), [], { durable: true });
    rig.settle();
    assert.deepEqual(rig.operations, [`write ${PAYLOAD + 10} 65536 durable`, `write ${PAYLOAD + 138} 36864 durable`]);
  });

  it('ends a request once with an error if any piece of it fails, on the sidecore or off it, and goes on after', () => {
    for (const offload_bytes of [512, 2 ** 30]) {
      for (const type of [RequestType.IN, RequestType.OUT]) {
        const rig = new Rig(6, { offload_bytes });
        rig.fail = (sector) => sector >= PAYLOAD + 128 * 3;
        const bad = rig.submit(type, 0, bytesOf(1, 1000));
        const good = rig.submit(type, 0, bytesOf(2, 128));
        rig.settle();
        assert.deepEqual([bad.kept.status, good.kept.status], [Status.IOERR, Status.OK]);
        assert.equal(rig.counts['errors'], 1);
      }
    }
  });

  it('asks for a key from one place', () => {
    const schema = encrypt.options as (z: typeof import('zod').z) => import('zod').ZodType;
    return import('zod').then(({ z }) => {
      const good = (options: unknown) => schema(z).safeParse(options).success;
      assert.ok(good({ key_file: 'k' }) && good({ key_env: 'K', discard: true, offload_bytes: 65_536 }));
      for (const bad of [
        {},
        { key_file: 'k', key_env: 'K' },
        { key_file: '' },
        { key: 'secret' },
        { key_file: 'k', offload_bytes: 0 },
      ])
        assert.ok(!good(bad), JSON.stringify(bad));
    });
  });
});
