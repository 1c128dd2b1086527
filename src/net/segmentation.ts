import { copyBytes } from '../guest-memory/copy.js';
import { addSums, checksumNotZero, checksumOf, sumBytes } from './checksum.js';
import { readBe16, writeBe16 } from './ethernet.js';
import { FrameLayout, findLayout, IPV6_HEADER_BYTES } from './frame-layout.js';
import { GSO_ECN, GsoType, type NetHeader } from './net-header.js';
import { checkWith, OffloadFault } from './offload-check.js';

/** `next` was given too little room for the segment; nothing has happened. */
export const SEGMENT_NO_ROOM = -1;

/** Byte offsets in an IPv4 header. RFC 791, 3.1 */
const Ipv4 = { TOTAL_LENGTH: 2, ID: 4, FRAGMENT: 6, CHECKSUM: 10, SOURCE: 12 } as const;
/** Byte offset in an IPv6 header. RFC 8200, 3 */
const IPV6_PAYLOAD_LENGTH = 4;
/** Byte offsets in a TCP header. RFC 9293, 3.1 */
const Tcp = { SEQUENCE: 4, ACKNOWLEDGEMENT: 8, OFFSET_FLAGS: 12, WINDOW: 14, CHECKSUM: 16, URGENT: 18 } as const;
/** Flags in the word at `OFFSET_FLAGS`. RFC 9293, 3.1 */
const TcpFlag = { FIN: 0x01, PSH: 0x08, CWR: 0x80 } as const;
/** Byte offsets in a UDP header. RFC 768 */
const Udp = { LENGTH: 4, CHECKSUM: 6 } as const;

/** Every kind of segmentation: whoever asks for it was allowed to. */
const ALL_OFFLOADS = -1;

/**
 * Cuts a large TCP or UDP packet into frames that need nothing more done to them: TSO4, TSO6 and USO in software. What changes
 * from one to the next is computed anew, the rest of the headers is copied and its sums are kept.
 *
 * Made once and used for one frame after the other. Nothing is allocated for a frame or a segment.
 */
export class Segmenter {
  readonly #layout = new FrameLayout();
  #frame: Buffer = Buffer.alloc(0);
  #isTcp = false;
  /** Bytes of headers, of payload in each segment but the last, of payload altogether and as far as it was handed out. */
  #headerBytes = 0;
  #gsoSize = 1;
  #payloadBytes = 0;
  #done = 0;
  /** Number of the next segment. */
  #index = 0;
  #ipId = 0;
  #sequence = 0;
  #offsetFlags = 0;
  /** Sums over what stays the same: IPv4's header; pseudo-header and header above IP. */
  #ipSum = 0;
  #l4Sum = 0;

  /**
   * Takes a frame of `length` bytes, which must stay as it is until its last segment was made. Returns 0, or the fault that
   * `checkOffload` would find; then there are no segments. The header is left as `checkOffload` leaves it.
   *
   * @param frame - private memory: a guest must not be able to change it meanwhile.
   */
  start(frame: Buffer, length: number, header: NetHeader): number {
    this.#payloadBytes = this.#done = 0;
    if (header.gsoType === GsoType.NONE) return OffloadFault.GSO_TYPE_UNKNOWN;
    const layout = this.#layout;
    // It was checked before it got its tag.
    let fault = findLayout(frame, length, layout, 1);
    if (fault === 0) fault = checkWith(layout, header, frame, length, ALL_OFFLOADS);
    if (fault !== 0) return fault;
    this.#frame = frame;
    this.#isTcp = (header.gsoType & ~GSO_ECN) !== GsoType.UDP_L4;
    this.#headerBytes = header.hdrLen;
    this.#gsoSize = header.gsoSize;
    this.#payloadBytes = length - header.hdrLen;
    this.#index = 0;
    if (layout.ipVersion === 4) this.#startIpv4(layout.l3, layout.l4);
    if (this.#isTcp) this.#startTcp(layout.l4, length);
    else this.#startUdp(layout.l4, length);
    return 0;
  }

  /**
   * Puts the next frame at `at`. Returns its bytes, 0 if there are no more, or `SEGMENT_NO_ROOM`.
   *
   * @param into - another buffer than the one that was given to `start`.
   */
  next(into: Buffer, at: number): number {
    const done = this.#done;
    const payloadBytes = Math.min(this.#gsoSize, this.#payloadBytes - done);
    if (payloadBytes <= 0) return 0;
    const headerBytes = this.#headerBytes;
    const byteLength = headerBytes + payloadBytes;
    if (at + byteLength > into.length) return SEGMENT_NO_ROOM;
    copyBytes(this.#frame, 0, into, at, headerBytes);
    copyBytes(this.#frame, headerBytes + done, into, at + headerBytes, payloadBytes);
    // All headers above IP come to an even number of bytes.
    const payloadSum = sumBytes(into, at + headerBytes, at + byteLength);
    const { l3, l4, ipVersion } = this.#layout;
    if (ipVersion === 4) this.#writeIpv4(into, at + l3, byteLength - l3);
    else writeBe16(into, at + l3 + IPV6_PAYLOAD_LENGTH, byteLength - l3 - IPV6_HEADER_BYTES);
    const sum = addSums(this.#l4Sum, payloadSum);
    if (this.#isTcp) this.#writeTcp(into, at + l4, byteLength - l4, sum, done + payloadBytes === this.#payloadBytes);
    else this.#writeUdp(into, at + l4, byteLength - l4, sum);
    this.#done = done + payloadBytes;
    this.#index++;
    return byteLength;
  }

  #startIpv4(l3: number, l4: number): void {
    const frame = this.#frame;
    this.#ipId = readBe16(frame, l3 + Ipv4.ID);
    let sum = sumBytes(frame, l3, l3 + Ipv4.TOTAL_LENGTH);
    sum = addSums(sum, sumBytes(frame, l3 + Ipv4.FRAGMENT, l3 + Ipv4.CHECKSUM));
    this.#ipSum = addSums(sum, sumBytes(frame, l3 + Ipv4.SOURCE, l4));
  }

  #startTcp(l4: number, length: number): void {
    const frame = this.#frame;
    this.#sequence = (readBe16(frame, l4 + Tcp.SEQUENCE) << 16) | readBe16(frame, l4 + Tcp.SEQUENCE + 2);
    this.#offsetFlags = readBe16(frame, l4 + Tcp.OFFSET_FLAGS);
    let sum = pseudoSum(readBe16(frame, l4 + Tcp.CHECKSUM), length - l4);
    sum = addSums(sum, sumBytes(frame, l4, l4 + Tcp.SEQUENCE));
    sum = addSums(sum, sumBytes(frame, l4 + Tcp.ACKNOWLEDGEMENT, l4 + Tcp.OFFSET_FLAGS));
    sum = addSums(sum, sumBytes(frame, l4 + Tcp.WINDOW, l4 + Tcp.CHECKSUM));
    this.#l4Sum = addSums(sum, sumBytes(frame, l4 + Tcp.URGENT, this.#headerBytes));
  }

  #startUdp(l4: number, length: number): void {
    const sum = pseudoSum(readBe16(this.#frame, l4 + Udp.CHECKSUM), length - l4);
    this.#l4Sum = addSums(sum, sumBytes(this.#frame, l4, l4 + Udp.LENGTH));
  }

  /** RFC 6864 lets the ids of whole packets be anything; counting up keeps them apart on paths that cut these up again. */
  #writeIpv4(into: Buffer, ip: number, totalLength: number): void {
    const id = (this.#ipId + this.#index) & 0xffff;
    writeBe16(into, ip + Ipv4.TOTAL_LENGTH, totalLength);
    writeBe16(into, ip + Ipv4.ID, id);
    writeBe16(into, ip + Ipv4.CHECKSUM, checksumOf(addSums(addSums(this.#ipSum, totalLength), id)));
  }

  /** The end of the data is in the last segment, and the answer to congestion is given once. RFC 9293, 3.1; RFC 3168, 6.1.2 */
  #writeTcp(into: Buffer, tcp: number, tcpBytes: number, sumOfRest: number, isLast: boolean): void {
    let offsetFlags = this.#offsetFlags;
    if (!isLast) offsetFlags &= ~(TcpFlag.FIN | TcpFlag.PSH);
    if (this.#index > 0) offsetFlags &= ~TcpFlag.CWR;
    const sequence = this.#sequence + this.#done;
    const high = (sequence >>> 16) & 0xffff;
    const low = sequence & 0xffff;
    writeBe16(into, tcp + Tcp.SEQUENCE, high);
    writeBe16(into, tcp + Tcp.SEQUENCE + 2, low);
    writeBe16(into, tcp + Tcp.OFFSET_FLAGS, offsetFlags);
    const sum = addSums(addSums(addSums(sumOfRest, tcpBytes), addSums(high, low)), offsetFlags);
    writeBe16(into, tcp + Tcp.CHECKSUM, checksumNotZero(sum));
  }

  /** The length counts twice: in the pseudo-header and in the header. */
  #writeUdp(into: Buffer, udp: number, udpBytes: number, sumOfRest: number): void {
    writeBe16(into, udp + Udp.LENGTH, udpBytes);
    writeBe16(into, udp + Udp.CHECKSUM, checksumNotZero(addSums(addSums(sumOfRest, udpBytes), udpBytes)));
  }
}

/**
 * Sum of the pseudo-header without its length. The driver has left the sum with the length of the whole where the checksum goes.
 * It knows better than the packet tells: behind an IPv6 routing header the destination is another. VIRTIO 1.3, 5.1.6.2.1
 */
const pseudoSum = (sum: number, length: number): number => addSums(sum, ~length & 0xffff);
