import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openMemory } from './backends/memory/open.js';
import { openNull } from './backends/null/open.js';
import { BlockDevice, type BlockDeviceOptions, BlockDeviceState } from './device.js';
import { BLOCK_FEATURES, RequestType, SECTOR_BYTES, SERIAL_BYTES, Status } from './features.js';

const bits = (...numbers: number[]) => numbers.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);

const INDIRECT_DESC = 28;
const EVENT_IDX = 29;
const PROTOCOL_FEATURES = 30;
const VERSION_1 = 32;
const RING_PACKED = 34;
const SIZE_MAX = 1;
const SEG_MAX = 2;
const RO = 5;
const BLK_SIZE = 6;
const FLUSH = 9;
const TOPOLOGY = 10;
const CONFIG_WCE = 11;
const MQ = 12;
const DISCARD = 13;
const WRITE_ZEROES = 14;
const SECURE_ERASE = 16;
const ALWAYS = [
  SIZE_MAX,
  SEG_MAX,
  BLK_SIZE,
  FLUSH,
  TOPOLOGY,
  CONFIG_WCE,
  INDIRECT_DESC,
  EVENT_IDX,
  PROTOCOL_FEATURES,
  VERSION_1,
  RING_PACKED,
];

function make(readOnly: boolean, queues: number, commands = 0, writeback = true): BlockDevice {
  const abilities: BlockDeviceOptions['abilities'] = {
    sizeBytes: 2 ** 20,
    readOnly,
    discard: (commands & 1) !== 0,
    writeZeroes: (commands & 2) !== 0,
    secureErase: (commands & 4) !== 0,
    inOrder: false,
    physicalBlockBytes: 512,
  };
  return new BlockDevice({ abilities, readOnly, queues, blockBytes: 512, serial: '', writeback });
}

describe('block features', () => {
  it('are numbered as in the standard', () => {
    assert.deepEqual(BLOCK_FEATURES, {
      SIZE_MAX: bits(1),
      SEG_MAX: bits(2),
      RO: bits(5),
      BLK_SIZE: bits(6),
      FLUSH: bits(9),
      TOPOLOGY: bits(10),
      CONFIG_WCE: bits(11),
      MQ: bits(12),
      DISCARD: bits(13),
      WRITE_ZEROES: bits(14),
      SECURE_ERASE: bits(16),
    });
    assert.deepEqual(RequestType, {
      IN: 0,
      OUT: 1,
      FLUSH: 4,
      GET_ID: 8,
      DISCARD: 11,
      WRITE_ZEROES: 13,
      SECURE_ERASE: 14,
    });
    assert.deepEqual(Status, { OK: 0, IOERR: 1, UNSUPP: 2 });
    assert.equal(SECTOR_BYTES, 512);
    assert.equal(SERIAL_BYTES, 20);
  });

  it('are offered as the disk can, and none besides', () => {
    for (const queues of [1, 2, 64]) {
      const always = bits(...ALWAYS, ...(queues > 1 ? [MQ] : []));
      assert.equal(make(true, queues, 7).offeredFeatures, always | bits(RO));
      for (let commands = 0; commands < 8; commands++) {
        const ranged = [DISCARD, WRITE_ZEROES, SECURE_ERASE].filter((_, i) => (commands & (1 << i)) !== 0);
        assert.equal(make(false, queues, commands).offeredFeatures, always | bits(...ranged));
      }
    }
  });

  it('promise order only where everything is answered at once', () => {
    const IN_ORDER = bits(35);
    for (const { abilities } of [openMemory({ type: 'memory', size: 4096 }), openNull({ type: 'null', size: 4096 })]) {
      const device = new BlockDevice({
        abilities,
        readOnly: false,
        queues: 1,
        blockBytes: 512,
        serial: '',
        writeback: true,
      });
      assert.equal(device.offeredFeatures & IN_ORDER, IN_ORDER);
    }
    assert.equal(make(false, 1, 7).offeredFeatures & IN_ORDER, 0n);
  });

  it('reach the requests as they were negotiated', () => {
    const device = make(false, 4, 7);
    const state = new BlockDeviceState(device.shared);
    for (const features of [device.offeredFeatures, bits(VERSION_1), bits(VERSION_1, DISCARD), bits(31, 13), 0n]) {
      device.negotiate(features);
      assert.equal(BigInt.asUintN(32, BigInt(state.features)), features & 0xffff_ffffn);
    }
    device.negotiate(device.offeredFeatures);
    device.reset();
    assert.equal(state.features, 0);
  });
});

describe('the cache mode', () => {
  const WRITEBACK = 32;
  const read = (device: BlockDevice) => device.readConfig(WRITEBACK, 1)[0];
  const write = (device: BlockDevice, mode: number) => device.writeConfig(WRITEBACK, Buffer.from([mode]));

  for (const writeback of [true, false]) {
    it(`follows what was negotiated, with write${writeback ? 'back' : '-through'} at first`, () => {
      const device = make(false, 1, 0, writeback);
      const state = new BlockDeviceState(device.shared);
      const negotiate = (...features: number[]) => {
        device.reset();
        assert.equal(state.writeThrough, true, 'a device without a driver keeps something volatile');
        device.negotiate(bits(VERSION_1, ...features));
      };

      // The driver cannot flush: what is complete must be durable.
      negotiate();
      assert.equal(state.writeThrough, true);

      // The driver flushes, and assumes that it must; the configuration may promise more.
      negotiate(FLUSH);
      assert.equal(state.writeThrough, !writeback);

      // The driver chooses.
      negotiate(FLUSH, CONFIG_WCE);
      assert.equal(read(device), writeback ? 1 : 0);
      assert.equal(state.writeThrough, !writeback);
      for (const mode of [0, 1, 0, 0, 1]) {
        assert.equal(write(device, mode), true);
        assert.equal(read(device), mode);
        assert.equal(state.writeThrough, mode === 0);
      }

      // It could choose and cannot flush: "the device MUST initialize writeback to 0". 5.2.5.2
      negotiate(CONFIG_WCE);
      assert.equal(read(device), 0);
      assert.equal(state.writeThrough, true);
    });
  }

  it('is not changed by writes of a driver that may not choose', () => {
    const device = make(false, 1);
    const state = new BlockDeviceState(device.shared);
    device.negotiate(bits(FLUSH));
    for (const mode of [0, 1]) {
      write(device, mode);
      assert.equal(state.writeThrough, false);
    }
    device.negotiate(0n);
    for (const mode of [0, 1]) {
      write(device, mode);
      assert.equal(state.writeThrough, true);
    }
  });

  it('stays as chosen when the same features are set again, as at a live migration', () => {
    const device = make(false, 1);
    const state = new BlockDeviceState(device.shared);
    device.negotiate(bits(FLUSH, CONFIG_WCE));
    write(device, 0);
    device.negotiate(bits(FLUSH, CONFIG_WCE));
    assert.equal(read(device), 0);
    assert.equal(state.writeThrough, true);
  });

  it('is back to what it was when the device is reset', () => {
    const device = make(false, 1);
    device.negotiate(bits(FLUSH, CONFIG_WCE));
    write(device, 0);
    device.reset();
    assert.equal(read(device), 1);
    device.negotiate(bits(CONFIG_WCE));
    device.reset();
    assert.equal(read(device), 1);
  });
});
