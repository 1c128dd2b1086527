import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { EXTENSION_HEADERS_MAX, FRAME_HEADERS_BYTES_MAX } from '../limits.js';
import { FrameLayout, findLayout, LayoutFault } from './frame-layout.js';
import { buildPacket, plans } from './packets.test.js';

const layout = new FrameLayout();

/** Ethernet, and what follows the type as hexadecimal digits. */
const frameOf = (type: number, ...parts: string[]): Buffer => {
  const frame = Buffer.concat([Buffer.alloc(14), Buffer.from(parts.join(''), 'hex')]);
  frame.writeUInt16BE(type, 12);
  return frame;
};
/** IPv6 with a first next header, and so many bytes of payload. */
const ipv6 = (next: string, payload: number) =>
  `60000000${payload.toString(16).padStart(4, '0')}${next}40${'fd'.repeat(32)}`;

describe('findLayout', () => {
  it('finds the headers of any packet', () => {
    check(
      fc.property(plans(100), (plan) => {
        const { frame, l3, l4 } = buildPacket(plan);
        assert.equal(findLayout(frame, frame.length, layout), 0);
        assert.deepEqual(
          { ...layout },
          {
            l3,
            l4,
            ipVersion: plan.version,
            protocol: plan.tcp ? 6 : 17,
            fragment: false,
            ipBytes: plan.lengthUnsaid ? 0 : frame.length - l3,
            headersBytesMax: FRAME_HEADERS_BYTES_MAX,
          },
        );
      }),
      500,
    );
  });

  it('says of a frame that is cut short that it is, wherever', () => {
    check(
      fc.property(plans(100), fc.nat(), (plan, cut) => {
        const { frame, l4 } = buildPacket(plan);
        const length = cut % l4;
        assert.equal(findLayout(frame, length, layout), LayoutFault.TRUNCATED);
        assert.equal(findLayout(frame.subarray(0, length), length, layout), LayoutFault.TRUNCATED);
        // There is more of it, but we have not got it.
        if (length >= 18 + 4) {
          const fault = findLayout(frame.subarray(0, length), frame.length, layout);
          assert.equal(fault, LayoutFault.HEADERS_EXCEEDED);
        }
      }),
      500,
    );
  });

  it('looks no further than it may', () => {
    const frame = frameOf(0x86dd, ipv6('3c', 1000), `06${'1c'}`, '00'.repeat(1000));
    assert.equal(findLayout(frame, frame.length, layout), LayoutFault.HEADERS_EXCEEDED);
    assert.ok(frame.length > FRAME_HEADERS_BYTES_MAX);
    frame[14 + 41] = 24;
    assert.equal(findLayout(frame, frame.length, layout), 0);
    assert.equal(layout.l4, 14 + 40 + 200);
  });

  it('follows only so many extension headers', () => {
    const chain = (count: number) =>
      frameOf(0x86dd, ipv6('3c', 400), '3c00000000000000'.repeat(count - 1), '0600000000000000', '00'.repeat(40));
    let frame = chain(EXTENSION_HEADERS_MAX);
    assert.equal(findLayout(frame, frame.length, layout), 0);
    assert.deepEqual([layout.protocol, layout.l4], [6, 54 + 8 * EXTENSION_HEADERS_MAX]);
    frame = chain(EXTENSION_HEADERS_MAX + 1);
    assert.equal(findLayout(frame, frame.length, layout), LayoutFault.HEADERS_EXCEEDED);
  });

  it('sees fragments, and no header in the later ones', () => {
    const first = frameOf(0x86dd, ipv6('2c', 100), '0600000100000001', '00'.repeat(92));
    assert.equal(findLayout(first, first.length, layout), 0);
    assert.deepEqual([layout.fragment, layout.protocol, layout.l4], [true, 6, 62]);
    const later = frameOf(0x86dd, ipv6('2c', 100), '0000000800000001', 'ff'.repeat(92));
    assert.equal(findLayout(later, later.length, layout), 0);
    assert.deepEqual([layout.fragment, layout.protocol, layout.l4], [true, -1, 62]);
    for (const [word, protocol] of [
      ['2000', 17],
      ['0001', -1],
      ['2001', -1],
    ] as const) {
      const frame = frameOf(0x0800, `450000280001${word}4011000001020304050607080000000000000000`);
      assert.equal(findLayout(frame, frame.length, layout), 0);
      assert.deepEqual([layout.fragment, layout.protocol], [true, protocol]);
    }
  });

  it('refuses headers that contradict themselves', () => {
    const rest = '00002800010000401100000102030405060708000000000000000000000000';
    for (const first of ['44', '40', '65', '55', '05']) {
      const frame = frameOf(0x0800, first, rest);
      assert.equal(findLayout(frame, frame.length, layout), LayoutFault.HEADER_INVALID, first);
    }
    const frame = frameOf(0x86dd, ipv6('06', 20).replace(/^6/, '4'), '00'.repeat(20));
    assert.equal(findLayout(frame, frame.length, layout), LayoutFault.HEADER_INVALID);
  });

  it('leaves what is not IP alone, and a third tag', () => {
    for (const frame of [
      frameOf(0x0806, '00'.repeat(28)),
      frameOf(0x0040, '00'.repeat(64)),
      frameOf(0x88a8, '00058100000681000007', '0800'),
    ]) {
      assert.equal(findLayout(frame, frame.length, layout), 0);
      assert.deepEqual([layout.ipVersion, layout.protocol, layout.l4], [0, -1, layout.l3]);
    }
    assert.equal(layout.l3, 22);
  });

  it('never reads past the end, whatever the bytes', () => {
    const bytes = fc.uint8Array({ maxLength: 300, size: 'max' });
    const types = fc.constantFrom(0x0800, 0x86dd, 0x8100, 0x88a8);
    check(
      fc.property(bytes, types, types, fc.constantFrom(0x45, 0x4f, 0x60, 0), (random, type, inner, version) => {
        const frame = Buffer.from(random);
        if (frame.length >= 14) frame.writeUInt16BE(type, 12);
        if (frame.length >= 18 && type >= 0x8100 && type !== 0x86dd) frame.writeUInt16BE(inner, 16);
        const at = type === 0x0800 || type === 0x86dd ? 14 : 18;
        if (frame.length > at && version !== 0) frame[at] = version;
        const fault = findLayout(frame, frame.length, layout);
        if (fault === 0) assert.ok(layout.l3 <= layout.l4 && layout.l4 <= Math.min(frame.length, 256));
        assert.ok(Number.isInteger(layout.l4) && Number.isInteger(layout.protocol));
      }),
      2000,
    );
  });
});
