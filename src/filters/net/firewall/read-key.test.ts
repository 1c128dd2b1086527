import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BytesFrame } from '../../../../test/support/bytes-frame.js';
import { frameOf, keyOf, randomPacket } from '../../../../test/support/firewall.js';
import { seeded } from '../../../../test/support/seed.js';
import { KEY_WORDS, Key } from './key.js';
import { Reading, readAny, readKey } from './read-key.js';

/** What is the same for all frames that are read. */
const COMMON = Key.TCP_FLAGS;

it('a key says what a frame was made of, whichever way it is read', () => {
  seeded(1, (random) => {
    for (let i = 0; i < 20_000; i++) {
      const packet = { ...randomPacket(random), flags: 'SA', sequence: random.word(), acknowledgment: random.word() };
      const frame = frameOf(packet);
      const [expected, found, slowly] = [0, 0, 0].map(() => new Int32Array(KEY_WORDS)) as [
        Int32Array,
        Int32Array,
        Int32Array,
      ];
      keyOf(packet, expected);
      assert.equal(readKey(frame, found), Reading.OK);
      assert.equal(readAny(frame, slowly), Reading.OK);
      const used = (key: Int32Array) => {
        // Words that a family does not use may be left from before.
        if (packet.family === 0) key.fill(0, 0, 8);
        if (packet.family === 4) key.fill(0, 1, 4).fill(0, 5, 8);
        return [...key.subarray(0, COMMON)];
      };
      assert.deepEqual(used(found), used(expected));
      assert.deepEqual(used(slowly), used(expected));
      if (packet.protocol !== 6) continue;
      const tcp = [0x12, packet.sequence | 0, packet.acknowledgment | 0];
      for (const key of [found, slowly])
        assert.deepEqual([key[Key.TCP_FLAGS], key[Key.SEQUENCE], key[Key.ACKNOWLEDGMENT]], tcp);
    }
  });
});

it('whatever is wrong with a frame, both ways of reading say the same', () => {
  seeded(2, (random) => {
    let good = 0;
    for (let i = 0; i < 60_000; i++) {
      const bytes = Buffer.alloc(600);
      const length = frameOf({ ...randomPacket(random), flags: 'A' }).copyTo(bytes, 0, 600);
      const cut = random.chance(0.2) ? random.below(length + 1) : length;
      for (let changes = random.below(3); changes > 0; changes--)
        bytes[12 + random.below(60)] = random.pick([0, 5, 6, 17, 0x45, 0x60, random.below(256)]);
      const frame = new BytesFrame(bytes.subarray(0, cut));
      const [found, slowly] = [new Int32Array(KEY_WORDS), new Int32Array(KEY_WORDS)];
      const reading = readKey(frame, found);
      assert.equal(reading, readAny(frame, slowly), bytes.subarray(0, cut).toString('hex'));
      if (reading !== Reading.OK) continue;
      good++;
      assert.deepEqual(found.subarray(0, Key.FRAGMENT + 1), slowly.subarray(0, Key.FRAGMENT + 1));
    }
    assert.ok(good > 10_000 && good < 55_000, `${good}`);
  });
});
