import type { FilterFrame } from '../../src/filter/frame-contract.js';
import { FRAME_HEADERS_BYTES_MAX } from '../../src/limits.js';
import { EtherType, isTagType } from '../../src/net/ethernet.js';
import { FrameLayout, findLayout } from '../../src/net/frame-layout.js';

/** A frame for filters, made of its bytes. */
export class BytesFrame implements FilterFrame {
  readonly direction: number;
  readonly fault: number;
  readonly vlan: number;
  readonly etherType: number;
  readonly headBytes: number;
  readonly byteLength: number;
  readonly l3: number;
  readonly l4: number;
  readonly ipVersion: number;
  readonly protocol: number;
  readonly fragment: boolean;
  readonly bytes: Buffer;
  readonly start = 0;

  constructor(bytes: Buffer, direction = 2) {
    this.bytes = bytes;
    this.direction = direction;
    this.byteLength = bytes.length;
    this.headBytes = Math.min(bytes.length, FRAME_HEADERS_BYTES_MAX);
    const layout = new FrameLayout();
    this.fault = findLayout(bytes, bytes.length, layout);
    this.l3 = Math.max(layout.l3, 14);
    this.l4 = Math.max(layout.l4, 14);
    this.ipVersion = layout.ipVersion;
    this.protocol = layout.protocol;
    this.fragment = layout.fragment;
    this.etherType = this.word16(this.l3 - 2);
    this.vlan = isTagType(this.word16(12)) ? this.word16(14) & 0xfff : 0;
  }

  get destinationHigh(): number {
    return this.word16(0);
  }
  get destinationLow(): number {
    return this.word32(2);
  }
  get sourceHigh(): number {
    return this.word16(6);
  }
  get sourceLow(): number {
    return this.word32(8);
  }

  sourceAddress(word: number): number {
    return this.word32(this.l3 + (this.ipVersion === 4 ? 12 : 8 + 4 * word));
  }

  destinationAddress(word: number): number {
    return this.word32(this.l3 + (this.ipVersion === 4 ? 16 : 24 + 4 * word));
  }

  get sourcePort(): number {
    return this.word16(this.l4);
  }
  get destinationPort(): number {
    return this.word16(this.l4 + 2);
  }
  get tcpFlags(): number {
    return this.protocol === 6 && this.l4 + 13 < this.headBytes ? this.byte(this.l4 + 13) : -1;
  }

  get arpOperation(): number {
    if (this.etherType !== EtherType.ARP || this.l3 + 28 > this.headBytes) return -1;
    const usual = this.word32(this.l3) === 0x0001_0800 && this.word16(this.l3 + 4) === 0x0604;
    return usual ? this.word16(this.l3 + 6) : -1;
  }
  get arpSenderHigh(): number {
    return this.word16(this.l3 + 8);
  }
  get arpSenderLow(): number {
    return this.word32(this.l3 + 10);
  }
  get arpSenderAddress(): number {
    return this.word32(this.l3 + 14);
  }
  get arpTargetAddress(): number {
    return this.word32(this.l3 + 24);
  }

  byte(at: number): number {
    return at >= 0 && at < this.headBytes ? this.bytes[at]! : 0;
  }
  word16(at: number): number {
    return at >= 0 && at + 2 <= this.headBytes ? this.bytes.readUInt16BE(at) : 0;
  }
  word32(at: number): number {
    return at >= 0 && at + 4 <= this.headBytes ? this.bytes.readInt32BE(at) : 0;
  }

  copyTo(target: Buffer, at: number, limit: number): number {
    return this.bytes.copy(target, at, 0, limit);
  }
  drop(): void {}
  defer(): number {
    return -1;
  }
  copy(): number {
    return -1;
  }
}
