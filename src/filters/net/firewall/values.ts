import { isIPv4, isIPv6 } from 'node:net';

/**
 * A stretch of addresses that begin alike. An IPv4 address is one word, an IPv6 address four, most significant first, signed as
 * typed arrays hold them.
 */
export interface Prefix {
  readonly family: 4 | 6;
  readonly words: readonly number[];
  /** How many bits count. */
  readonly bits: number;
}

/** Numbers from the first to the second, both included. */
export type Range = readonly [number, number];

/** Protocol numbers that have names here. IANA, "Protocol Numbers" */
export const PROTOCOLS = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
} as const;

/** Types and codes of ICMP: of IPv4, and of IPv6. A code of -1 is every code. RFC 792, RFC 4443 */
export const ICMP_TYPES: Readonly<Record<string, { readonly v4?: number; readonly v6?: number }>> = {
  'echo-reply': { v4: 0, v6: 129 },
  'echo-request': { v4: 8, v6: 128 },
  unreachable: { v4: 3, v6: 1 },
  'packet-too-big': { v6: 2 },
  'time-exceeded': { v4: 11, v6: 3 },
  'parameter-problem': { v4: 12, v6: 4 },
  redirect: { v4: 5, v6: 137 },
};

/** The 32-bit words of an address; undefined if the text is none. */
function addressWords(text: string): { readonly family: 4 | 6; readonly words: number[] } | undefined {
  if (isIPv4(text)) return { family: 4, words: [dotted(text)] };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  // The last two groups may be written as an IPv4 address. RFC 4291, 2.2
  const plain = text.replace(/\d+\.\d+\.\d+\.\d+$/, (last) => {
    const word = dotted(last) >>> 0;
    return `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;
  });
  const [left, right] = plain.split('::') as [string, string?];
  const groups = (part: string | undefined) =>
    part === undefined || part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = groups(left);
  const tail = groups(right);
  const all = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return { family: 6, words: [0, 2, 4, 6].map((at) => (all[at]! << 16) | all[at + 1]!) };
}

const dotted = (text: string): number => text.split('.').reduce((word, byte) => (word << 8) | Number(byte), 0);

/** The bits of a word that a prefix of so many bits, from that word on, covers. */
export const maskOf = (bits: number): number => (bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits));

/** An address, or one with `/` and a length. Says what is wrong instead. */
export function parsePrefix(text: string): Prefix | string {
  const [address, length, ...more] = text.split('/') as [string, ...string[]];
  const found = addressWords(address);
  if (found === undefined || more.length > 0)
    return `${text} is no address and no prefix, such as 10.0.0.0/8 or fd00::/8`;
  const { family, words } = found;
  const bitsMax = family === 4 ? 32 : 128;
  if (length !== undefined && (!/^\d{1,3}$/.test(length) || Number(length) > bitsMax))
    return `${text}: the length of a prefix of IPv${family} is 0 to ${bitsMax}`;
  const bits = length === undefined ? bitsMax : Number(length);
  if (words.some((word, i) => (word & ~maskOf(bits - 32 * i)) !== 0))
    return `${text} has bits set beyond its first ${bits}: say ${formatAddress(
      family,
      words.map((word, i) => word & maskOf(bits - 32 * i)),
    )}/${bits}`;
  return { family, words, bits };
}

/** `7` or `7-9`, between two bounds. Says what is wrong instead. */
export function parseRange(value: number | string, what: string, least: number, most: number): Range | string {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(value));
  const low = match ? Number(match[1]) : Number.NaN;
  const high = match?.[2] === undefined ? low : Number(match[2]);
  if (!(low >= least && high <= most && low <= high))
    return `${value} is no ${what}: ${least} to ${most}, or a range such as 8000-8100`;
  return [low, high];
}

/** An address as text; that of IPv6 as RFC 5952 recommends it. */
export function formatAddress(family: number, words: ArrayLike<number>, at = 0): string {
  if (family === 4) {
    const word = words[at]!;
    return `${word >>> 24}.${(word >>> 16) & 0xff}.${(word >>> 8) & 0xff}.${word & 0xff}`;
  }
  const groups = Array.from({ length: 8 }, (_, i) => (words[at + (i >> 1)]! >>> (i % 2 === 0 ? 16 : 0)) & 0xffff);
  let best = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > length) {
      best = i;
      length = run;
    }
  }
  const text = (some: number[]) => some.map((group) => group.toString(16)).join(':');
  return best < 0 ? text(groups) : `${text(groups.slice(0, best))}::${text(groups.slice(best + length))}`;
}
