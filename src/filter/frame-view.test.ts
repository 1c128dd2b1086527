import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { FRAME_HEADERS_BYTES_MAX } from '../limits.js';
import { Frame } from '../net/frame.js';
import { LayoutFault } from '../net/frame-layout.js';
import { StagingMemory } from '../net/staging-memory.js';
import { FrameDirection } from './frame-contract.js';
import { FrameView } from './frame-view.js';

const memory = new StagingMemory();
const frame = new Frame();

/** A frame as filters see it. */
function viewOf(bytes: Buffer, direction: number = FrameDirection.OUTBOUND): FrameView {
  bytes.copy(memory.buffer);
  memory.describe(0, bytes.length, frame);
  frame.header.clear();
  const view = new FrameView();
  view.look(frame, direction, 5, 5);
  return view;
}

const hex = (...parts: string[]) => Buffer.from(parts.join('').replaceAll(' ', ''), 'hex');
const ETHERNET = '525400000002 fe5400000001';
const IPV4 = (protocol: string, fragment = '0000') => `45000028 0000${fragment} 40${protocol}0000 c0a80001 f0000002`;
const TCP = '03e80050 00000000 00000000 5012ffff 00000000';

describe('a frame as filters see it', () => {
  it('has addresses, ports and flags, 32 bits of them signed', () => {
    const view = viewOf(hex(ETHERNET, '0800', IPV4('06'), TCP));
    assert.deepEqual([view.destinationHigh, view.destinationLow], [0x5254, 2]);
    assert.deepEqual([view.sourceHigh, view.sourceLow], [0xfe54, 1]);
    assert.deepEqual([view.etherType, view.l3, view.l4, view.vlan], [0x0800, 14, 34, 5]);
    assert.deepEqual([view.ipVersion, view.protocol, view.fragment, view.fault], [4, 6, false, 0]);
    assert.equal(view.sourceAddress(0), 0xc0a80001 | 0);
    assert.equal(view.destinationAddress(0), 0xf0000002 | 0);
    assert.equal(view.sourceAddress(1), 0);
    assert.deepEqual([view.sourcePort, view.destinationPort, view.tcpFlags], [1000, 80, 0x12]);
    assert.equal(view.arpOperation, -1);
    assert.deepEqual([view.byte(0), view.word16(12), view.word32(26)], [0x52, 0x0800, 0xc0a80001 | 0]);
    assert.deepEqual([view.byte(54), view.byte(-1), view.word16(53), view.word32(51)], [0, 0, 0, 0]);
  });

  it('has them behind tags, and of IPv6 behind extension headers', () => {
    const tagged = viewOf(hex(ETHERNET, '88a80007 81000008 0800', IPV4('11'), '00350036 00140000'));
    assert.deepEqual([tagged.etherType, tagged.l3, tagged.sourcePort, tagged.tcpFlags], [0x0800, 22, 53, -1]);
    const words = '20010db8 00000001 00000002 80000003';
    const six = viewOf(hex(ETHERNET, '86dd', '60000000 001c 00 40', words, words, '0600000000000000', TCP));
    assert.deepEqual([six.ipVersion, six.protocol, six.l4, six.destinationPort], [6, 6, 62, 80]);
    assert.deepEqual(
      [0, 1, 2, 3, 4, -1].map((word) => six.sourceAddress(word)),
      [0x20010db8, 1, 2, 0x80000003 | 0, 0, 0],
    );
  });

  it('has no ports in later fragments, nor where they are cut off', () => {
    const later = viewOf(hex(ETHERNET, '0800', IPV4('11', '0001'), '00350036'));
    assert.deepEqual([later.protocol, later.fragment, later.sourcePort, later.destinationPort], [-1, true, -1, -1]);
    const first = viewOf(hex(ETHERNET, '0800', IPV4('11', '2000'), '00350036'));
    assert.deepEqual([first.protocol, first.fragment, first.sourcePort], [17, true, 53]);
    const short = viewOf(hex(ETHERNET, '0800', IPV4('06'), '0035'));
    assert.deepEqual([short.protocol, short.sourcePort, short.tcpFlags, short.fault], [6, -1, -1, 0]);
    const cut = viewOf(hex(ETHERNET, '0800', '45000028'));
    assert.deepEqual([cut.ipVersion, cut.fault, cut.protocol], [0, LayoutFault.TRUNCATED, -1]);
  });

  it('has what an ARP says', () => {
    const arp = viewOf(
      hex('ffffffffffff fe5400000001 0806', '0001 0800 06 04 0001', 'fe5499999999 c0a80001', '000000000000 0a000001'),
    );
    assert.equal(arp.arpOperation, 1);
    assert.deepEqual([arp.arpSenderHigh, arp.arpSenderLow], [0xfe54, 0x99999999 | 0]);
    assert.deepEqual([arp.arpSenderAddress, arp.arpTargetAddress], [0xc0a80001 | 0, 0x0a000001]);
    const odd = viewOf(hex(ETHERNET, '0806', '0001 0800 06 03 0001', '00'.repeat(20)));
    assert.deepEqual([odd.arpOperation, odd.arpSenderHigh, odd.arpSenderAddress], [-1, 0, 0]);
  });

  it('throws nothing, whatever it is, and shows the bytes that are there', () => {
    const bytes = fc.uint8Array({ minLength: 14, maxLength: 400 }).map((array) => Buffer.from(array));
    // Mostly such as headers begin with.
    const likely = fc
      .tuple(
        fc.constantFrom('0800', '86dd', '0806', '81000001', '8100000188a80002', '810000018100000281000003'),
        fc.constantFrom('45', '4f', '60', '46', ''),
        bytes,
      )
      .map(([type, start, rest]) => Buffer.concat([hex(ETHERNET, type, start), rest]));
    check(
      fc.property(fc.oneof(bytes, likely), fc.constantFrom(1, 2), (whole, direction) => {
        const view = viewOf(whole, direction);
        const { fault, etherType, l3, l4, ipVersion, protocol, fragment, sourcePort, destinationPort, tcpFlags } = view;
        assert.ok(
          [etherType, l3, l4, ipVersion, protocol, sourcePort, destinationPort, tcpFlags, fault].every(
            Number.isInteger,
          ),
        );
        assert.equal(typeof fragment, 'boolean');
        assert.ok(l3 >= 14 && l4 >= l3);
        if (fault !== 0) assert.equal(ipVersion, 0);
        for (let word = 0; word < 4; word++)
          assert.ok(Number.isInteger(view.sourceAddress(word) + view.destinationAddress(word)));
        for (const value of [
          view.arpOperation,
          view.arpSenderHigh,
          view.arpSenderLow,
          view.arpSenderAddress,
          view.arpTargetAddress,
        ])
          assert.ok(Number.isInteger(value));
        assert.equal(view.headBytes, Math.min(whole.length, FRAME_HEADERS_BYTES_MAX));
        for (let at = 0; at < view.headBytes; at++) assert.equal(view.byte(at), whole[at]);
        const copy = Buffer.alloc(500);
        assert.equal(view.copyTo(copy, 3, 1000), Math.min(whole.length, 497));
        assert.ok(copy.subarray(3, 3 + whole.length).equals(whole));
      }),
      300,
    );
  });
});
