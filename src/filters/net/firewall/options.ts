import type { z as zod } from 'zod';
import {
  FIREWALL_CONNECTIONS_MAX,
  FIREWALL_LIST_MAX,
  FIREWALL_PREFIXES_MAX,
  FIREWALL_RULES_MAX,
} from '../../../limits.js';
import { parseMac } from '../../../net/ethernet.js';
import { ICMP_TYPES, PROTOCOLS, type Prefix, parsePrefix, parseRange, type Range } from './values.js';

/** An Ethernet address, as its upper 16 and its lower 32 bits, the latter signed. */
export type Mac = readonly [number, number];

/** A rule as it is compiled. Plain data. A list that is not there matches all; within one any may match, and all lists have to. */
export interface Rule {
  readonly outbound: boolean;
  readonly inbound: boolean;
  readonly accept: boolean;
  /** What it accepts is tracked. */
  readonly track: boolean;
  readonly etherTypes?: readonly number[] | undefined;
  readonly vlans?: readonly Range[] | undefined;
  readonly fromMacs?: readonly Mac[] | undefined;
  readonly toMacs?: readonly Mac[] | undefined;
  readonly from?: readonly Prefix[] | undefined;
  readonly to?: readonly Prefix[] | undefined;
  /** By version of IP. */
  readonly protocols?: { readonly 4: readonly number[]; readonly 6: readonly number[] } | undefined;
  readonly sourcePorts?: readonly Range[] | undefined;
  readonly ports?: readonly Range[] | undefined;
  /** By version of IP: type times 256 and code. */
  readonly icmp?: { readonly 4: readonly Range[]; readonly 6: readonly Range[] } | undefined;
}

/** What options come to. Plain data. */
export interface FirewallOptions {
  readonly default: { readonly outbound: boolean; readonly inbound: boolean };
  readonly rules: readonly Rule[];
  /** Of each rule, for people. */
  readonly names: readonly string[];
  /** ARP, neighbour discovery and DHCP of a client pass where no rule says otherwise. */
  readonly basics: boolean;
  readonly guard: Guard;
  readonly track: Tracking;
}

export interface Guard {
  /** Addresses that the guest may send from; undefined: any. */
  readonly macs: readonly Mac[] | undefined;
  readonly addresses: readonly Prefix[] | undefined;
  readonly arp: boolean;
  readonly router: boolean;
  readonly dhcpServer: boolean;
}

/** Times in seconds. */
export interface Tracking {
  readonly on: boolean;
  readonly max: number;
  readonly tcpEstablishedS: number;
  readonly udpS: number;
  /** Connections of which the beginning was not seen are taken up. */
  readonly pickup: boolean;
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const DURATION_S_MAX = 30 * 86_400;
const ETHER_TYPES: Readonly<Record<string, number>> = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd };

/** Connections that are remembered if nothing is said: 1 MiB. */
const CONNECTIONS = 16_384;
/** `spoof_guard: false`. */
const UNGUARDED = { mac: false, arp: false, router: true, dhcp_server: true };

/** The schema of the firewall's options, which makes `FirewallOptions` of them. */
export function optionsSchema(z: typeof zod) {
  /** One or several, each read by `read`, which says what is wrong with it instead. */
  const list = <T>(read: (value: string | number) => T | string) =>
    z
      .union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))], 'expects a value, or a list of them')
      .transform((value, context): readonly T[] => {
        const fault = (message: string, path: number[] = []) => context.addIssue({ code: 'custom', message, path });
        const all = Array.isArray(value) ? value : [value];
        if (all.length === 0) fault('is empty');
        if (all.length > FIREWALL_LIST_MAX) fault(`at most ${FIREWALL_LIST_MAX}`);
        return all.flatMap((one, i) => {
          const found = read(one);
          if (typeof found !== 'string') return [found];
          fault(found, Array.isArray(value) ? [i] : []);
          return [];
        });
      })
      .optional();
  const duration = (standard: string) =>
    z
      .string()
      .default(standard)
      .transform((text, context) => {
        const match = /^(\d{1,9})([smhd])$/.exec(text);
        const seconds = match ? Number(match[1]) * UNITS[match[2]!]! : 0;
        if (seconds < 1 || seconds > DURATION_S_MAX)
          context.addIssue({ code: 'custom', message: `${text} is no time such as 90s, 5m, 2h or 5d, 30d at most` });
        return seconds;
      });
  const verdict = z.enum(['accept', 'drop']);
  const range = (what: string, least: number, most: number) => (value: string | number) =>
    parseRange(value, what, least, most);
  const prefixes = list((value) => parsePrefix(String(value)));
  const macs = list(readMac);
  const rule = z
    .strictObject({
      in: verdict.optional(),
      out: verdict.optional(),
      both: verdict.optional(),
      name: z.string().min(1).max(64).optional(),
      protocol: list(readProtocol),
      port: list(range('port', 0, 65_535)),
      source_port: list(range('port', 0, 65_535)),
      icmp_type: list(readIcmp),
      from: prefixes,
      to: prefixes,
      from_mac: macs,
      to_mac: macs,
      vlan: list((value) => (value === 'none' ? ([0, 0] as Range) : parseRange(value, 'VLAN', 1, 4094))),
      ether_type: list(readEtherType),
      track: z.boolean().default(true),
    })
    .superRefine((written, context) => {
      const fault = ruleFault(written);
      if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
    });
  type Written = zod.output<typeof rule>;

  const compiled = (written: Written): Rule => {
    const verdict = (written.in ?? written.out ?? written.both)!;
    const { protocol, icmp_type } = written;
    return {
      outbound: written.in === undefined,
      inbound: written.out === undefined,
      accept: verdict === 'accept',
      track: written.track,
      etherTypes: written.ether_type,
      vlans: written.vlan,
      fromMacs: written.from_mac,
      toMacs: written.to_mac,
      from: written.from,
      to: written.to,
      protocols:
        protocol !== undefined
          ? { 4: protocol.flatMap((one) => one[4]), 6: protocol.flatMap((one) => one[6]) }
          : icmp_type !== undefined
            ? { 4: [PROTOCOLS.icmp], 6: [PROTOCOLS.icmpv6] }
            : written.port !== undefined || written.source_port !== undefined
              ? { 4: [PROTOCOLS.tcp, PROTOCOLS.udp], 6: [PROTOCOLS.tcp, PROTOCOLS.udp] }
              : undefined,
      sourcePorts: written.source_port,
      ports: written.port,
      icmp: icmp_type && { 4: icmp_type.flatMap((one) => one[4]), 6: icmp_type.flatMap((one) => one[6]) },
    };
  };

  return z
    .strictObject({
      default: z.preprocess(
        (value) => (typeof value === 'string' ? { outbound: value, inbound: value } : (value ?? {})),
        z.strictObject({ outbound: verdict.default('accept'), inbound: verdict.default('drop') }),
      ),
      basics: z.boolean().default(true),
      spoof_guard: z.preprocess(
        (value) => (value === false ? UNGUARDED : (value ?? {})),
        z.strictObject({
          mac: z
            .union([z.boolean(), z.string(), z.array(z.string()).min(1)], 'expects addresses, true or false')
            .default(true),
          arp: z.boolean().default(true),
          addresses: prefixes,
          router: z.boolean().default(false),
          dhcp_server: z.boolean().default(false),
        }),
      ),
      track: z.preprocess(
        (value) => (typeof value === 'boolean' ? { on: value } : (value ?? {})),
        z.strictObject({
          on: z.boolean().default(true),
          max: z.int().min(64).max(FIREWALL_CONNECTIONS_MAX).default(CONNECTIONS),
          tcp_established: duration('5d'),
          udp: duration('180s'),
          pickup: z.boolean().default(true),
        }),
      ),
      rules: z.array(rule).max(FIREWALL_RULES_MAX, `at most ${FIREWALL_RULES_MAX} rules`).default([]),
    })
    .transform((written, context): FirewallOptions => {
      const { spoof_guard: guard, track } = written;
      const rules = written.rules.map(compiled);
      const count = rules.reduce((sum, { from, to }) => sum + (from?.length ?? 0) + (to?.length ?? 0), 0);
      if (count > FIREWALL_PREFIXES_MAX)
        context.addIssue({
          code: 'custom',
          message: `${count} prefixes in all; ${FIREWALL_PREFIXES_MAX} is the limit`,
          path: ['rules'],
        });
      const named = typeof guard.mac === 'boolean' ? [] : [guard.mac].flat();
      const read = named.map((text) => readMac(text));
      for (const one of read)
        if (typeof one === 'string') context.addIssue({ code: 'custom', message: one, path: ['spoof_guard', 'mac'] });
      return {
        default: { outbound: written.default.outbound === 'accept', inbound: written.default.inbound === 'accept' },
        rules,
        names: written.rules.map(({ name }, i) => name ?? `rule ${i + 1}`),
        basics: written.basics,
        guard: {
          // The card's own address is put in where the card is known.
          macs: guard.mac === false ? undefined : read.filter((one): one is Mac => typeof one !== 'string'),
          addresses: guard.addresses,
          arp: guard.arp,
          router: guard.router,
          dhcpServer: guard.dhcp_server,
        },
        track: {
          on: track.on,
          max: track.max,
          tcpEstablishedS: track.tcp_established,
          udpS: track.udp,
          pickup: track.pickup,
        },
      };
    });
}

/** What a rule's keys cannot say together. */
function ruleFault(
  rule: {
    readonly [key in
      | 'in'
      | 'out'
      | 'both'
      | 'port'
      | 'source_port'
      | 'icmp_type'
      | 'from'
      | 'to'
      | 'ether_type']?: unknown;
  } & { readonly protocol?: readonly ByVersion[] | undefined },
): string | undefined {
  const said = [rule.in, rule.out, rule.both].filter((one) => one !== undefined).length;
  if (said !== 1) return 'say one of in, out and both';
  const ports = rule.port !== undefined || rule.source_port !== undefined;
  if (ports && rule.icmp_type !== undefined) return 'ICMP has types, and no ports';
  const only = (...numbers: number[]) =>
    rule.protocol === undefined ||
    rule.protocol.every((one) => [...one[4], ...one[6]].every((number) => numbers.includes(number)));
  if (ports && !only(PROTOCOLS.tcp, PROTOCOLS.udp)) return 'only tcp and udp have ports here';
  if (rule.icmp_type !== undefined && !only(PROTOCOLS.icmp, PROTOCOLS.icmpv6)) return 'only icmp has types';
  const ip = ports || [rule.icmp_type, rule.from, rule.to, rule.protocol].some((one) => one !== undefined);
  const types = rule.ether_type as readonly number[] | undefined;
  if (ip && types?.some((type) => type !== ETHER_TYPES['ipv4'] && type !== ETHER_TYPES['ipv6']))
    return 'addresses, protocols and ports are those of IPv4 and IPv6 only';
  return undefined;
}

/** What differs between versions of IP. */
export interface ByVersion<T = number> {
  readonly 4: readonly T[];
  readonly 6: readonly T[];
}

function readProtocol(value: string | number): ByVersion | string {
  if (value === 'icmp') return { 4: [PROTOCOLS.icmp], 6: [PROTOCOLS.icmpv6] };
  if (value === 'icmpv4') return { 4: [PROTOCOLS.icmp], 6: [] };
  if (value === 'icmpv6') return { 4: [], 6: [PROTOCOLS.icmpv6] };
  const number = typeof value === 'number' ? value : (PROTOCOLS as Readonly<Record<string, number>>)[value];
  if (number === undefined || !Number.isInteger(number) || number < 0 || number > 255)
    return `${value} is no protocol: ${Object.keys(PROTOCOLS).join(', ')}, or a number to 255`;
  return { 4: [number], 6: [number] };
}

/** A name, a type, or `type/code`. */
function readIcmp(value: string | number): ByVersion<Range> | string {
  const every = (type: number): Range => [type << 8, (type << 8) | 0xff];
  const known = ICMP_TYPES[String(value)];
  if (known !== undefined)
    return {
      4: known.v4 === undefined ? [] : [every(known.v4)],
      6: known.v6 === undefined ? [] : [every(known.v6)],
    };
  const match = /^(\d{1,3})(?:\/(\d{1,3}))?$/.exec(String(value));
  const type = Number(match?.[1] ?? 256);
  const code = match?.[2] === undefined ? undefined : Number(match[2]);
  if (type > 255 || (code ?? 0) > 255)
    return `${value} is no type of ICMP: ${Object.keys(ICMP_TYPES).join(', ')}, a number, or type/code`;
  const range: Range = code === undefined ? every(type) : [(type << 8) | code, (type << 8) | code];
  return { 4: [range], 6: [range] };
}

function readEtherType(value: string | number): number | string {
  const number =
    typeof value === 'number'
      ? value
      : (ETHER_TYPES[value] ?? Number(/^0x[\da-f]{1,4}$/i.test(value) ? value : Number.NaN));
  if (!Number.isInteger(number) || number < 0x600 || number > 0xffff)
    return `${value} is no type of Ethernet: ipv4, ipv6, arp, or 0x0600 to 0xffff`;
  return number;
}

function readMac(value: string | number): Mac | string {
  const mac = parseMac(String(value));
  return mac === undefined ? `${value} is no Ethernet address` : [mac.high, mac.low];
}
