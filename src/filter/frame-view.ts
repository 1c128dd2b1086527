import { EthernetOffset, EtherType, macHigh, macLow, readBe16, TAG_TYPE_LE } from '../net/ethernet.js';
import { type Frame, PREFIX_BYTES_MAX } from '../net/frame.js';
import type { FrameBurst } from '../net/frame-burst.js';
import { FrameLayout, findLayout, IpProtocol } from '../net/frame-layout.js';
import { vlanOf } from '../net/vlan.js';
import { type FilterFrame, FrameDirection, type NextFrame, NO_TOKEN } from './frame-contract.js';
import { DCCP, SCTP, UDP_LITE } from './frame-protocols.js';

/** What became of a frame at a filter. */
export const FrameVerdict = {
  /** The filter has it, and has not said anything. */
  ASKED: 0,
  /** It goes on. */
  PASSED: 1,
  /** It ends here: the filter has said so, or nothing. */
  DROPPED: 2,
  /** The filter keeps it. */
  DEFERRED: 3,
  /** No filter is asked. */
  CLOSED: 4,
} as const;

/** Offsets in the headers of IP, bytes. RFC 791, 3.1; RFC 8200, 3 */
const IPV4_SOURCE = 12;
const IPV4_DESTINATION = 16;
const IPV6_SOURCE = 8;
const IPV6_DESTINATION = 24;
const TCP_FLAGS = 13;

/** Offsets in ARP, and its first words for IPv4 over Ethernet: kinds of address and their lengths. RFC 826 */
const ArpOffset = { OPERATION: 6, SENDER_MAC: 8, SENDER_ADDRESS: 14, TARGET_ADDRESS: 24 } as const;
const ARP_BYTES = 28;
const ARP_ETHERNET_IPV4 = [0x0001_0800, 0x0604] as const;

/** Keeps copies of frames for one filter; gives tokens. */
export interface FrameKeeper {
  /** Returns a token, or `NO_TOKEN`. */
  keep(view: FrameView): number;
}

/** A frame on its way through a chain, as its filters see it: made once, and pointed at one frame after the other. */
export class FrameView implements FilterFrame {
  direction: number = FrameDirection.OUTBOUND;
  byteLength = 0;
  headBytes = 0;
  vlan = 0;
  /** Of `FrameVerdict`; the number of the filter that has it. The chain's, as all that follows. */
  verdict: number = FrameVerdict.CLOSED;
  stage = 0;
  /** Private memory in which it begins at `start`: its head, or all of it if `frame` is undefined. */
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  frame: Frame | undefined = undefined;
  /** Of its sender. */
  pair = 0;
  /** VLAN that frames of its burst are in without a tag. */
  native = 0;
  /** It is a frame of this, if `frame` is undefined. */
  #burst: FrameBurst | undefined = undefined;
  #index = 0;
  #parsed = false;
  #fault = 0;
  readonly #layout = new FrameLayout();
  readonly #keepers: readonly (FrameKeeper | undefined)[];

  /** @param keepers - by number of the filter: who keeps frames for it */
  constructor(keepers: readonly (FrameKeeper | undefined)[] = []) {
    this.#keepers = keepers;
  }

  /** Looks at a frame, whose headers are private from here on. */
  look(frame: Frame, direction: number, vlan: number, native: number): void {
    frame.privatise();
    this.#parsed = false;
    this.direction = direction;
    this.vlan = vlan;
    this.native = native;
    this.frame = frame;
    this.pair = frame.pair;
    this.bytes = frame.prefix;
    this.start = frame.prefixStart;
    this.headBytes = frame.prefixBytes;
    this.byteLength = frame.byteLength;
  }

  /** Is going to look at frames of a private burst. */
  turnTo(burst: FrameBurst, direction: number): void {
    this.direction = direction;
    this.native = burst.native;
    this.frame = undefined;
    this.#burst = burst;
    this.pair = burst.pair;
    this.bytes = burst.memory.bytes[0]!;
  }

  /** Looks at one of them. */
  lookAt({ chains, head, native }: FrameBurst, index: number): void {
    this.#parsed = false;
    this.#index = index;
    const length = chains.length[index]!;
    this.start = chains.offset[index]!;
    this.byteLength = length;
    this.headBytes = length < PREFIX_BYTES_MAX ? length : PREFIX_BYTES_MAX;
    const last = head[4 * index + 3]!;
    const id = (last & 0xffff) === TAG_TYPE_LE ? ((last >>> 8) & 0xf00) | (last >>> 24) : 0;
    this.vlan = id === 0 ? vlanOf(native) : id;
  }

  /** The frame that it looks at, which is made of one of a burst. */
  describe(into: Frame): Frame {
    return this.frame ?? this.#burst!.frame(this.#index, into);
  }

  get destinationHigh(): number {
    return macHigh(this.bytes, this.start + EthernetOffset.DESTINATION);
  }

  get destinationLow(): number {
    return macLow(this.bytes, this.start + EthernetOffset.DESTINATION);
  }

  get sourceHigh(): number {
    return macHigh(this.bytes, this.start + EthernetOffset.SOURCE);
  }

  get sourceLow(): number {
    return macLow(this.bytes, this.start + EthernetOffset.SOURCE);
  }

  get etherType(): number {
    return readBe16(this.bytes, this.start + this.#look().l3 - 2);
  }

  get fault(): number {
    this.#look();
    return this.#fault;
  }

  get l3(): number {
    return this.#look().l3;
  }

  get l4(): number {
    return this.#look().l4;
  }

  get ipVersion(): number {
    return this.#look().ipVersion;
  }

  get protocol(): number {
    return this.#look().protocol;
  }

  get fragment(): boolean {
    return this.#look().fragment;
  }

  sourceAddress(word: number): number {
    const { ipVersion, l3 } = this.#look();
    if (ipVersion === 4) return word === 0 ? macLowAt(this.bytes, this.start + l3 + IPV4_SOURCE) : 0;
    if (ipVersion !== 6 || word >>> 0 > 3) return 0;
    return macLowAt(this.bytes, this.start + l3 + IPV6_SOURCE + 4 * word);
  }

  destinationAddress(word: number): number {
    const { ipVersion, l3 } = this.#look();
    if (ipVersion === 4) return word === 0 ? macLowAt(this.bytes, this.start + l3 + IPV4_DESTINATION) : 0;
    if (ipVersion !== 6 || word >>> 0 > 3) return 0;
    return macLowAt(this.bytes, this.start + l3 + IPV6_DESTINATION + 4 * word);
  }

  get sourcePort(): number {
    return this.#port(0);
  }

  get destinationPort(): number {
    return this.#port(2);
  }

  get tcpFlags(): number {
    const { protocol, l4 } = this.#look();
    if (protocol !== IpProtocol.TCP || l4 + TCP_FLAGS >= this.headBytes) return -1;
    return this.bytes[this.start + l4 + TCP_FLAGS]!;
  }

  get arpOperation(): number {
    const { l3 } = this.#look();
    const at = this.start + l3;
    if (l3 === 0 || l3 + ARP_BYTES > this.headBytes || readBe16(this.bytes, at - 2) !== EtherType.ARP) return -1;
    if (macLowAt(this.bytes, at) !== ARP_ETHERNET_IPV4[0] || readBe16(this.bytes, at + 4) !== ARP_ETHERNET_IPV4[1])
      return -1;
    return readBe16(this.bytes, at + ArpOffset.OPERATION);
  }

  get arpSenderHigh(): number {
    return this.arpOperation < 0 ? 0 : macHigh(this.bytes, this.start + this.#layout.l3 + ArpOffset.SENDER_MAC);
  }

  get arpSenderLow(): number {
    return this.arpOperation < 0 ? 0 : macLow(this.bytes, this.start + this.#layout.l3 + ArpOffset.SENDER_MAC);
  }

  get arpSenderAddress(): number {
    return this.arpOperation < 0 ? 0 : macLowAt(this.bytes, this.start + this.#layout.l3 + ArpOffset.SENDER_ADDRESS);
  }

  get arpTargetAddress(): number {
    return this.arpOperation < 0 ? 0 : macLowAt(this.bytes, this.start + this.#layout.l3 + ArpOffset.TARGET_ADDRESS);
  }

  byte(at: number): number {
    return at >= 0 && at < this.headBytes ? this.bytes[this.start + at]! : 0;
  }

  word16(at: number): number {
    return at >= 0 && at + 2 <= this.headBytes ? readBe16(this.bytes, this.start + at) : 0;
  }

  word32(at: number): number {
    return at >= 0 && at + 4 <= this.headBytes ? macLowAt(this.bytes, this.start + at) : 0;
  }

  copyTo(target: Buffer, at: number, limit: number): number {
    const bytes = Math.max(0, Math.min(limit, this.byteLength, target.length - at));
    if (this.frame !== undefined) return bytes === 0 ? 0 : this.frame.copyTo(target, at, bytes);
    return this.bytes.copy(target, at, this.start, this.start + bytes);
  }

  /** Throws if nobody is asked about a frame, or has said already what becomes of it. */
  requireAsked(): void {
    if (this.verdict !== FrameVerdict.ASKED) throw new Error(NOT_ASKED);
  }

  drop(): void {
    this.requireAsked();
    this.verdict = FrameVerdict.DROPPED;
  }

  defer(): number {
    const token = this.copy();
    if (token !== NO_TOKEN) this.verdict = FrameVerdict.DEFERRED;
    return token;
  }

  copy(): number {
    this.requireAsked();
    const keeper = this.#keepers[this.stage];
    if (keeper === undefined) throw new Error('only a filter that says `defers: true` keeps frames');
    return keeper.keep(this);
  }

  /** Finds the headers, once for each frame. */
  #look(): FrameLayout {
    const layout = this.#layout;
    if (this.#parsed) return layout;
    this.#parsed = true;
    // What it may have got on its way to this port is a tag.
    const tagsAdded = this.direction === FrameDirection.INBOUND ? 1 : 0;
    this.#fault = findLayout(this.bytes, this.byteLength, layout, tagsAdded, this.start);
    if (layout.l3 === 0) layout.l3 = layout.l4 = EthernetOffset.TYPE + 2;
    return layout;
  }

  #port(offset: number): number {
    const { protocol, l4 } = this.#look();
    const known =
      protocol === IpProtocol.TCP ||
      protocol === IpProtocol.UDP ||
      protocol === SCTP ||
      protocol === DCCP ||
      protocol === UDP_LITE;
    return known && l4 + 4 <= this.headBytes ? readBe16(this.bytes, this.start + l4 + offset) : -1;
  }
}

/** A number of 32 bits in network order, signed. */
const macLowAt = (bytes: Buffer, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;

const NOT_ASKED = 'the frame is not this filter’s to pass on, keep or end: it has done so, or it was not asked';

/** `next` of all filters: one function, so that calls of it stay monomorphic. */
export const passFrameOn: NextFrame = (frame: FilterFrame): void => {
  const view = frame as FrameView;
  if (view.verdict !== FrameVerdict.ASKED) throw new Error(NOT_ASKED);
  view.verdict = FrameVerdict.PASSED;
};
