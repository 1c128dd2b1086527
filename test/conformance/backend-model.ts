import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { BackendAbilities } from '../../src/block/backends/backend.js';
import { SECTOR_BYTES, Status } from '../../src/block/features.js';
import { type BackendRig, bytesOf, GUEST_BYTES, type Piece, type Range } from './backend-rig.js';

/** A step of a random history. Its numbers are folded into what the disk and the guest's memory have. */
export type Step =
  | {
      readonly kind: 'read' | 'write';
      readonly sector: number;
      readonly sectors: number;
      readonly cuts: readonly number[];
      readonly gaps: readonly number[];
      readonly aligned: boolean;
      readonly durable: boolean;
      readonly fill: number;
    }
  | { readonly kind: 'flush' }
  | {
      readonly kind: 'discard' | 'writeZeroes' | 'secureErase';
      readonly ranges: readonly Required<Range>[];
      readonly durable: boolean;
    }
  | { readonly kind: 'resize'; readonly sectors: number };

/** Random histories of a disk. */
export function histories(abilities: BackendAbilities, grows: boolean): fc.Arbitrary<Step[]> {
  const sector = fc.nat(100_000);
  const data = fc.record({
    kind: fc.constantFrom('read' as const, 'write' as const),
    sector,
    sectors: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 24 }) }, fc.integer({ min: 1, max: 900 })),
    cuts: fc.array(fc.nat(500_000), { maxLength: 12 }),
    gaps: fc.array(fc.nat(5000), { minLength: 1, maxLength: 5 }),
    aligned: fc.boolean(),
    durable: fc.integer({ min: 0, max: 9 }).map((number) => number === 0),
    fill: fc.nat(255),
  });
  const kinds = (['discard', 'writeZeroes', 'secureErase'] as const).filter((kind) => abilities[kind]);
  const range = fc.record({ sector, sectors: fc.nat(200), unmap: fc.boolean() });
  const steps: fc.WeightedArbitrary<Step>[] = [
    { weight: 20, arbitrary: data },
    { weight: 1, arbitrary: fc.constant({ kind: 'flush' as const }) },
  ];
  if (kinds.length > 0) {
    const ranges = fc.array(range, { minLength: 1, maxLength: 4 });
    steps.push({ weight: 4, arbitrary: fc.record({ kind: fc.constantFrom(...kinds), ranges, durable: fc.boolean() }) });
  }
  if (grows)
    steps.push({ weight: 1, arbitrary: fc.record({ kind: fc.constant('resize' as const), sectors: fc.nat(300) }) });
  return fc.array(fc.oneof(...steps), { maxLength: 40 });
}

/** Bytes of the disk that a request touches. */
interface Touched {
  readonly start: number;
  readonly end: number;
  readonly changes: boolean;
}

/** A disk as it should be: its bytes and the guest's, and what is in flight. */
export class DiskModel {
  disk: Buffer;
  readonly #rig: BackendRig;
  readonly #keepsData: boolean;
  readonly #guest: Buffer;
  readonly #grow: (sizeBytes: number) => number;
  #inFlight: Touched[] = [];
  #freeAt = 0;

  constructor(rig: BackendRig, sizeBytes: number, keepsData: boolean, grow: (sizeBytes: number) => number) {
    this.#rig = rig;
    this.#keepsData = keepsData;
    this.#grow = grow;
    this.disk = Buffer.alloc(sizeBytes);
    rig.guest.fill(0x5a);
    this.#guest = Buffer.from(rig.guest);
  }

  get #sectors(): number {
    return this.disk.length / SECTOR_BYTES;
  }

  async step(step: Step): Promise<void> {
    switch (step.kind) {
      case 'read':
      case 'write':
        return this.#data(step);
      case 'flush':
        return this.#rig.start(step);
      case 'resize':
        await this.settle();
        return this.#resize(this.disk.length + step.sectors * SECTOR_BYTES);
      default:
        return this.#ranged(step.kind, step.ranges, step.durable);
    }
  }

  /** Waits for what is in flight; all of it must be good, and the guest's memory must be exactly what it should be. */
  async settle(): Promise<void> {
    const statuses = await this.#rig.finish();
    assert.ok(
      statuses.every((status) => status === Status.OK),
      `statuses ${statuses}`,
    );
    this.#inFlight = [];
    this.#freeAt = 0;
    if (!this.#guest.equals(this.#rig.guest)) {
      const at = this.#guest.findIndex((byte, index) => byte !== this.#rig.guest[index]);
      assert.fail(`the guest's memory is wrong from byte ${at}`);
    }
  }

  /** Reads the whole disk back. */
  async check(): Promise<void> {
    await this.settle();
    const chunk = 1024;
    for (let sector = 0; sector < this.#sectors; sector += chunk) {
      const sectors = Math.min(chunk, this.#sectors - sector);
      const step = { sector, sectors, cuts: [], gaps: [0], aligned: true, durable: false, fill: 0 };
      await this.#data({ kind: 'read', ...step });
      await this.settle();
    }
  }

  async #data(step: Step & { kind: 'read' | 'write' }): Promise<void> {
    const sector = step.sector % this.#sectors;
    const sectors = Math.min(step.sectors, this.#sectors - sector);
    const start = sector * SECTOR_BYTES;
    const end = start + sectors * SECTOR_BYTES;
    const touched = { start, end, changes: step.kind === 'write' };
    await this.#makeWay([touched]);
    let pieces = this.#place(step, end - start);
    if (pieces === undefined) {
      await this.settle();
      pieces = this.#place(step, end - start)!;
    }
    this.#inFlight.push(touched);
    let at = start;
    for (const piece of pieces) {
      const guest = this.#guest.subarray(piece.at, piece.at + piece.length);
      if (step.kind === 'write') {
        for (let i = 0; i < guest.length; i++) guest[i] = (step.fill + i * 7 + at) & 0xff;
        guest.copy(this.#rig.guest, piece.at);
        guest.copy(this.disk, at);
      } else if (this.#keepsData) {
        this.disk.copy(guest, 0, at, at + piece.length);
      }
      at += piece.length;
    }
    this.#rig.start({ kind: step.kind, sector, pieces, durable: step.durable });
  }

  async #ranged(kind: 'discard' | 'writeZeroes' | 'secureErase', wanted: readonly Required<Range>[], durable: boolean) {
    const ranges = wanted.map(({ sector, sectors, unmap }) => {
      const first = sector % this.#sectors;
      return { sector: first, sectors: Math.min(sectors, this.#sectors - first), unmap };
    });
    const touched = ranges.map(({ sector, sectors }) => ({
      start: sector * SECTOR_BYTES,
      end: (sector + sectors) * SECTOR_BYTES,
      changes: true,
    }));
    await this.#makeWay(touched);
    this.#inFlight.push(...touched);
    for (const { sector, sectors } of ranges) {
      this.disk.fill(0, sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES);
    }
    this.#rig.start({ kind, ranges, durable });
  }

  #resize(sizeBytes: number): void {
    assert.equal(this.#grow(sizeBytes), sizeBytes);
    this.disk = Buffer.concat([this.disk, Buffer.alloc(sizeBytes - this.disk.length)]);
  }

  /** Requests that touch the same sectors have no order, unless one waits for the other. */
  async #makeWay(touched: readonly Touched[]): Promise<void> {
    const conflicts = (one: Touched, other: Touched) =>
      one.start < other.end && other.start < one.end && (one.changes || other.changes);
    if (touched.some((one) => this.#inFlight.some((other) => conflicts(one, other)))) await this.settle();
  }

  /** Finds guest memory for a request's data, in pieces; undefined if too much of it is in use. */
  #place(step: Step & { kind: 'read' | 'write' }, byteCount: number): Piece[] | undefined {
    const unit = step.aligned ? SECTOR_BYTES : 1;
    const align = (number: number) => Math.ceil(number / unit) * unit;
    const ends = [...step.cuts.map((cut) => align(cut % byteCount)), byteCount].sort((a, b) => a - b);
    const pieces: Piece[] = [];
    let at = this.#freeAt;
    let from = 0;
    for (const end of ends) {
      if (end === from) continue;
      at = align(at + step.gaps[pieces.length % step.gaps.length]!);
      pieces.push({ at, length: end - from });
      at += end - from;
      from = end;
    }
    assert.equal(bytesOf(pieces), byteCount);
    if (at > GUEST_BYTES) return undefined;
    this.#freeAt = at;
    return pieces;
  }
}
