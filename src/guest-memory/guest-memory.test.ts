import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TestMemory } from '../../test/support/guest-memory.js';
import { check, seeded } from '../../test/support/seed.js';
import { mapAnonymous, unmap } from '../host/memory-map.js';
import { viewBytes } from '../host/memory-view.js';
import { MEMORY_BYTES_MAX, MEMORY_REGIONS_MAX, WINDOW_BYTES } from '../limits.js';
import { GuestMemory, hostAddressOfUser, type MappedRegion, Translation } from './guest-memory.js';
import { Segments } from './segments.js';
import { windowsOver } from './windows.js';

const U32_MAX = 2 ** 32 - 1;

function translate(memory: GuestMemory, address: bigint, length: number, segments: Segments): number {
  return memory.translate(Number(address & 0xffff_ffffn), Number(address >> 32n), length, segments);
}

/** What `translate` gives, as addresses in this process; undefined if it says `OUTSIDE`. */
function pieces(memory: GuestMemory, address: bigint, length: number): { host: number; length: number }[] | undefined {
  const segments = new Segments(4096);
  const result = translate(memory, address, length, segments);
  if (result === Translation.OUTSIDE) return undefined;
  assert.equal(result, Translation.OK);
  return Array.from({ length: segments.count }, (_, i) => ({
    host: memory.hostAddress[segments.window[i]!]! + segments.offset[i]!,
    length: segments.length[i]!,
  }));
}

/** Regions of any size and any distance, and places to look at near their edges. */
const layouts = fc.record({
  regions: fc.array(
    fc.record({ gap: fc.constantFrom(0, 0, 1, 4096, 70_000), size: fc.integer({ min: 1, max: 20_000 }) }),
    {
      minLength: 1,
      maxLength: MEMORY_REGIONS_MAX,
      size: 'max',
    },
  ),
  base: fc.constantFrom(0, 4096, 2 ** 32 - 50_000, 2 ** 40 + 1, 2 ** 52 - 2 ** 26),
  windowBytes: fc.constantFrom(1024, 4096, 12_288, WINDOW_BYTES),
  looks: fc.array(
    fc.record({
      region: fc.nat(MEMORY_REGIONS_MAX),
      from: fc.constantFrom<'start' | 'end'>('start', 'end'),
      shift: fc.integer({ min: -5000, max: 5000 }),
      length: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 60_000 }), fc.constant(U32_MAX)),
    }),
    { minLength: 1, maxLength: 40, size: 'max' },
  ),
});

describe('translation', () => {
  it('finds what a plain search finds, in up to 509 regions', () => {
    let found = 0;
    let missed = 0;
    check(
      fc.property(layouts, ({ regions, base, windowBytes, looks }) => {
        let at = base;
        const plan = regions.map(({ gap, size }) => {
          const guestAddress = at + gap;
          at = guestAddress + size;
          return { guestAddress, size };
        });
        const memory = new TestMemory(plan, windowBytes);
        try {
          for (const { region, from, shift, length } of looks) {
            const { guestAddress, size } = plan[region % plan.length]!;
            const address = Math.max(0, guestAddress + (from === 'start' ? 0 : size) + shift);
            const expected = memory.pieces(address, length);
            assert.deepEqual(pieces(memory.guest, BigInt(address), length), expected);
            if (expected === undefined) missed++;
            else found++;
          }
        } finally {
          memory.release();
        }
      }),
      200,
    );
    assert.ok(found > 500 && missed > 500, `${found} found, ${missed} missed`);
  });

  it('finds every byte of a few small regions, and none beside them', () => {
    const plan = [
      { guestAddress: 100, size: 50 },
      { guestAddress: 150, size: 1 },
      { guestAddress: 151, size: 60 },
      { guestAddress: 300, size: 7 },
    ];
    const memory = new TestMemory(plan, 16);
    for (let address = 0; address < 400; address++) {
      for (let length = 1; length < 150; length++) {
        assert.deepEqual(pieces(memory.guest, BigInt(address), length), memory.pieces(address, length));
      }
    }
    memory.release();
  });

  it('knows nothing at 2^52 and above, whose lower bits mean a region or not', () => {
    const size = 2 ** 16;
    const top = 2 ** 52 - size;
    const memory = new TestMemory(
      [
        { guestAddress: 0, size },
        { guestAddress: top, size },
      ],
      4096,
    );
    assert.ok(pieces(memory.guest, BigInt(top), size));
    assert.equal(pieces(memory.guest, BigInt(top), size + 1), undefined);
    assert.equal(pieces(memory.guest, BigInt(top), U32_MAX), undefined);
    for (let bit = 52n; bit < 64n; bit++) {
      assert.equal(pieces(memory.guest, 1n << bit, 1), undefined);
      assert.equal(pieces(memory.guest, (1n << bit) + 4095n, 2), undefined);
    }
    for (const back of [1n, 2n, 16n, 4096n, 2n ** 32n]) {
      // What would be at the start of memory if addresses went round.
      assert.equal(pieces(memory.guest, 2n ** 64n - back, Number(back) + 16), undefined);
    }
    memory.release();
  });

  it('says when the list is full, and adds no more than fits', () => {
    const memory = new TestMemory([{ guestAddress: 0, size: 2 ** 16 }], 4096);
    for (let capacity = 0; capacity <= 5; capacity++) {
      const segments = new Segments(capacity);
      assert.equal(translate(memory.guest, 100n, 4 * 4096, segments), capacity < 5 ? Translation.FULL : Translation.OK);
      assert.equal(segments.count, capacity);
      assert.equal(segments.push(0, 0, 1), false);
    }
    memory.release();
  });

  it('finds nothing in a guest without memory', () => {
    const memory = new GuestMemory([]);
    assert.equal(pieces(memory, 0n, 1), undefined);
    assert.equal(pieces(memory, 0n, 0), undefined);
  });

  it('does not take regions that overlap', () => {
    const map = mapAnonymous(2 ** 16);
    const region = (guestAddress: number, size: number) => ({
      guestAddress,
      size,
      userAddress: 0,
      hostAddress: map.address,
    });
    assert.throws(() => new GuestMemory([region(0, 4096), region(4095, 1)]), /overlap/);
    assert.throws(() => new GuestMemory([region(0, 4096), region(0, 4096)]), /overlap/);
    unmap(map);
  });
});

describe('windows', () => {
  it('are the memory that they cut', () => {
    const map = mapAnonymous(100_000);
    const windows = windowsOver(map.address, 99_999, 32_768);
    assert.deepEqual(
      windows.map(({ address, byteLength, bytes, words }) => [
        address - map.address,
        byteLength,
        bytes.length,
        words.length,
      ]),
      [0, 1, 2, 3].map((i) => {
        const length = i < 3 ? 32_768 : 99_999 - 3 * 32_768;
        return [i * 32_768, length, length, length >>> 2];
      }),
    );
    windows[2]!.bytes[8] = 0x12;
    windows[2]!.bytes[11] = 0x34;
    assert.equal(windows[2]!.words[2], 0x3400_0012);
    assert.equal(windowsOver(map.address + 65_536, 16)[0]!.words[2], 0x3400_0012);
    assert.deepEqual(windowsOver(map.address, 0), []);
    unmap(map);
  });
});

describe('1 TiB of guest memory', () => {
  it('is reached at every window', () =>
    seeded(3, (random) => {
      // Two large regions around the hole below 4 GiB, and as many small ones as there may be, as one guest would have them.
      const map = mapAnonymous(MEMORY_BYTES_MAX);
      const small = 128 * 2 ** 20;
      const sizes = [3 * 2 ** 30, ...Array.from({ length: MEMORY_REGIONS_MAX - 2 }, () => small)];
      sizes.push(MEMORY_BYTES_MAX - sizes.reduce((sum, size) => sum + size, 0));
      const regions: MappedRegion[] = [];
      let host = map.address;
      let guestAddress = 0;
      for (const size of sizes) {
        regions.push({ guestAddress, size, userAddress: 0, hostAddress: host });
        host += size;
        guestAddress = Math.max(2 ** 32, guestAddress + size);
      }
      const memory = new GuestMemory(regions);
      const everything = new Segments(2);
      for (const { guestAddress, size } of regions) {
        for (let at = guestAddress; at < guestAddress + size; at += WINDOW_BYTES) {
          everything.count = 0;
          memory.translate(at % 2 ** 32, Math.floor(at / 2 ** 32), 1, everything);
        }
      }
      assert.ok(memory.bytes.every((window) => window.length <= WINDOW_BYTES));
      assert.equal(
        memory.bytes.reduce((sum, window) => sum + window.length, 0),
        MEMORY_BYTES_MAX,
      );

      for (let i = 0; i < 5000; i++) {
        const region = regions[random.below(random.chance(0.5) ? regions.length : 2) || regions.length - 1]!;
        const offset = Math.floor((random.word() / 2 ** 32) * region.size);
        const length = Math.min(1 + random.word(), region.size - offset, U32_MAX);
        const found = pieces(memory, BigInt(region.guestAddress + offset), length)!;
        assert.equal(found[0]!.host, region.hostAddress + offset);
        assert.equal(
          found.reduce((sum, piece) => sum + piece.length, 0),
          length,
        );
        found.forEach((piece, j) => {
          if (j > 0) assert.equal(piece.host, found[j - 1]!.host + found[j - 1]!.length);
        });
      }

      // One byte in some windows, and in the last of all: written through one view, read through another.
      const last = memory.bytes.length - 1;
      for (const window of [0, 1, 2, 3, 500, last - 100, last]) {
        const offset = memory.bytes[window]!.length - 1;
        memory.bytes[window]![offset] = 1 + (window % 255);
        assert.equal(viewBytes(memory.hostAddress[window]! + offset, 1)[0], 1 + (window % 255));
      }
      unmap(map);
    }));
});

describe('hostAddressOfUser', () => {
  const regions: MappedRegion[] = [
    { guestAddress: 0, size: 0x1000, userAddress: 0x7f00_0000_0000, hostAddress: 0x10_000 },
    { guestAddress: 0x1000, size: 0x2000, userAddress: 0x7f00_0000_1000, hostAddress: 0x50_000 },
  ];

  it('finds what one region holds whole', () => {
    assert.equal(hostAddressOfUser(regions, 0x7f00_0000_0000, 0x1000), 0x10_000);
    assert.equal(hostAddressOfUser(regions, 0x7f00_0000_0fff, 1), 0x10_fff);
    assert.equal(hostAddressOfUser(regions, 0x7f00_0000_1000, 0x2000), 0x50_000);
    assert.equal(hostAddressOfUser(regions, 0x7f00_0000_2ffe, 2), 0x51_ffe);
  });

  it('finds nothing else', () => {
    for (const [address, length] of [
      [0x7f00_0000_0fff, 2],
      [0x7f00_0000_2fff, 2],
      [0x7f00_0000_0000 - 1, 1],
      [0x7f00_0000_0000 - 1, 2],
      [0, 16],
      [Number(2n ** 64n - 16n), 16],
      [Number.MAX_SAFE_INTEGER, 1],
    ] as const) {
      assert.ok(hostAddressOfUser(regions, address, length) < 0, `${address}, ${length}`);
    }
    assert.ok(hostAddressOfUser([], 0, 1) < 0);
  });
});
