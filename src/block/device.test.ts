import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CONFIG_SPACE_BYTES_MAX,
  DATA_SEGMENTS_MAX,
  DISCARD_SECTORS_MAX,
  RANGES_MAX,
  SECURE_ERASE_SECTORS_MAX,
  SEGMENT_BYTES_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from '../limits.js';
import { BlockDevice, type BlockDeviceOptions, BlockDeviceState, CONFIG_BYTES, ConfigOffset } from './device.js';
import { BLOCK_FEATURES } from './features.js';

const SIZE = 10_000 * 512;

type Over = Partial<Omit<BlockDeviceOptions, 'abilities'>> & { abilities?: Partial<BlockDeviceOptions['abilities']> };

function make(over: Over = {}): BlockDevice {
  return new BlockDevice({
    readOnly: false,
    blockBytes: 512,
    queues: 4,
    serial: 'serial',
    writeback: true,
    ...over,
    abilities: {
      sizeBytes: SIZE,
      readOnly: false,
      discard: true,
      writeZeroes: true,
      secureErase: true,
      inOrder: false,
      physicalBlockBytes: 4096,
      ...over.abilities,
    },
  });
}

/** struct virtio_blk_config, as the standard writes it down: fields in order, with their bytes. VIRTIO 1.3, 5.2.4 */
const STRUCT = [
  ['capacity', 8],
  ['size_max', 4],
  ['seg_max', 4],
  ['geometry.cylinders', 2],
  ['geometry.heads', 1],
  ['geometry.sectors', 1],
  ['blk_size', 4],
  ['topology.physical_block_exp', 1],
  ['topology.alignment_offset', 1],
  ['topology.min_io_size', 2],
  ['topology.opt_io_size', 4],
  ['writeback', 1],
  ['unused0', 1],
  ['num_queues', 2],
  ['max_discard_sectors', 4],
  ['max_discard_seg', 4],
  ['discard_sector_alignment', 4],
  ['max_write_zeroes_sectors', 4],
  ['max_write_zeroes_seg', 4],
  ['write_zeroes_may_unmap', 1],
  ['unused1', 3],
  ['max_secure_erase_sectors', 4],
  ['max_secure_erase_seg', 4],
  ['secure_erase_sector_alignment', 4],
  ['zoned.zone_sectors', 4],
  ['zoned.max_open_zones', 4],
  ['zoned.max_active_zones', 4],
  ['zoned.max_append_sectors', 4],
  ['zoned.write_granularity', 4],
  ['zoned.model', 1],
  ['zoned.unused2', 3],
] as const;

type Field = (typeof STRUCT)[number][0];

const offsetOf = (wanted: Field) => {
  const index = STRUCT.findIndex(([name]) => name === wanted);
  return STRUCT.slice(0, index).reduce((sum, [, bytes]) => sum + bytes, 0);
};

/** The bytes of the struct with these fields, and zeros elsewhere. */
function structWith(fields: Partial<Record<Field, number>>): Buffer {
  const bytes = Buffer.alloc(CONFIG_SPACE_BYTES_MAX);
  for (const [name, length] of STRUCT) {
    const value = fields[name];
    if (value !== undefined) bytes.writeUIntLE(value, offsetOf(name), Math.min(length, 6));
  }
  return bytes;
}

const WRITEBACK = offsetOf('writeback');

describe('configuration space', () => {
  const usual = {
    capacity: SIZE / 512,
    size_max: SEGMENT_BYTES_MAX,
    seg_max: DATA_SEGMENTS_MAX,
    blk_size: 512,
    'topology.physical_block_exp': 3,
    'topology.min_io_size': 8,
    writeback: 1,
    num_queues: 4,
    max_discard_sectors: DISCARD_SECTORS_MAX,
    max_discard_seg: RANGES_MAX,
    discard_sector_alignment: 8,
    max_write_zeroes_sectors: WRITE_ZEROES_SECTORS_MAX,
    max_write_zeroes_seg: RANGES_MAX,
    write_zeroes_may_unmap: 1,
    max_secure_erase_sectors: SECURE_ERASE_SECTORS_MAX,
    max_secure_erase_seg: RANGES_MAX,
    secure_erase_sector_alignment: 8,
  } satisfies Partial<Record<Field, number>>;
  const without = (...fields: (keyof typeof usual)[]) =>
    structWith(Object.fromEntries(Object.entries(usual).filter(([name]) => !fields.some((field) => field === name))));
  const discard = ['max_discard_sectors', 'max_discard_seg', 'discard_sector_alignment'] as const;
  const zeroes = ['max_write_zeroes_sectors', 'max_write_zeroes_seg', 'write_zeroes_may_unmap'] as const;
  const erase = ['max_secure_erase_sectors', 'max_secure_erase_seg', 'secure_erase_sector_alignment'] as const;
  const all = (device: BlockDevice) => device.readConfig(0, CONFIG_SPACE_BYTES_MAX);

  it('is the standard’s struct, byte by byte', () => {
    assert.equal(
      CONFIG_BYTES,
      STRUCT.reduce((sum, [, bytes]) => sum + bytes, 0),
    );
    assert.deepEqual(all(make()), structWith(usual));
    for (const [name, offset] of Object.entries(ConfigOffset)) {
      const field = STRUCT.find(([field]) => field.split('.').at(-1) === name.toLowerCase());
      assert.ok(field, name);
      assert.equal(offset, offsetOf(field[0]), name);
    }
  });

  it('says nothing of commands that the device does not have', () => {
    assert.deepEqual(all(make({ abilities: { secureErase: false } })), without(...erase));
    assert.deepEqual(all(make({ abilities: { writeZeroes: false } })), without(...zeroes));
    assert.deepEqual(all(make({ abilities: { discard: false } })), without(...discard, 'write_zeroes_may_unmap'));
    assert.deepEqual(all(make({ readOnly: true })), without(...discard, ...zeroes, ...erase));
  });

  it('follows the options', () => {
    const large = 2 ** 52;
    const other = make({
      blockBytes: 4096,
      queues: 64,
      writeback: false,
      abilities: { sizeBytes: large, physicalBlockBytes: 512 },
    });
    const fields = {
      blk_size: 4096,
      'topology.physical_block_exp': 0,
      'topology.min_io_size': 1,
      num_queues: 64,
      writeback: 0,
    };
    assert.deepEqual(all(other), structWith({ ...usual, ...fields, capacity: large / 512 }));
    assert.equal(make({ blockBytes: 512, abilities: { physicalBlockBytes: 65_536 } }).readConfig(24, 1)[0], 7);
  });

  it('is read at every offset, in every length', () => {
    const device = make();
    const expected = structWith(usual);
    for (let offset = 0; offset <= CONFIG_SPACE_BYTES_MAX; offset++) {
      for (let length = 0; length <= CONFIG_SPACE_BYTES_MAX; length++) {
        const bytes = Buffer.alloc(length);
        expected.copy(bytes, 0, offset, offset + length);
        assert.equal(device.readConfig(offset, length).compare(bytes), 0, `${length} bytes at ${offset}`);
      }
    }
  });

  it('is written nowhere but in the cache mode', () => {
    const device = make();
    device.negotiate(BLOCK_FEATURES.FLUSH | BLOCK_FEATURES.CONFIG_WCE);
    const before = all(device);
    for (let offset = 0; offset < CONFIG_SPACE_BYTES_MAX; offset++) {
      for (const bytes of [[], [0], [1], [2], [255], [0, 0], [0, 0, 0, 0]]) {
        const allowed = offset === WRITEBACK && bytes.length === 1 && bytes[0]! < 2;
        assert.equal(device.writeConfig(offset, Buffer.from(bytes)), allowed, `${bytes} at ${offset}`);
        if (!allowed) assert.equal(all(device).compare(before), 0);
        device.writeConfig(WRITEBACK, Buffer.from([1]));
      }
    }
  });

  it('follows the disk’s size, in whole sectors', () => {
    const device = make();
    const state = new BlockDeviceState(device.shared);
    for (const bytes of [0, 511, 512, SIZE + 513, 2 ** 52]) {
      device.resize(bytes);
      assert.equal(device.readConfig(0, 8).readBigUInt64LE(), BigInt(Math.floor(bytes / 512)));
      assert.equal(device.capacityBytes, Math.floor(bytes / 512) * 512);
      assert.equal(state.capacitySectors, Math.floor(bytes / 512));
    }
  });
});

describe('the serial number', () => {
  const serialOf = (serial: string) =>
    Buffer.from(new BlockDeviceState(make({ serial }).shared).serial).toString('latin1');

  it('is twenty bytes, padded with zeros, without an end if it is as long', () => {
    assert.equal(serialOf(''), '\0'.repeat(20));
    assert.equal(serialOf('disk0'), 'disk0'.padEnd(20, '\0'));
    assert.equal(serialOf('01234567890123456789'), '01234567890123456789');
    assert.equal(serialOf('012345678901234567890'), '01234567890123456789');
  });
});
