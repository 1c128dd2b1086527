/**
 * A firewall's rules read the slow and obvious way: straight from what an operator wrote, one rule after the other, addresses as
 * large integers. It shares no code with the firewall.
 */

type One = string | number;

export interface WrittenRule {
  in?: string;
  out?: string;
  both?: string;
  protocol?: One | One[];
  port?: One | One[];
  source_port?: One | One[];
  icmp_type?: One | One[];
  from?: string | string[];
  to?: string | string[];
  from_mac?: string | string[];
  to_mac?: string | string[];
  vlan?: One | One[];
  ether_type?: One | One[];
  track?: boolean;
}

/** What rules look at in a frame. */
export interface ModelPacket {
  outbound: boolean;
  family: 0 | 4 | 6;
  source: bigint;
  destination: bigint;
  protocol: number;
  /** Undefined where there are none. */
  sourcePort?: number | undefined;
  port?: number | undefined;
  icmpType?: number | undefined;
  icmpCode?: number | undefined;
  etherType: number;
  /** 0 without a tag. */
  vlan: number;
  sourceMac: string;
  destinationMac: string;
}

export function firstMatch(rules: readonly WrittenRule[], packet: ModelPacket): number {
  return rules.findIndex((rule) => matches(rule, packet));
}

function matches(rule: WrittenRule, packet: ModelPacket): boolean {
  if (rule.both === undefined && (packet.outbound ? rule.out : rule.in) === undefined) return false;
  const ip = packet.family !== 0;
  if (!some(rule.ether_type, (type) => packet.etherType === etherType(type))) return false;
  if (!some(rule.vlan, (vlan) => (vlan === 'none' ? packet.vlan === 0 : within(vlan, packet.vlan)))) return false;
  if (!some(rule.from_mac, (mac) => mac === packet.sourceMac)) return false;
  if (!some(rule.to_mac, (mac) => mac === packet.destinationMac)) return false;
  if (!some(rule.from, (prefix) => ip && covers(String(prefix), packet.family, packet.source))) return false;
  if (!some(rule.to, (prefix) => ip && covers(String(prefix), packet.family, packet.destination))) return false;
  if (!some(rule.protocol, (protocol) => ip && isProtocol(protocol, packet))) return false;
  const ports = ip && (packet.protocol === 6 || packet.protocol === 17);
  if (!some(rule.port, (port) => ports && within(port, packet.port))) return false;
  if (!some(rule.source_port, (port) => ports && within(port, packet.sourcePort))) return false;
  return some(rule.icmp_type, (type) => isIcmp(type, packet));
}

function some<T>(list: T | T[] | undefined, test: (one: T) => boolean): boolean {
  if (list === undefined) return true;
  return Array.isArray(list) ? list.some(test) : test(list);
}

function within(range: One, value: number | undefined): boolean {
  const [low, high = low] = String(range).split('-').map(Number) as [number, number?];
  return value !== undefined && value >= low && value <= high;
}

const etherType = (type: One) => ({ ipv4: 0x800, ipv6: 0x86dd, arp: 0x806 })[type] ?? Number(type);

function isProtocol(protocol: One, { family, protocol: own }: ModelPacket): boolean {
  if (protocol === 'icmp') return own === (family === 4 ? 1 : 58);
  if (protocol === 'icmpv4') return family === 4 && own === 1;
  if (protocol === 'icmpv6') return family === 6 && own === 58;
  const named: Record<string, number> = { igmp: 2, tcp: 6, udp: 17, gre: 47, esp: 50, ah: 51, sctp: 132 };
  return own === (named[protocol] ?? protocol);
}

const ICMP_NAMES: Record<string, [number | undefined, number]> = {
  'echo-reply': [0, 129],
  'echo-request': [8, 128],
  unreachable: [3, 1],
  'packet-too-big': [undefined, 2],
  'time-exceeded': [11, 3],
};

function isIcmp(type: One, { family, protocol, icmpType, icmpCode }: ModelPacket): boolean {
  if (family === 0 || icmpType === undefined || protocol !== (family === 4 ? 1 : 58)) return false;
  const named = ICMP_NAMES[type];
  if (named !== undefined) return icmpType === named[family === 4 ? 0 : 1];
  const [wanted, code] = String(type).split('/').map(Number);
  return icmpType === wanted && (code === undefined || code === icmpCode);
}

/** Whether a prefix as text has an address in it. */
export function covers(prefix: string, family: number, address: bigint): boolean {
  const [text, length] = prefix.split('/') as [string, string?];
  if ((text.includes(':') ? 6 : 4) !== family) return false;
  const width = family === 4 ? 32n : 128n;
  const shift = width - (length === undefined ? width : BigInt(length));
  return addressOf(text) >> shift === address >> shift;
}

export function addressOf(text: string): bigint {
  if (!text.includes(':')) return text.split('.').reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const sides = text.split('::').map((side) => side.split(':').filter((group) => group !== ''));
  const missing = 8 - sides.reduce((sum, side) => sum + side.length, 0);
  const groups = sides.length === 1 ? sides[0]! : [...sides[0]!, ...Array<string>(missing).fill('0'), ...sides[1]!];
  return groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}
