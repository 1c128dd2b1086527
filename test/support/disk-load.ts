/** A seeded load on a disk in a rig, checked against a plain copy of what the disk should have. */
import assert from 'node:assert/strict';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { FilterRig, RigRequest } from './filter-rig.js';
import type { Random } from './seed.js';

const { IN, OUT, FLUSH, DISCARD, WRITE_ZEROES } = RequestType;

export class DiskLoad {
  /** What the disk should have. */
  readonly model: Buffer;
  readonly #rig: FilterRig;
  readonly #random: Random;
  readonly #queues: number;
  readonly #sectors: number;

  constructor(rig: FilterRig, random: Random, model: Buffer) {
    this.#rig = rig;
    this.#random = random;
    this.model = model;
    this.#queues = rig.queues.length;
    this.#sectors = model.length / SECTOR_BYTES;
  }

  /**
   * Requests of all kinds at once, on all queues, that have no sector in common but clusters perhaps. Each sees what there was before, and
   * all have succeeded.
   */
  async round(meanwhile: () => void = () => {}): Promise<void> {
    const rig = this.#rig;
    const random = this.#random;
    const before = Buffer.from(this.model);
    // Neighbours, of which any alignment is likely.
    let sector = random.below(this.#sectors);
    const reads: [RigRequest, number][] = [];
    const all: RigRequest[] = [];
    for (let i = 1 + random.below(8); i > 0 && sector < this.#sectors; i--) {
      const sectors = Math.min(1 + random.below(random.chance(0.2) ? 300 : 24), this.#sectors - sector);
      const bytes = sectors * SECTOR_BYTES;
      const queue = random.below(this.#queues);
      const cuts = Array.from({ length: random.below(4) }, () => 1 + random.below(bytes));
      const type = random.pick([IN, IN, IN, OUT, OUT, OUT, OUT, FLUSH, DISCARD, WRITE_ZEROES]);
      const at = sector * SECTOR_BYTES;
      if (type === IN) {
        const request = rig.begin(IN, sector, bytes, { queue, cuts });
        reads.push([request, at]);
        all.push(request);
      } else if (type === OUT) {
        const data = Buffer.alloc(bytes, `${random.below(1e9)} `);
        data.copy(this.model, at);
        all.push(rig.begin(OUT, sector, data, { queue, cuts, durable: random.chance(0.1) }));
      } else if (type === FLUSH) all.push(rig.begin(FLUSH, 0, 0, { queue }));
      else {
        this.model.fill(0, at, at + bytes);
        all.push(rig.beginClear(type, sector, sectors, random.chance(0.5), queue));
      }
      sector += sectors + (random.chance(0.5) ? 0 : random.below(20));
      for (let turns = random.below(3); turns > 0; turns--) rig.queues[random.below(this.#queues)]!.turn();
    }
    meanwhile();
    for (const request of all) {
      await rig.end(request);
      assert.equal(request.status, Status.OK);
    }
    for (const [{ data }, at] of reads) requireSame(data, before.subarray(at, at + data.length), at);
  }

  /** The whole disk is as it should be. */
  async check(): Promise<void> {
    const bytesMax = 512 * 1024;
    for (let at = 0; at < this.model.length; at += bytesMax) {
      const bytes = Math.min(bytesMax, this.model.length - at);
      const queue = this.#random.below(this.#queues);
      const data = await this.#rig.read(at / SECTOR_BYTES, bytes, { queue });
      requireSame(data, this.model.subarray(at, at + bytes), at);
    }
  }
}

/** @param at - where they begin in the disk, bytes */
function requireSame(data: Buffer, expected: Buffer, at: number): void {
  if (data.equals(expected)) return;
  const from = data.findIndex((byte, i) => byte !== expected[i]);
  const text = (bytes: Buffer) => JSON.stringify(bytes.toString('latin1', from, from + 24));
  assert.fail(`byte ${at + from} is ${text(data)}, and should be ${text(expected)}`);
}
