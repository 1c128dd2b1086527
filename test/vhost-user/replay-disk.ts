/** The driver of a replay's disk. */
import assert from 'node:assert/strict';
import { RequestType, SECTOR_BYTES, Status } from '../../src/guest/index.js';
import type { DriverStep } from '../replays/replay.js';
import type { ReplayMemory } from './replay-memory.js';
import { isUp, type LiveRing, lookUntil, PAGE_BYTES, type ReplayDriver, type ReplayRing } from './replay-ring.js';

/** Room for one request: header, indirect table and status in one place, data in another. */
const SLOT_BYTES = 16 * 1024;
const DATA_BYTES = 8192;
/** Requests in flight on a ring. */
const DEPTH = 8;
const HEADER_BYTES = 16;
const STATUS_AT = 64;
const TABLE_AT = 128;
const DATA_AT = PAGE_BYTES;
/** Descriptors of a request. */
const CHAIN = 3;

export class DiskDriver implements ReplayDriver {
  readonly #memory: ReplayMemory;
  #generation = 0;

  constructor(memory: ReplayMemory) {
    this.#memory = memory;
  }

  prepare(): void {}

  reset(): void {}

  async act(step: DriverStep, rings: readonly LiveRing[]): Promise<void> {
    assert.equal(step.driver, 'write-and-read', 'a disk can do nothing else');
    this.#generation++;
    const up = rings.filter(isUp);
    assert.ok(up.length > 0, 'some ring is up');
    for (const { ring, calledAt } of up) {
      await this.#writeAndRead(ring!, calledAt);
      assert.equal(ring!.usedIndex, ring!.done, 'each request is answered once');
    }
  }

  /** Writes all over guest memory's regions, and reads back. At the end it sleeps until it is called, if it can be. */
  async #writeAndRead(ring: ReplayRing, calledAt: number | undefined): Promise<void> {
    const pattern = (slot: number) => ((this.#generation & 0xffff) << 12) | (ring.index << 8) | (slot + 1);
    for (const type of [RequestType.OUT, RequestType.IN]) {
      for (let slot = 0; slot < DEPTH; slot++) {
        const data = Buffer.alloc(DATA_BYTES);
        if (type === RequestType.OUT)
          for (let at = 0; at < DATA_BYTES; at += 4) data.writeUInt32LE(pattern(slot) + at, at);
        this.#memory.eachPart(this.#data(ring, slot), DATA_BYTES, (view, at) =>
          view.set(data.subarray(at, at + view.length)),
        );
        this.#submit(ring, slot, type);
      }
      if (type === RequestType.IN && calledAt !== undefined) await ring.sleepOver(calledAt, () => ring.publish());
      else ring.publish();
      await this.#complete(ring);
    }
    for (let slot = 0; slot < DEPTH; slot++) {
      this.#memory.eachPart(this.#data(ring, slot), DATA_BYTES, (view, at) => {
        for (let i = 0; i < view.length; i += 4) {
          const where = `ring ${ring.index}, slot ${slot}, byte ${at + i}`;
          assert.equal(view.readUInt32LE(i), pattern(slot) + at + i, where);
        }
      });
    }
  }

  /** A page near the end of one region or another. */
  #control(ring: ReplayRing, slot: number): number {
    const { regions } = this.#memory;
    const region = regions[(slot + ring.index) % regions.length]!;
    return region.guestAddress + region.size - (ring.index * DEPTH + slot + 1) * SLOT_BYTES;
  }

  /** Where the data are: across the border of two regions where there is one, or near the header. */
  #data(ring: ReplayRing, slot: number): number {
    const { borders } = this.#memory;
    if (slot < borders.length && ring.index === 0) return borders[slot]! - PAGE_BYTES;
    return this.#control(ring, slot) + DATA_AT;
  }

  #submit(ring: ReplayRing, slot: number, type: number): void {
    const control = this.#control(ring, slot);
    const view = this.#memory.view(control, PAGE_BYTES);
    view.writeUInt32LE(type, 0);
    view.writeUInt32LE(0, 4);
    view.writeBigUInt64LE(BigInt(((ring.index * DEPTH + slot) * DATA_BYTES) / SECTOR_BYTES), 8);
    view.writeUInt8(0xff, STATUS_AT);
    const chain = [
      { address: control, length: HEADER_BYTES },
      { address: this.#data(ring, slot), length: DATA_BYTES, writable: type === RequestType.IN },
      { address: control + STATUS_AT, length: 1, writable: true },
    ];
    ring.add(slot * CHAIN, chain, ring.indirect && slot % 2 === 1 ? control + TABLE_AT : undefined);
  }

  async #complete(ring: ReplayRing): Promise<void> {
    for (let count = 0; count < DEPTH; count++) {
      let head = -1;
      await lookUntil(
        () => (head = ring.take()) >= 0,
        () => `ring ${ring.index}: ${count} of ${DEPTH} requests came back`,
      );
      const status = this.#memory.view(this.#control(ring, head / CHAIN), PAGE_BYTES).readUInt8(STATUS_AT);
      assert.equal(status, Status.OK, `ring ${ring.index}: status of ${head}`);
    }
  }
}
