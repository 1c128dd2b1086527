import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import {
  formatMac,
  insertTag,
  isBroadcast,
  isGroup,
  isStation,
  macHigh,
  macLow,
  parseMac,
  removeTag,
  TAG_TYPE_LE,
  writeMac,
} from './ethernet.js';

const macs = fc.uint8Array({ minLength: 6, maxLength: 6 });
const text = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

describe('MAC addresses', () => {
  it('are the same as bytes, numbers and text', () => {
    check(
      fc.property(macs, (bytes) => {
        const high = macHigh(Buffer.from(bytes), 0);
        const low = macLow(Buffer.from(bytes), 0);
        assert.equal(formatMac(high, low), text(bytes));
        assert.equal(formatMac(high, low >>> 0), text(bytes));
        assert.deepEqual(parseMac(text(bytes)), { high, low });
        assert.deepEqual(parseMac(text(bytes).toUpperCase().replaceAll(':', '-')), { high, low });
        const written = Buffer.alloc(8, 0xee);
        writeMac(written, 1, high, low);
        assert.deepEqual([...written], [0xee, ...bytes, 0xee]);
      }),
      500,
    );
  });

  it('are not read from other texts', () => {
    for (const wrong of [
      '',
      '52:54:00:12:34',
      '52:54:00:12:34:5',
      '52:54:00:12:34:56:78',
      '52:54:00:12:34:5g',
      '525400123456',
      '52:54-00:12:34:56',
      ' 52:54:00:12:34:56',
      '52:54:00:12:34:56\n',
    ]) {
      assert.equal(parseMac(wrong), undefined, wrong);
    }
  });

  it('are of stations, groups or everybody', () => {
    const of = (address: string) => {
      const { high, low } = parseMac(address)!;
      return [isStation(high, low), isGroup(high), isBroadcast(high, low)];
    };
    assert.deepEqual(of('52:54:00:12:34:56'), [true, false, false]);
    assert.deepEqual(of('00:00:00:00:00:01'), [true, false, false]);
    assert.deepEqual(of('00:00:80:00:00:00'), [true, false, false]);
    assert.deepEqual(of('00:01:00:00:00:00'), [true, false, false]);
    assert.deepEqual(of('00:00:00:00:00:00'), [false, false, false]);
    assert.deepEqual(of('01:00:5e:00:00:fb'), [false, true, false]);
    assert.deepEqual(of('ff:ff:ff:ff:ff:fe'), [false, true, false]);
    assert.deepEqual(of('ff:ff:ff:ff:ff:ff'), [false, true, true]);
    assert.ok(isBroadcast(0xffff, 0xffff_ffff));
  });
});

describe('the header of a frame', () => {
  const frames = fc.record({
    before: fc.nat(9),
    addresses: fc.uint8Array({ minLength: 12, maxLength: 12 }),
    control: fc.integer({ min: 0, max: 0xffff }),
    rest: fc.uint8Array({ minLength: 2, maxLength: 40 }),
  });

  it('gets a tag and loses it', () => {
    check(
      fc.property(frames, ({ before, addresses, control, rest }) => {
        const plain = Buffer.from([...addresses, ...rest]);
        const room = Buffer.concat([Buffer.alloc(before + 4), plain]);
        assert.equal(insertTag(room, before + 4, control & 0xfff, control >>> 12), before);
        const tag = [0x81, 0x00, control >>> 8, control & 0xff];
        assert.deepEqual([...room.subarray(before)], [...addresses, ...tag, ...rest]);
        assert.equal(room.readUInt16LE(before + 12), TAG_TYPE_LE);
        assert.equal(removeTag(room, before), before + 4);
        assert.ok(room.subarray(before + 4).equals(plain));
      }),
      500,
    );
  });
});
