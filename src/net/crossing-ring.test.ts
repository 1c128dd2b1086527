import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFrame } from '../../test/support/frames.js';
import { type Random, seeded } from '../../test/support/seed.js';
import { CrossingRing } from './crossing-ring.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame } from './frame.js';
import { FrameBurst } from './frame-burst.js';
import { NetHeader, readNetHeader } from './net-header.js';
import { StagingMemory } from './staging-memory.js';

const FROM = Buffer.from('525400000001', 'hex');
const TO = Buffer.from('525400000002', 'hex');
/** Bytes of a record besides its frame, and what they are rounded up to. */
const RECORD_BYTES = 12 + NET_HEADER_BYTES;
const UNIT = 8;

interface Record {
  readonly frame: Buffer;
  readonly header: NetHeader;
  readonly from: number;
}

/** Both ends of a ring, each of which may be replaced, and the plain model: three lists. */
class Model {
  readonly shared: SharedArrayBuffer;
  readonly #ringBytes: number;
  readonly #source = new StagingMemory(2 ** 16);
  readonly #frame = new Frame();
  #writer: CrossingRing;
  #reader: CrossingRing;
  #arrivals: FrameBurst;
  /** Written and not shown; shown and not taken; taken and not released. */
  #pending: Record[] = [];
  #shown: Record[] = [];
  #taken: Record[] = [];
  crossed = 0;
  refused = 0;

  constructor(ringBytes: number, position: number) {
    this.#ringBytes = ringBytes;
    this.shared = CrossingRing.create(ringBytes);
    const positions = new Int32Array(this.shared);
    // Where reader and writer are, each in a line of its own.
    positions[0] = positions[16] = position;
    this.#writer = new CrossingRing(this.shared, 'writer');
    this.#reader = new CrossingRing(this.shared, 'reader');
    this.#arrivals = new FrameBurst(this.#reader, 0);
  }

  put(random: Random, length: number): void {
    const from = random.pick([0, 0, 0, 1, 0xffff_ffff, 77]);
    const frame = makeFrame(TO, FROM, length, random.below(2000));
    const header = new NetHeader();
    const at = NET_HEADER_BYTES + random.below(9);
    frame.copy(this.#source.buffer, at);
    const inBurst = length >= 16 && random.chance(0.5);
    let fits: boolean;
    if (inBurst) {
      const burst = new FrameBurst(this.#source, 0);
      this.#source.buffer.fill(0, at - NET_HEADER_BYTES, at);
      burst.chains.offset[3] = at - NET_HEADER_BYTES;
      burst.chains.length[3] = NET_HEADER_BYTES + length;
      // It is the fourth of a burst.
      for (let i = 0; i < 3; i++) burst.chains.length[i] = NET_HEADER_BYTES + 16;
      burst.read(4);
      fits = this.#writer.putOf(burst, 3, from);
    } else {
      for (const key of Object.keys(header) as (keyof NetHeader)[]) {
        if (typeof header[key] === 'number') Object.assign(header, { [key]: random.below(256) });
      }
      this.#source.describe(at, length, this.#frame);
      this.#frame.header.copyFrom(header);
      fits = this.#writer.put(this.#frame, from);
    }
    if (fits) {
      this.#pending.push({ frame, header, from });
    } else {
      this.refused++;
      assert.ok(this.#used() + 3 * unitsOf(length) > this.#ringBytes / UNIT, `no room for ${length} bytes`);
    }
  }

  publish(): void {
    this.#writer.publish();
    this.#shown.push(...this.#pending.splice(0));
  }

  take(limit: number): void {
    assert.equal(this.#reader.hasRecords, this.#shown.length > 0);
    const count = this.#reader.take(this.#arrivals, limit);
    assert.ok(count <= limit && count <= this.#shown.length);
    if (limit > 0) assert.equal(count > 0, this.#shown.length > 0);
    const { bytes } = this.#reader;
    const header = new NetHeader();
    for (let i = 0; i < count; i++) {
      const expected = this.#shown.shift()!;
      const { offset, length, window } = this.#arrivals.chains;
      const at = offset[i]!;
      const memory = bytes[window[i]!]!;
      readNetHeader(memory, at, header);
      assert.deepEqual(header, expected.header);
      assert.ok(memory.subarray(at + NET_HEADER_BYTES, at + length[i]!).equals(expected.frame));
      assert.equal(this.#reader.from >>> 0, expected.from >>> 0);
      this.#taken.push(expected);
      this.crossed++;
    }
  }

  release(): void {
    this.#reader.release();
    this.#taken = [];
  }

  /** The writing thread dies: what it had not shown is lost. */
  replaceWriter(): void {
    this.#writer = new CrossingRing(this.shared, 'writer');
    this.#pending = [];
  }

  /** The reading thread dies: what it had not released comes again. */
  replaceReader(): void {
    this.#reader = new CrossingRing(this.shared, 'reader');
    this.#arrivals = new FrameBurst(this.#reader, 0);
    this.#shown.unshift(...this.#taken.splice(0));
  }

  /** All that was shown is taken, and then any frame that is not longer than a third of the ring has room. */
  finish(random: Random): void {
    this.publish();
    while (this.#shown.length > 0) this.take(32);
    this.release();
    this.take(32);
    const before = this.refused;
    this.put(random, Math.floor(this.#ringBytes / 3) - RECORD_BYTES);
    assert.equal(this.refused, before);
  }

  /** Units that are surely taken: without what was left empty at the end. */
  #used(): number {
    const all = [...this.#pending, ...this.#shown, ...this.#taken];
    // What lies before the end may not have room for the longest.
    const gap = Math.max(0, ...all.map(({ frame }) => unitsOf(frame.length)));
    return gap + all.reduce((sum, { frame }) => sum + unitsOf(frame.length), 0);
  }
}

const unitsOf = (frameBytes: number): number => Math.ceil((RECORD_BYTES + frameBytes) / UNIT);

describe('a ring between sidecores', () => {
  for (const ringBytes of [512, 1024, 8192]) {
    for (const position of [0, 2 ** 31 - 40, -40, 12_345]) {
      it(`of ${ringBytes} bytes keeps frames apart and in order, from position ${position} on`, () =>
        seeded(ringBytes + position, (random) => {
          const model = new Model(ringBytes, position);
          for (let step = 0; step < 8000; step++) {
            const what = random.below(100);
            if (what < 45) model.put(random, 14 + random.below(random.chance(0.9) ? 60 : ringBytes / 4));
            else if (what < 65) model.publish();
            else if (what < 85) model.take(random.below(33));
            else if (what < 97) model.release();
            else if (what < 98) model.replaceWriter();
            else model.replaceReader();
          }
          model.finish(random);
          assert.ok(model.crossed > 1000 && model.refused > 0, `${model.crossed} crossed, ${model.refused} did not`);
        }));
    }
  }

  it('refuses a frame that it cannot hold, and goes on', () => {
    const shared = CrossingRing.create(1024);
    const writer = new CrossingRing(shared, 'writer');
    const memory = new StagingMemory();
    const frame = new Frame();
    for (const length of [1024 - RECORD_BYTES + 1, 2000, 60_000]) {
      memory.describe(0, length, frame);
      assert.equal(writer.put(frame, 0), false);
    }
    memory.describe(0, 1024 - RECORD_BYTES, frame);
    assert.equal(writer.put(frame, 0), true, 'one that fills it');
    assert.equal(writer.put(frame, 0), false);
    writer.publish();
    const reader = new CrossingRing(shared, 'reader');
    assert.equal(reader.take(new FrameBurst(reader, 0), 32), 1);
    assert.equal(writer.put(frame, 0), false, 'it is not released');
    reader.release();
    assert.equal(writer.put(frame, 0), true);
  });
});
