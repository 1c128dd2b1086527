import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import type { BackendHost, BlockBackend, OpenDisk } from '../../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../../src/block/backends/index.js';
import { SECTOR_BYTES, Status } from '../../src/block/features.js';
import { DATA_SEGMENTS_MAX, RANGES_MAX } from '../../src/limits.js';
import { DiskModel, histories } from './backend-model.js';
import { BackendRig, REQUESTS, sectorsAt } from './backend-rig.js';

/** One back end in one of its ways to work. */
export interface Variant<Options = BackendOptions, Spec = BackendSpec> {
  readonly name: string;
  /** Why it cannot be tested here, or false. */
  readonly skip: string | false;
  /** Whether what was written is read. */
  readonly keepsData: boolean;
  /** Whether `resize` can grow it. */
  readonly grows: boolean;
  /** How to open a fresh disk, all zeros, of this size; called in each test, and its release at the test's end. */
  make(sizeBytes: number): { readonly options: Options; release(): void };
  /** Where not the usual way: makes the sidecore's side. */
  readonly create?: (spec: Spec, host: BackendHost) => BlockBackend;
  /** What a sidecore does besides in each turn. */
  readonly turn?: () => void;
  /** For a back end that is not in the registry: opens it. */
  readonly open?: (options: Options) => OpenDisk<Spec>;
}

const DISK_BYTES = 2 ** 20 + 3 * SECTOR_BYTES;
const LARGE_DISK_BYTES = 6 * 2 ** 20;
/** Histories per run; more with SIDECORE_RUNS. */
const RUNS = Number(process.env.SIDECORE_RUNS ?? 25);
/** The same histories again with SIDECORE_SEED. */
const SEED = Number(process.env.SIDECORE_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Everything that every back end must do. */
export function backendConformance<Options = BackendOptions, Spec = BackendSpec>(
  variant: Variant<Options, Spec>,
): void {
  const { name, skip, keepsData } = variant;
  const create = variant.create ?? (createBackend as (spec: never, host: BackendHost) => BlockBackend);
  const open =
    variant.open ?? (openDisk as (options: never) => OpenDisk<unknown> as (options: Options) => OpenDisk<Spec>);

  /** Runs `test` on a fresh disk. */
  async function onDisk(
    sizeBytes: number,
    test: (rig: BackendRig, disk: OpenDisk<Spec>, model: DiskModel) => Promise<void>,
  ): Promise<void> {
    const { options, release } = variant.make(sizeBytes);
    try {
      const disk = open(options);
      assert.equal(disk.abilities.sizeBytes, sizeBytes);
      const rig = new BackendRig((host) => create(disk.spec as never, host), variant.turn);
      const model = new DiskModel(rig, sizeBytes, keepsData, (bytes) => disk.resize(bytes));
      await test(rig, disk, model);
      rig.close();
      disk.close();
    } finally {
      release();
    }
  }

  /** A step that touches whole sectors in one piece. */
  const data = (kind: 'read' | 'write', sector: number, sectors: number, fill = 1) =>
    ({ kind, sector, sectors, cuts: [], gaps: [0], aligned: true, durable: false, fill }) as const;

  describe(`back end: ${name}`, { skip }, () => {
    it('does what a model of it does, whatever the history', async (t: TestContext) => {
      t.diagnostic(`SIDECORE_SEED=${SEED}`);
      const first = variant.make(DISK_BYTES);
      const opened = open(first.options);
      const { abilities } = opened;
      opened.close();
      first.release();
      const property = fc.asyncProperty(histories(abilities, variant.grows), (history) =>
        onDisk(DISK_BYTES, async (_rig, _disk, model) => {
          for (const step of history) await model.step(step);
          await model.check();
        }),
      );
      await fc.assert(property, { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: 10_000 + RUNS * 200 });
    });

    it('reads zeros from a fresh disk', () => onDisk(DISK_BYTES, (_rig, _disk, model) => model.check()));

    it('reaches its last sector', () =>
      onDisk(DISK_BYTES, async (_rig, disk, model) => {
        const last = disk.abilities.sizeBytes / SECTOR_BYTES - 1;
        await model.step(data('write', last, 1));
        await model.check();
      }));

    it('takes as many segments as a request may have, of any length', () =>
      onDisk(LARGE_DISK_BYTES, async (_rig, _disk, model) => {
        const cuts = Array.from({ length: DATA_SEGMENTS_MAX - 1 }, (_, i) => (i + 1) * 1021 + (i % 7));
        const many = {
          sector: 5,
          sectors: 512,
          cuts,
          gaps: [0, 1, 511, 4096],
          aligned: false,
          durable: false,
          fill: 3,
        };
        await model.step({ kind: 'write', ...many });
        await model.step({ kind: 'read', ...many });
        await model.check();
      }));

    it('takes pieces that are no whole sectors, wherever they begin', () =>
      onDisk(DISK_BYTES, async (rig, _disk, model) => {
        await model.step(data('write', 0, 64, 5));
        await model.settle();
        for (const [at, length] of [
          [0, 100],
          [512, 412],
          [4096, 4],
          [8192, 508],
          [1, 1023],
          [2048, 1],
        ] as const) {
          const pieces = [
            { at, length },
            { at: 16_384 + at, length: 8 * SECTOR_BYTES - length },
          ];
          assert.equal(await rig.run({ kind: 'write', sector: 3, pieces }), Status.OK);
          rig.guest.fill(0xee, 65_536, 2 * 65_536);
          assert.equal(await rig.run({ kind: 'read', sector: 3, pieces: sectorsAt(65_536, 8) }), Status.OK);
          const written = Buffer.concat(pieces.map((piece) => rig.guest.subarray(piece.at, piece.at + piece.length)));
          if (keepsData) assert.ok(written.equals(rig.guest.subarray(65_536, 65_536 + 8 * SECTOR_BYTES)));
        }
      }));

    it('takes requests of several MiB', () =>
      onDisk(LARGE_DISK_BYTES, async (_rig, _disk, model) => {
        const large = {
          sector: 1,
          sectors: 7000,
          cuts: [1_048_576, 2_097_153],
          gaps: [3],
          aligned: false,
          durable: false,
        };
        await model.step({ kind: 'write', ...large, fill: 9 });
        await model.step({ kind: 'read', ...large, fill: 0 });
        await model.check();
      }));

    it('keeps many requests apart that are in flight at once', () =>
      onDisk(LARGE_DISK_BYTES, async (_rig, _disk, model) => {
        for (let i = 0; i < REQUESTS; i++) await model.step(data('write', i * 9, 8, i));
        await model.settle();
        for (let i = 0; i < REQUESTS; i++)
          await model.step({ ...data('read', ((i * 7) % REQUESTS) * 9, 8), gaps: [i % 3] });
        await model.check();
      }));

    it('does durable writes and flushes', () =>
      onDisk(DISK_BYTES, async (rig, _disk, model) => {
        for (let i = 0; i < 8; i++)
          await model.step({ ...data('write', i * 16, 16, i), cuts: [100], durable: i % 2 === 0 });
        await model.step({ kind: 'flush' });
        await model.check();
        assert.equal(await rig.run({ kind: 'flush' }), Status.OK);
      }));

    for (const kind of ['discard', 'writeZeroes', 'secureErase'] as const) {
      it(`does ${kind} with many ranges, empty ones among them`, () =>
        onDisk(LARGE_DISK_BYTES, async (rig, disk, model) => {
          if (!disk.abilities[kind]) return;
          await model.step(data('write', 0, LARGE_DISK_BYTES / SECTOR_BYTES));
          await model.settle();
          const ranges = Array.from({ length: RANGES_MAX }, (_, i) => ({
            sector: i * 700 + i,
            sectors: i % 5 === 2 ? 0 : i * 40 + 1,
            unmap: i % 2 === 0,
          }));
          await model.step({ kind, ranges, durable: false });
          await model.check();
          await model.step({ kind, ranges: [{ sector: 0, sectors: 8192, unmap: false }], durable: true });
          await model.check();
          assert.equal(await rig.run({ kind, ranges: [{ sector: 9, sectors: 0 }] }), Status.OK);
        }));
    }

    it('grows, and reads zeros in the new part', () =>
      onDisk(DISK_BYTES, async (_rig, disk, model) => {
        if (!variant.grows) return;
        await model.step(data('write', 0, DISK_BYTES / SECTOR_BYTES));
        await model.step({ kind: 'resize', sectors: 1000 });
        await model.check();
        assert.equal(disk.resize(), model.disk.length);
        assert.throws(() => disk.resize(DISK_BYTES), { code: 'IMAGE_INVALID' });
      }));

    it('serves one disk from several sidecores', () =>
      onDisk(DISK_BYTES, async (rig, disk) => {
        const other = new BackendRig((host) => create(disk.spec as never, host));
        rig.guest.fill(0x77, 0, 4096);
        assert.equal(await rig.run({ kind: 'write', sector: 8, pieces: sectorsAt(0, 8) }), Status.OK);
        assert.equal(await other.run({ kind: 'read', sector: 8, pieces: sectorsAt(512, 8) }), Status.OK);
        if (keepsData) assert.ok(other.guest.subarray(512, 512 + 4096).every((byte) => byte === 0x77));
        other.close();
      }));
  });
}
