/**
 * What each sector of a disk may read as, while reads and writes are in flight at once: a read gets what was there when it began, or
 * what was written since. Writes of one time do not overlap.
 */
import assert from 'node:assert/strict';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { FilterRig, RigRequest } from './filter-rig.js';
import type { Random } from './seed.js';

interface Begun {
  readonly request: RigRequest;
  readonly type: number;
  readonly sector: number;
  readonly sectors: number;
  /** Of a read: for each sector, the earliest that it may get. */
  readonly from: readonly number[];
}

export class SectorHistory {
  readonly #rig: FilterRig;
  readonly #random: Random;
  readonly #sectors: number;
  readonly #queues: number;
  /** By sector: what it had, in order; which of these has been acknowledged; whether a write is in flight. */
  readonly #ids: number[][];
  readonly #done: number[];
  readonly #busy: Uint8Array;
  #begun: Begun[] = [];
  #lastId = 0;

  constructor(rig: FilterRig, random: Random, sectors: number, queues: number) {
    this.#rig = rig;
    this.#random = random;
    this.#sectors = sectors;
    this.#queues = queues;
    this.#ids = Array.from({ length: sectors }, () => [0]);
    this.#done = new Array(sectors).fill(0);
    this.#busy = new Uint8Array(sectors);
  }

  get inFlight(): number {
    return this.#begun.length;
  }

  /** Begins a random request, within the first `span` sectors mostly. */
  begin(span: number): void {
    const random = this.#random;
    const sectors = random.chance(0.5) ? 8 * (1 + random.below(4)) : 1 + random.below(random.chance(0.1) ? 200 : 30);
    const room = Math.min(random.chance(0.8) ? span : this.#sectors, this.#sectors) - sectors;
    const any = random.below(Math.max(1, room + 1));
    const sector = random.chance(0.5) ? any - (any % 8) : any;
    const queue = random.below(this.#queues);
    const cuts = Array.from({ length: random.below(4) }, () => 1 + random.below(sectors * SECTOR_BYTES));
    const all = Array.from({ length: sectors }, (_, i) => sector + i);
    if (random.chance(0.6)) {
      const from = all.map((at) => this.#done[at]!);
      const request = this.#rig.begin(RequestType.IN, sector, sectors * SECTOR_BYTES, { queue, cuts });
      this.#begun.push({ request, type: RequestType.IN, sector, sectors, from });
      return;
    }
    if (all.some((at) => this.#busy[at] === 1)) return;
    const isClear = random.chance(0.15);
    const data = Buffer.alloc(sectors * SECTOR_BYTES);
    for (const at of all) {
      const id = isClear ? 0 : ++this.#lastId;
      fillSector(data, (at - sector) * SECTOR_BYTES, id);
      this.#ids[at]!.push(id);
      this.#busy[at] = 1;
    }
    const type = isClear ? random.pick([RequestType.DISCARD, RequestType.WRITE_ZEROES]) : RequestType.OUT;
    const request = isClear
      ? this.#rig.beginClear(type, sector, sectors, random.chance(0.5), queue)
      : this.#rig.begin(RequestType.OUT, sector, data, { queue, cuts, durable: random.chance(0.1) });
    this.#begun.push({ request, type, sector, sectors, from: [] });
  }

  /** Looks at what has ended. */
  look(): void {
    this.#begun = this.#begun.filter((begun) => {
      if (begun.request.status === undefined) return true;
      assert.equal(begun.request.status, Status.OK);
      if (begun.type === RequestType.IN) this.#checkRead(begun);
      else
        for (let at = begun.sector; at < begun.sector + begun.sectors; at++) {
          this.#done[at] = this.#ids[at]!.length - 1;
          this.#busy[at] = 0;
        }
      return false;
    });
  }

  #checkRead({ request, sector, from }: Begun): void {
    for (const [i, earliest] of from.entries()) {
      const at = sector + i;
      const allowed = this.#ids[at]!.slice(earliest);
      // While a write is in flight, the kernel may give some bytes as before and some as after.
      for (let word = 0; word < SECTOR_BYTES; word += 4) {
        const id = request.data.readUInt32LE(i * SECTOR_BYTES + word);
        if (!allowed.includes(id)) assert.fail(`sector ${at} reads as ${id}, and may as ${allowed.join(', ')}`);
      }
    }
  }

  async end(): Promise<void> {
    await this.#rig.until(() => this.#begun.every(({ request }) => request.status !== undefined));
    this.look();
  }

  /** Reads everything, and compares the image below with it. */
  async check(): Promise<void> {
    await this.end();
    const image = Buffer.alloc(this.#sectors * SECTOR_BYTES);
    this.#rig.disk.image.read(0, image);
    for (let at = 0; at < this.#sectors; at += 64) {
      const sectors = Math.min(64, this.#sectors - at);
      const data = await this.#rig.read(at, sectors * SECTOR_BYTES);
      for (let i = 0; i < sectors; i++) {
        const expected = this.#ids[at + i]!.at(-1)!;
        assert.equal(idOf(data, i * SECTOR_BYTES), expected, `sector ${at + i}`);
        assert.equal(idOf(image, (at + i) * SECTOR_BYTES), expected, `sector ${at + i} of the image`);
      }
    }
  }
}

function fillSector(data: Buffer, at: number, id: number): void {
  for (let i = 0; i < SECTOR_BYTES; i += 4) data.writeUInt32LE(id, at + i);
}

/** Throws if the sector is of several writes. */
function idOf(data: Buffer, at: number): number {
  const id = data.readUInt32LE(at);
  for (let i = 4; i < SECTOR_BYTES; i += 4)
    if (data.readUInt32LE(at + i) !== id) throw new Error(`a sector is torn: ${id}, ${data.readUInt32LE(at + i)}`);
  return id;
}
