import type { z } from 'zod';
import type { BlockFilterManager, Counter } from './contract.js';
import type { Histogram } from './histogram.js';

/** Which way a frame goes, as its guest sees it: the guest has sent it, or will get it. The values of pcapng's epb_flags. */
export const FrameDirection = { INBOUND: 1, OUTBOUND: 2 } as const;

/** What `defer` and `copy` give if nothing can be kept. */
export const NO_TOKEN = -1;

/**
 * An Ethernet frame as filters see it. Pooled: it is the filter's only until its hook returns. What is read of it is in private
 * memory, and these bytes are what the receiver gets, whatever the sender does to its memory meanwhile.
 *
 * Headers are found when first asked for. **All numbers of 32 bits are signed** (`| 0`), in network order: compare `x` with `y | 0`. What
 * a frame does not have is -1 where a line says so, else 0; nothing here throws, whatever the frame.
 *
 * A frame that leaves its segmentation to us (TSO) is one frame, of up to 64 KiB, with the headers that all its segments get.
 */
export interface FilterFrame {
  /** Of `FrameDirection`. */
  readonly direction: number;
  /** Of the whole frame, without checksum. */
  readonly byteLength: number;
  /** Of these, how many can be looked at: at most `FRAME_HEADERS_BYTES_MAX`, 256, and a tag that was added. */
  readonly headBytes: number;
  /**
   * The memory in which it begins, at `start`: for those who read much of it, faster than by the methods below. Only to read, and only
   * `headBytes` of it: what is behind them is not the frame's.
   */
  readonly bytes: Buffer;
  readonly start: number;
  /** Addresses: upper 16 bits, and lower 32 bits (signed). IEEE 802.3, 3.2.3 */
  readonly destinationHigh: number;
  readonly destinationLow: number;
  readonly sourceHigh: number;
  readonly sourceLow: number;
  /** What it is behind its VLAN tags, of which at most two are looked through: see `EtherType`. */
  readonly etherType: number;
  /** The VLAN that it is in by its tag, else by its port; `NO_VLAN`, 0, if neither says one. */
  readonly vlan: number;
  /** 0; or why its headers cannot be told apart, a `LayoutFault`: cut off, contradicting, too long. Let nothing pass that you cannot judge. */
  readonly fault: number;
  /** Where the headers behind Ethernet's and its tags begin, and those behind IP's, bytes from the start. */
  readonly l3: number;
  readonly l4: number;
  /** 4 or 6; 0 if it is no IP packet, or `fault` says why not. */
  readonly ipVersion: number;
  /** Protocol above IP, behind extension headers: see `IpProtocol`. -1 if there is none: no IP, or a later fragment. */
  readonly protocol: number;
  /** It is a fragment, the first or a later one. */
  readonly fragment: boolean;
  /** IP addresses by words of 32 bits: IPv4 has word 0 only, IPv6 words 0 to 3, the first of them the uppermost. */
  sourceAddress(word: number): number;
  destinationAddress(word: number): number;
  /** Ports of TCP, UDP, SCTP, DCCP and UDP-Lite; -1 if it has none of these headers, or not all of it. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Bits of `TcpFlag`; -1 if it has no TCP header, or not all of it. */
  readonly tcpFlags: number;
  /** Operation of ARP for IPv4 over Ethernet, 1 request, 2 reply; -1 if it is none. RFC 826 */
  readonly arpOperation: number;
  /** What such an ARP says; 0 of others. */
  readonly arpSenderHigh: number;
  readonly arpSenderLow: number;
  readonly arpSenderAddress: number;
  readonly arpTargetAddress: number;
  /** Bytes of the head, by offset from the start of the frame; 0 beyond `headBytes`. The last is signed. */
  byte(at: number): number;
  word16(at: number): number;
  word32(at: number): number;
  /** Copies its first bytes into memory of the filter's, at most `limit` and as many as fit. Returns how many. */
  copyTo(target: Buffer, at: number, limit: number): number;
  /** Ends it here, as if nothing were said. */
  drop(): void;
  /**
   * Keeps it, instead of `next`: a copy in the framework's memory. Returns a token for `context.goOn`, or `NO_TOKEN` if there is no room,
   * or its card is being moved just now: then it is still to be passed on or dropped. Only of filters that say `defers: true`.
   */
  defer(): number;
  /** Keeps a copy of it beside what becomes of it. Returns as above. */
  copy(): number;
}

/** Another port of the daemon, as a filter has it. */
export interface FramePort {
  /**
   * Gives it a copy of a frame, of which nothing was said yet: as the filter sees it, with its tag or without one, whatever the port's own
   * VLANs. No filter of that port sees it, and the switch learns nothing of it. What was left to be done (checksum, segmentation) is done
   * if whoever is behind the port does not do it.
   *
   * False if it did not get to the port: nobody serves that, or the way to its sidecore has no room. What the port has no room for is
   * counted there.
   */
  deliver(frame: FilterFrame): boolean;
}

/** Says that a frame goes on to the next filter, or the switch, or the guest, when the hook returns. */
export type NextFrame = (frame: FilterFrame) => void;

/** What a filter does with the frames of one card. At least one of the first two. */
export interface FrameFilterHooks {
  /** What the guest sends, before the switch sees it. Passes it on by `next(frame)`, keeps it, or drops it by saying nothing. */
  outbound?(frame: FilterFrame, next: NextFrame): void;
  /** What the guest gets, before its ring. In the opposite order of filters. */
  inbound?(frame: FilterFrame, next: NextFrame): void;
  /** Once a turn of the sidecore while this filter keeps frames. Monotonic time, ns. */
  tick?(nowNs: number): void;
  /** It is replaced: what its successor gets as `context.previous`. */
  handOver?(): unknown;
  /** The card is let go of, or the filter taken out. */
  close?(): void;
}

/** What a filter gets, once for each card, on the sidecore that serves it. */
export interface FrameFilterContext<Options = unknown> {
  /** Names of VM and card. */
  readonly vm: string;
  readonly device: string;
  /** The card's address as it is configured, as a frame has it. */
  readonly mac: { readonly high: number; readonly low: number };
  /** As the schema gave them: plain data. */
  readonly options: Options;
  /** Memory of `sharedBytes`, zeros at first: it outlives the sidecore, and stays when the card moves. */
  readonly shared: SharedArrayBuffer;
  /** Memory of `groupBytes`, zeros at first: the same for all filters of this name and group, its own without one; several threads use it. */
  readonly group: SharedArrayBuffer;
  /** What `manage` has prepared. */
  readonly prepared: unknown;
  /** What `handOver` of the filter that this one replaces has given. */
  readonly previous: unknown;
  /** One of the definition's `ports`. */
  port(name: string): FramePort;
  /** One of those that the definition names. */
  counter(name: string): Counter;
  histogram(name: string): Histogram;
  /** Puts the monotonic time, ns, into a slot of an array. It is a system call at worst, and allocates nothing. */
  readNowNs(into: Float64Array, slot: number): void;
  /** The same for the wall clock: seconds since 1970, lower and upper word, and nanoseconds, into three words. */
  readWallClock(into: Uint32Array, slot: number): void;
  /** Has the daemon log a line: of each filter of a card one in ten seconds, others are counted. */
  log(text: string): void;
  /**
   * Has a kept frame go on through the filters behind this one, the way that it went: when the hook that asks returns, before the frame
   * that the hook was asked about; those of one hook in the order of asking. False if there is no such frame any more.
   */
  goOn(token: number): boolean;
  /** Ends one. */
  drop(token: number): boolean;
}

/** What a filter's `check` gets. */
export interface FrameFilterCheck<Options = unknown> {
  readonly vm: string;
  readonly device: string;
  readonly options: Options;
  /** Folder of the configuration: relative paths begin there. */
  readonly base: string;
  log(text: string): void;
}

/** What a filter's side on the main thread gets, once for each card. */
export interface FrameFilterSetup<Options = unknown> extends FrameFilterCheck<Options> {
  readonly mac: { readonly high: number; readonly low: number };
  readonly shared: SharedArrayBuffer;
  readonly group: SharedArrayBuffer;
}

/** A filter's side on the main thread: one for each card. */
export type FrameFilterManager = BlockFilterManager;

export interface FrameFilter<Schema extends z.ZodType = z.ZodType> {
  /** Set by `defineFrameFilter`: tells it from a block filter. */
  readonly kind: 'frame';
  /** Letters, digits and `-`. */
  readonly name: string;
  /** Schema of its options, or how to make it: with a function a filter needs no zod of its own, and sidecores load none. */
  readonly options?: Schema | ((zod: typeof z) => Schema);
  /** Names of its counters and histograms: letters, digits and `_`. */
  readonly counters?: readonly string[];
  readonly histograms?: readonly string[];
  /** Bytes of `context.shared`. */
  readonly sharedBytes?: number | ((options: z.output<Schema>) => number);
  /** The group that a card is in by its options, if any; and bytes of the memory that a group has. */
  group?(options: z.output<Schema>): string | undefined;
  readonly groupBytes?: number;
  /**
   * Other ports that it gives copies to, by names of its own, best those of its options: a card as `VM/NIC`, any other port as
   * `NETWORK/PORT`. That one is its own card, or gives copies to that, is refused.
   */
  ports?(options: z.output<Schema>): Record<string, string>;
  /** It keeps frames: memory for them is made. */
  readonly defers?: boolean;
  /**
   * Throws what keeps it from serving this card, as far as that can be seen without making, changing or locking anything: before
   * `manage`, and for `sidecore check`.
   */
  check?(setup: FrameFilterCheck<z.output<Schema>>): void;
  /** Makes its side on the main thread. Throws what is wrong. */
  manage?(setup: FrameFilterSetup<z.output<Schema>>): FrameFilterManager;
  /** Makes what serves one card, on its sidecore: again when the card moves, or when the sidecore was replaced. */
  create(context: FrameFilterContext<z.output<Schema>>): FrameFilterHooks;
}

/**
 * Defines a frame filter; a module's default export.
 *
 * @example
 * export default defineFrameFilter({
 *   name: 'no-ipv6',
 *   create: () => ({
 *     outbound(frame, next) {
 *       if (frame.etherType !== EtherType.IPV6) next(frame);
 *     },
 *   }),
 * });
 */
export function defineFrameFilter<Schema extends z.ZodType>(
  filter: Omit<FrameFilter<Schema>, 'kind'>,
): FrameFilter<Schema> {
  return { ...filter, kind: 'frame' };
}
