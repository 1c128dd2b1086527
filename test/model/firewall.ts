/**
 * A firewall that remembers connections, the slow and obvious way: everything in one map by text, as much as comes. It shares no
 * code with the firewall. What a guest pretends to be, and fragments, are not its matter.
 */
import { firstMatch, type ModelPacket, type WrittenRule } from './firewall-rules.js';

export interface TrackedPacket extends ModelPacket {
  /** Of TCP: letters of F, S, R and A; and numbers. */
  flags?: string | undefined;
  sequence?: number | undefined;
  acknowledgment?: number | undefined;
  echoId?: number | undefined;
}

interface Connection {
  begunOutbound: boolean;
  phase: 'open' | 'answered' | 'established' | 'closing';
  answered: boolean;
  takenUp: boolean;
  /** Whose last segment was RST. */
  resetBy: Set<boolean>;
  finished: Set<boolean>;
  expected: number;
  expires: number;
}

export interface ModelOptions {
  rules: WrittenRule[];
  outbound: string;
  inbound: string;
  established: number;
  udp: number;
  pickup: boolean;
}

export class ModelFirewall {
  readonly #connections = new Map<string, Connection>();
  readonly #options: ModelOptions;

  constructor(options: ModelOptions) {
    this.#options = options;
  }

  /** The reason, as the firewall's counters name it. */
  decide(packet: TrackedPacket, now: number): string {
    const name = nameOf(packet);
    if (packet.protocol === 6 && packet.family !== 0) {
      const { flags = '' } = packet;
      if (flags === '' || (flags.includes('S') && /[FR]/.test(flags))) return 'invalid';
    }
    const known = name === undefined ? undefined : this.#connections.get(name);
    const alive = known !== undefined && known.expires > now ? known : undefined;
    let remembers = name !== undefined;
    if (alive) {
      const says = this.#goesOn(alive, packet, now);
      if (says === 'established') return says;
      remembers = says === 'anew';
    }
    const { rules, outbound, inbound } = this.#options;
    const at = firstMatch(rules, packet);
    const rule = rules[at];
    if (rule !== undefined) {
      if ((rule.both ?? rule.in ?? rule.out) === 'drop') return 'dropped';
      if (remembers && rule.track !== false) return this.#begins(name!, packet, now) ?? 'accepted';
      return 'accepted';
    }
    if (isBasic(packet)) return 'basics';
    if ((packet.outbound ? outbound : inbound) === 'drop') return 'dropped_default';
    return (remembers ? this.#begins(name!, packet, now) : undefined) ?? 'accepted_default';
  }

  #goesOn(connection: Connection, packet: TrackedPacket, now: number): 'established' | 'anew' | 'new' {
    const byBeginner = connection.begunOutbound === packet.outbound;
    const lives = (seconds: number) => {
      connection.expires = now + seconds;
      return 'established' as const;
    };
    if (packet.protocol === 17) {
      if (!byBeginner) connection.answered = true;
      return lives(connection.answered ? this.#options.udp : 30);
    }
    if (packet.protocol !== 6) return lives(30);
    const { flags = '', sequence = 0, acknowledgment = 0 } = packet;
    const has = (flag: string) => flags.includes(flag);
    if (has('S') && !has('A')) {
      if (connection.phase === 'closing' || connection.resetBy.size > 0) return 'anew';
      return byBeginner ? 'established' : 'new';
    }
    connection.resetBy.delete(packet.outbound);
    if (has('R')) {
      connection.resetBy.add(packet.outbound);
    } else if (connection.phase === 'open' && !byBeginner) {
      if (has('S')) {
        connection.phase = 'answered';
        connection.expected = (sequence + 1) % 2 ** 32;
      } else if (connection.takenUp) connection.phase = 'established';
    } else if (connection.phase === 'answered' && byBeginner && has('A')) {
      const ahead = (acknowledgment - connection.expected + 2 ** 32) % 2 ** 32;
      if (ahead < 65_536) connection.phase = 'established';
    }
    if (has('F')) connection.finished.add(packet.outbound);
    if (connection.finished.size === 2) connection.phase = 'closing';
    if (connection.resetBy.size > 0) return lives(10);
    if (connection.phase === 'closing') return lives(60);
    if (connection.phase !== 'established') return lives(60);
    return lives(connection.finished.size > 0 ? 300 : this.#options.established);
  }

  /** Says why not, where it must not. */
  #begins(name: string, packet: TrackedPacket, now: number): string | undefined {
    const { flags = '' } = packet;
    let takenUp = false;
    if (packet.protocol === 6 && !(flags.includes('S') && !flags.includes('A'))) {
      if (!this.#options.pickup) return 'invalid';
      if (/[SRF]/.test(flags)) return undefined;
      takenUp = true;
    }
    if (packet.icmpType !== undefined && !isRequest(packet)) return undefined;
    this.#connections.set(name, {
      begunOutbound: packet.outbound,
      phase: 'open',
      answered: false,
      takenUp,
      resetBy: new Set(),
      finished: new Set(),
      expected: 0,
      expires: now + (packet.protocol === 6 ? 60 : 30),
    });
    return undefined;
  }
}

const isRequest = ({ family, icmpType }: TrackedPacket) => icmpType === (family === 4 ? 8 : 128);

/** What tells a connection from others; undefined of what is none. */
function nameOf(packet: TrackedPacket): string | undefined {
  const { family, protocol, outbound, source, destination, sourcePort, port, vlan, icmpType, echoId } = packet;
  if (family === 0) return undefined;
  const sides = outbound ? [source, sourcePort, destination, port] : [destination, port, source, sourcePort];
  if (protocol === 6 || protocol === 17) return [family, protocol, vlan, ...sides].join();
  const echoes = family === 4 ? [8, 0] : [128, 129];
  if (icmpType === undefined || !echoes.includes(icmpType)) return undefined;
  const guestAsks = isRequest(packet) === outbound;
  return [family, protocol, vlan, sides[0], sides[2], guestAsks, echoId].join();
}

function isBasic({ family, protocol, etherType, icmpType, sourcePort, port, outbound }: TrackedPacket): boolean {
  if (family === 0) return etherType === 0x806;
  if (family === 6 && protocol === 58) return [130, 131, 132, 133, 134, 135, 136, 143].includes(icmpType!);
  const [client, server] = family === 4 ? [68, 67] : [546, 547];
  return (
    protocol === 17 && (outbound ? sourcePort === client && port === server : sourcePort === server && port === client)
  );
}
