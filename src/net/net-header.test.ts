import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { GsoType, NetHeader, NetHeaderFlag, readNetHeader, writeNetHeader } from './net-header.js';

describe('the net header', () => {
  it('lies in memory as the standard says', () => {
    const header = new NetHeader();
    Object.assign(header, { flags: 1, gsoType: 0x81, hdrLen: 0x0203, gsoSize: 0x0405 });
    Object.assign(header, { csumStart: 0x0607, csumOffset: 0x0809, numBuffers: 0x0a0b });
    const bytes = Buffer.alloc(16, 0xee);
    writeNetHeader(bytes, 2, header);
    assert.equal(bytes.toString('hex'), 'eeee018103020504070609080b0aeeee');
  });

  it('is read as it was written, at any place', () => {
    check(
      fc.property(fc.uint8Array({ minLength: 30, maxLength: 30 }), fc.nat(18), (random, offset) => {
        const bytes = Buffer.from(random);
        const header = new NetHeader();
        readNetHeader(bytes, offset, header);
        assert.equal(header.gsoSize, bytes.readUInt16LE(offset + 4));
        assert.equal(header.csumOffset, bytes.readUInt16LE(offset + 8));
        const copy = new NetHeader();
        copy.copyFrom(header);
        const written = Buffer.from(random).fill(0, offset, offset + 12);
        writeNetHeader(written, offset, copy);
        assert.ok(written.equals(bytes));
      }),
      300,
    );
  });

  it('is all zero when nothing is asked for', () => {
    const header = new NetHeader();
    readNetHeader(Buffer.alloc(12, 0xff), 0, header);
    header.clear();
    assert.deepEqual(header, new NetHeader());
  });

  it('follows a tag that comes or goes, if it says anything about places', () => {
    const header = new NetHeader();
    header.moveBy(4);
    assert.deepEqual(header, new NetHeader());
    Object.assign(header, { flags: NetHeaderFlag.NEEDS_CSUM, csumStart: 34, csumOffset: 16 });
    header.moveBy(4);
    assert.deepEqual([header.csumStart, header.csumOffset, header.hdrLen], [38, 16, 0]);
    Object.assign(header, { gsoType: GsoType.TCPV4, hdrLen: 58 });
    header.moveBy(-4);
    assert.deepEqual([header.csumStart, header.csumOffset, header.hdrLen], [34, 16, 54]);
  });
});
