import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFrame } from '../../test/support/frames.js';
import { type Random, seeded } from '../../test/support/seed.js';
import { CROSSING_BYTES_MIN, FRAME_BYTES_MAX } from '../limits.js';
import { CrossingRing, NETWORK_SHIFT } from './crossing-ring.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame } from './frame.js';
import { FrameBurst } from './frame-burst.js';
import { NetHeader, readNetHeader } from './net-header.js';
import { StagingMemory } from './staging-memory.js';

const FROM = Buffer.from('525400000001', 'hex');
const TO = Buffer.from('525400000002', 'hex');
/** Bytes of a record besides its frame, and what they are rounded up to. */
const RECORD_BYTES = 16 + NET_HEADER_BYTES;
const UNIT = 8;

interface Record {
  readonly frame: Buffer;
  readonly header: NetHeader;
  readonly from: number;
  readonly vlan: number;
  readonly headsOnly: boolean;
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
    // Where reader and writer are, each in a line of its own; the reader has nothing that it has not given back.
    positions[0] = positions[1] = positions[16] = position;
    this.#writer = new CrossingRing(this.shared, 'writer');
    this.#reader = new CrossingRing(this.shared, 'reader');
    this.#arrivals = new FrameBurst(this.#reader, 0);
  }

  put(random: Random, length: number): void {
    const from = random.pick([0, 0, 0, 1, 0x3fff_ffff, 77, 1 << 20]);
    const vlan = random.pick([0, 0, 0, 5, 4094]);
    const headsOnly = random.chance(0.1);
    let frame = makeFrame(TO, FROM, length, random.below(2000));
    const header = new NetHeader();
    const at = NET_HEADER_BYTES + random.below(9);
    frame.copy(this.#source.buffer, at);
    let fits: boolean;
    if (headsOnly) {
      this.#source.describe(at, length, this.#frame);
      this.#frame.vlan = vlan;
      this.#frame.header.flags = 1;
      fits = this.#writer.putHead(this.#frame, from);
      frame = frame.subarray(0, 16);
    } else if (length >= 18 && random.chance(0.5)) {
      const burst = new FrameBurst(this.#source, 0);
      this.#source.buffer.fill(0, at - NET_HEADER_BYTES, at);
      burst.chains.offset[3] = at - NET_HEADER_BYTES;
      burst.chains.length[3] = NET_HEADER_BYTES + length;
      // It is the fourth of a burst.
      for (let i = 0; i < 3; i++) burst.chains.length[i] = NET_HEADER_BYTES + 18;
      burst.read(4);
      burst.native = vlan;
      fits = this.#writer.putOf(burst, 3, from);
    } else {
      for (const key of Object.keys(header) as (keyof NetHeader)[]) {
        if (typeof header[key] === 'number') Object.assign(header, { [key]: random.below(256) });
      }
      this.#source.describe(at, length, this.#frame);
      this.#frame.header.copyFrom(header);
      this.#frame.vlan = vlan;
      fits = this.#writer.put(this.#frame, from);
    }
    if (fits) {
      this.#pending.push({ frame, header, from, vlan, headsOnly });
    } else {
      this.refused++;
      const free = this.#ringBytes / UNIT - this.#used();
      // There is no room, or none for a network that has as much as this.
      const held = sum(this.#all().filter((other) => other.from >>> 20 === from >>> 20));
      assert.ok(3 * unitsOf(length) > free || held > 4 * free, `no room for ${length} bytes`);
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
      const { from, vlan, headsOnly } = this.#reader;
      assert.deepEqual([from >>> 0, vlan, headsOnly], [expected.from >>> 0, expected.vlan, expected.headsOnly]);
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

  /** The reading thread dies: what it had taken does not come again, and its room is free. */
  replaceReader(): void {
    this.#reader = new CrossingRing(this.shared, 'reader');
    this.#arrivals = new FrameBurst(this.#reader, 0);
    this.#taken = [];
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
    const all = this.#all();
    // What lies before the end may not have room for the longest.
    const gap = Math.max(0, ...all.map(({ frame }) => unitsOf(frame.length)));
    return gap + sum(all);
  }

  #all(): Record[] {
    return [...this.#pending, ...this.#shown, ...this.#taken];
  }
}

const sum = (records: readonly Record[]) => records.reduce((sum, { frame }) => sum + unitsOf(frame.length), 0);

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

  it('keeps room for others, whatever one network puts into it', () => {
    const shared = CrossingRing.create(2 ** 16);
    const memory = new StagingMemory();
    const frame = new Frame();
    const writer = () => new CrossingRing(shared, 'writer');
    const fill = (ring: CrossingRing, network: number, length: number) => {
      let bytes = 0;
      for (memory.describe(0, length, frame); ring.put(frame, network << NETWORK_SHIFT); )
        bytes += RECORD_BYTES + length;
      return bytes / 2 ** 16;
    };
    const reader = new CrossingRing(shared, 'reader');
    const burst = new FrameBurst(reader, 0);
    for (let round = 0; round < 20; round++) {
      let ring = writer();
      const first = fill(ring, 1, 1500);
      assert.ok(first > 0.75 && first < 0.85, `${first} is full of the first`);
      // A thread that takes over knows what there is.
      ring.publish();
      if (round % 2 === 0) ring = writer();
      assert.equal(fill(ring, 1, 60), 0);
      const second = fill(ring, 2, 1000);
      assert.ok(second > 0.1, `${second} are full of the second`);
      assert.ok(fill(ring, 3, 60) > 0.01);
      ring.publish();
      while (reader.take(burst, 32) > 0) reader.release();
    }
  });

  it('has room for the longest frame wherever it begins, if it is none of the smallest', () => {
    const memory = new StagingMemory();
    const frame = new Frame();
    memory.describe(0, FRAME_BYTES_MAX, frame);
    for (let position = 0; position < CROSSING_BYTES_MIN / UNIT; position += 511) {
      const shared = CrossingRing.create(CROSSING_BYTES_MIN);
      const positions = new Int32Array(shared);
      positions[0] = positions[1] = positions[16] = position;
      assert.ok(new CrossingRing(shared, 'writer').put(frame, 0), `at ${position}`);
    }
  });

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
