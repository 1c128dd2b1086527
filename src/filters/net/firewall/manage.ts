import type { FrameFilterManager, FrameFilterSetup } from '../../../filter/frame-contract.js';
import { nowNs } from '../../../host/clock.js';
import { planAll } from './engine.js';
import { Entry, Mark, State } from './entry.js';
import { openMemory } from './memory.js';
import type { FirewallOptions } from './options.js';
import { formatAddress, PROTOCOLS } from './values.js';

/** Rules whose hits `status` has, and connections that are listed unless more are asked for. */
const STATUS_RULES_MAX = 64;
const LISTED = 100;

/** A firewall's side on the main thread: it makes the tables, and tells what is in the memory. */
export function manageFirewall(setup: FrameFilterSetup<FirewallOptions>): FrameFilterManager {
  const { options, shared } = setup;
  const { hits, connections } = openMemory(shared, options);
  const rules = () => options.names.map((name, i) => ({ name, hits: hits[i]! }));
  const look = (visit: (words: Int32Array, at: number) => void): number => {
    connections.nowS = Math.floor(nowNs() / 1e9);
    return connections.forEach(visit);
  };
  return {
    prepared: planAll(options),
    commands: {
      connections: ({ limit = String(LISTED) }) => {
        const max = /^\d{1,6}$/.test(limit) ? Number(limit) : LISTED;
        const list: Listed[] = [];
        const count = look(
          (words, at) => list.length < max && list.push(describe(words, at, options, connections.nowS)),
        );
        return { count, connections: list };
      },
      rules,
      forget: () => ({ forgotten: connections.forget() }),
    },
    status: () => ({
      connections: look(() => {}),
      rules: rules()
        .filter(({ hits }) => hits > 0)
        .slice(0, STATUS_RULES_MAX),
    }),
  };
}

interface Listed {
  readonly protocol: string;
  readonly begun: 'out' | 'in';
  readonly local: string;
  readonly remote: string;
  readonly state: string;
  readonly vlan?: number;
  readonly rule: string;
  readonly expires_s: number;
}

const PROTOCOL_NAMES = new Map<number, string>(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]));
const STATES = ['free', 'open', 'answered', 'established', 'closing'];

function describe(words: Int32Array, at: number, { names }: FirewallOptions, nowS: number): Listed {
  const meta = words[at + Entry.META]!;
  const family = meta & 7;
  const number = (meta >>> 4) & 0xff;
  const marks = words[at + Entry.STATE]!;
  const ports = words[at + Entry.PORTS]!;
  const tcp = number === PROTOCOLS.tcp;
  const side = (words_: number, port: number) => {
    const address = formatAddress(family, words, at + words_);
    if (!tcp && number !== PROTOCOLS.udp) return address;
    return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  };
  const state = tcp ? STATES[marks & 0xff]! : (marks & Mark.REPLIED) !== 0 ? 'answered' : STATES[State.OPEN]!;
  const vlan = meta >>> 20;
  return {
    protocol: PROTOCOL_NAMES.get(number) ?? String(number),
    begun: (marks & Mark.OUTBOUND) !== 0 ? 'out' : 'in',
    local: side(Entry.LOCAL, ports >>> 16),
    remote: side(Entry.REMOTE, ports & 0xffff),
    state,
    ...(vlan === 0 ? {} : { vlan }),
    rule: names[words[at + Entry.RULE]!] ?? 'default',
    expires_s: words[at + Entry.EXPIRES]! - nowS,
  };
}
