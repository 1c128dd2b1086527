/** Rules and packets for tests of the firewall, so few different ones that many match. */
import { z } from 'zod';
import type { Connections } from '../../src/filters/net/firewall/connections.js';
import { Engine, planAll, REASONS } from '../../src/filters/net/firewall/engine.js';
import { KEY_WORDS, Key } from '../../src/filters/net/firewall/key.js';
import { FirewallMemory, memoryBytes } from '../../src/filters/net/firewall/memory.js';
import { type FirewallOptions, optionsSchema } from '../../src/filters/net/firewall/options.js';
import { formatAddress } from '../../src/filters/net/firewall/values.js';
import { parseMac } from '../../src/net/ethernet.js';
import type { TrackedPacket } from '../model/firewall.js';
import { addressOf, type ModelPacket, type WrittenRule } from '../model/firewall-rules.js';
import { BytesFrame } from './bytes-frame.js';
import { arp, ethernet, icmp, ip, tcp, udp } from './packets.js';
import type { Random } from './seed.js';

const PREFIXES = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.0/9',
  '10.128.0.0/9',
  '10.1.0.0/16',
  '10.1.2.0/23',
  '10.1.2.0/24',
  '10.1.2.3',
  '10.1.2.4/30',
  '10.1.2.128/25',
  '128.0.0.0/1',
  '192.168.0.0/16',
  '192.168.1.77',
  '255.255.255.255',
  '169.254.169.254',
  '0.0.0.0',
  '::/0',
  'fd00::/8',
  'fd00::/9',
  'fd00:1::/32',
  'fd00:1:2::/47',
  'fd00:1:2:3::/64',
  'fd00:1:2:3::1',
  'fd00:1:2:3::2/127',
  '2001:db8::/32',
  '2001:db8:8000::/33',
  'fe80::1',
  'ff02::/16',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  '::',
];
const MACS = ['52:54:00:00:00:01', '52:54:00:00:00:02', 'ff:ff:ff:ff:ff:ff', '80:54:00:00:00:01', '52:54:80:00:00:01'];
const PORTS = [0, 1, 22, 80, 255, 256, 443, 8000, 8050, 8100, 32768, 65535];
const RANGES = ['0-65535', '22-80', '8000-8100', '0-255', '256-511', '1024-65535'];
const PROTOCOLS = ['tcp', 'udp', 'icmp', 'icmpv4', 'icmpv6', 'gre', 47, 6, 0, 255];
const ICMP = ['echo-request', 'echo-reply', 'unreachable', 'packet-too-big', 3, '3/4', '128/0', 255];
const ETHER = ['ipv4', 'ipv6', 'arp', 0x88cc, '0x88b5'];

export function randomRule(random: Random): WrittenRule {
  const rule: WrittenRule = { [random.pick(['in', 'out', 'both'])]: random.pick(['accept', 'drop']) };
  const list = <T>(values: readonly T[]): T | T[] =>
    random.chance(0.5) ? random.pick(values) : Array.from({ length: 1 + random.below(4) }, () => random.pick(values));
  const maybe = (chance: number, set: () => void) => random.chance(chance) && set();
  maybe(0.15, () => (rule.from_mac = list(MACS)));
  maybe(0.15, () => (rule.to_mac = list(MACS)));
  maybe(0.15, () => (rule.vlan = list<string | number>(['none', 1, 7, 4094, '2-9'])));
  if (random.chance(0.15)) {
    rule.ether_type = list(ETHER);
    return rule;
  }
  maybe(0.5, () => (rule.from = list(PREFIXES)));
  maybe(0.4, () => (rule.to = list(PREFIXES)));
  const kind = random.below(4);
  if (kind === 0) {
    maybe(0.5, () => (rule.protocol = list(['tcp', 'udp'])));
    maybe(0.8, () => (rule.port = list<string | number>([...PORTS, ...RANGES])));
    maybe(0.3, () => (rule.source_port = list<string | number>([...PORTS, ...RANGES])));
  } else if (kind === 1) {
    maybe(0.5, () => (rule.protocol = 'icmp'));
    rule.icmp_type = list(ICMP);
  } else if (kind === 2) rule.protocol = list(PROTOCOLS);
  return rule;
}

/** An address in a prefix or just beyond it. */
function near(random: Random, family: 4 | 6): bigint {
  const text = random.pick(PREFIXES.filter((one) => one.includes(':') === (family === 6)));
  const [address, length] = text.split('/') as [string, string?];
  const width = family === 4 ? 32n : 128n;
  const size = 1n << (width - (length === undefined ? width : BigInt(length)));
  const first = addressOf(address);
  const all = (1n << width) - 1n;
  const pick = random.pick([
    first,
    first + size - 1n,
    first - 1n,
    first + size,
    first + (BigInt(random.word()) % size),
  ]);
  return pick & all;
}

export function randomPacket(random: Random): ModelPacket {
  const family = random.pick([4, 4, 6, 6, 0] as const);
  // Of IPv6 zero would be an extension header.
  const protocol = random.pick([6, 17, 1, 58, 47, family === 6 ? 50 : 0, 255, 2]);
  const icmp = family !== 0 && protocol === (family === 4 ? 1 : 58);
  const ports = family !== 0 && (protocol === 6 || protocol === 17);
  const port = () => (random.chance(0.7) ? random.pick(PORTS) : random.below(65_536));
  return {
    outbound: random.chance(0.5),
    family,
    source: family === 0 ? 0n : near(random, family),
    destination: family === 0 ? 0n : near(random, family),
    protocol: family === 0 ? -1 : protocol,
    sourcePort: ports ? port() : undefined,
    port: ports ? port() : undefined,
    icmpType: icmp ? random.pick([0, 3, 8, 128, 129, 1, 2, 255]) : undefined,
    icmpCode: icmp ? random.pick([0, 4, 255]) : undefined,
    etherType: family === 4 ? 0x800 : family === 6 ? 0x86dd : random.pick([0x806, 0x88cc, 0x88b5, 0x1234]),
    vlan: random.pick([0, 0, 1, 5, 7, 4094]),
    sourceMac: random.pick(MACS),
    destinationMac: random.pick(MACS),
  };
}

/** The same packet as the firewall sees it. */
export function keyOf(packet: ModelPacket, key: Int32Array = new Int32Array(KEY_WORDS)): Int32Array {
  const words = (address: bigint, at: number) => {
    const count = packet.family === 6 ? 4 : 1;
    for (let i = 0; i < 4; i++)
      key[at + i] = i < count ? Number(BigInt.asIntN(32, address >> BigInt(32 * (count - 1 - i)))) : 0;
  };
  const mac = (text: string, at: number) => {
    const value = BigInt(`0x${text.replaceAll(':', '')}`);
    key[at] = Number(value >> 32n);
    key[at + 1] = Number(BigInt.asIntN(32, value));
  };
  words(packet.source, Key.SOURCE);
  words(packet.destination, Key.DESTINATION);
  mac(packet.sourceMac, Key.SOURCE_MAC);
  mac(packet.destinationMac, Key.DESTINATION_MAC);
  key[Key.SOURCE_PORT] = packet.sourcePort ?? -1;
  key[Key.DESTINATION_PORT] = packet.port ?? -1;
  key[Key.ICMP] = packet.icmpType === undefined ? -1 : packet.icmpType * 256 + packet.icmpCode!;
  key[Key.PROTOCOL] = packet.protocol;
  key[Key.FAMILY] = packet.family;
  key[Key.ETHER_TYPE] = packet.etherType;
  key[Key.VLAN] = packet.vlan;
  return key;
}

/** Options as the firewall gets them; throws what is wrong with them. */
export const readFirewall = (written: Readonly<Record<string, unknown>>): FirewallOptions =>
  optionsSchema(z).parse(written);

/** Address as text. */
export const textOf = (family: number, address: bigint): string =>
  formatAddress(
    family,
    Int32Array.from({ length: family === 4 ? 1 : 4 }, (_, i) =>
      Number(BigInt.asIntN(32, family === 4 ? address : address >> BigInt(96 - 32 * i))),
    ),
  );

/** The frame of a packet. */
export function frameOf(packet: TrackedPacket): BytesFrame {
  const { family, sourceMac, destinationMac, vlan, etherType, protocol, icmpType } = packet;
  const link = { from: sourceMac, to: destinationMac, tags: vlan === 0 ? [] : [{ vlan }] };
  if (family === 0) {
    const payload = etherType === 0x806 ? arp(1, sourceMac, '10.0.0.5') : Buffer.alloc(46);
    return new BytesFrame(ethernet(link, etherType, payload));
  }
  const flags = [...(packet.flags ?? '')].reduce((sum, one) => sum | { F: 1, S: 2, R: 4, A: 16 }[one]!, 0);
  const { sequence = 0, acknowledgment = 0 } = packet;
  let payload: Buffer = Buffer.alloc(20);
  if (protocol === 6) payload = tcp(packet.sourcePort!, packet.port!, { flags, sequence, acknowledgment });
  else if (protocol === 17) payload = udp(packet.sourcePort!, packet.port!);
  else if (icmpType !== undefined) payload = icmp(icmpType, packet.icmpCode, (packet.echoId ?? 0) * 65_536);
  const hops = 255;
  const [type, bytes] = ip(textOf(family, packet.source), textOf(family, packet.destination), payload, {
    protocol,
    hops,
  });
  return new BytesFrame(ethernet(link, type, bytes));
}

/** A firewall on its own, with a clock that tests set. */
export class TestFirewall {
  readonly connections: Connections;
  readonly hits: Float64Array;
  readonly engine: Engine;
  readonly options: FirewallOptions;

  constructor(written: Readonly<Record<string, unknown>>, mac = OWN_MAC, shared?: SharedArrayBuffer) {
    this.options = readFirewall(written);
    const memory = new FirewallMemory(shared ?? new SharedArrayBuffer(memoryBytes(this.options)), this.options);
    this.connections = memory.connections;
    this.hits = memory.hits;
    const { high, low } = parseMac(mac)!;
    this.engine = new Engine(this.options, planAll(this.options), [high, low], this.connections, this.hits);
    this.connections.nowS = 1000;
  }

  /** What becomes of a frame that the guest sends, or gets. */
  out(frame: Buffer): string {
    return REASONS[this.engine.decide(new BytesFrame(frame), true)]!;
  }

  in(frame: Buffer): string {
    return REASONS[this.engine.decide(new BytesFrame(frame), false)]!;
  }

  pass(seconds: number): void {
    this.connections.nowS += seconds;
  }
}

export const OWN_MAC = '52:54:00:00:00:01';
