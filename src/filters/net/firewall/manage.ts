import { SidecoreError } from '../../../errors.js';
import type { FrameFilterManager, FrameFilterSetup } from '../../../filter/frame-contract.js';
import { nowNs } from '../../../host/clock.js';
import { type Plans, planAll } from './engine.js';
import { ANY_RESET, type Connection, Mark, STATE_MASK, State } from './entry.js';
import { FirewallMemory } from './memory.js';
import type { FirewallOptions } from './options.js';
import { formatAddress, PROTOCOLS } from './values.js';

/** Rules whose hits `status` has, and connections that are listed unless more are asked for. */
const STATUS_RULES_MAX = 64;
const LISTED = 100;

/** Sets of rules whose tables are kept for further cards: each takes a fraction of a second to make. */
const PLANS_KEPT_MAX = 8;
const plansKept = new Map<string, Plans>();

/** The tables of rules; cards with the same rules have the same ones, which are in shared memory. */
function planOnce(options: FirewallOptions): Plans {
  const name = JSON.stringify(options.rules);
  const plans = plansKept.get(name) ?? planAll(options);
  plansKept.delete(name);
  plansKept.set(name, plans);
  for (const old of plansKept.keys()) if (plansKept.size > PLANS_KEPT_MAX) plansKept.delete(old);
  return plans;
}

/** A firewall's side on the main thread: it makes the tables, and tells what is in the memory. */
export function manageFirewall(setup: FrameFilterSetup<FirewallOptions>): FrameFilterManager {
  const { options, shared } = setup;
  const { hits, connections } = new FirewallMemory(shared, options);
  const rules = () => options.names.map((name, i) => ({ name, hits: hits[i]! }));
  const look = (visit: (connection: Connection) => void): number => {
    connections.nowS = Math.floor(nowNs() / 1e9);
    return connections.forEach(visit);
  };
  return {
    prepared: planOnce(options),
    commands: {
      connections: ({ limit = String(LISTED) }) => {
        const max = Number(limit);
        if (!/^\d{1,6}$/.test(limit))
          throw new SidecoreError('CONFIG_INVALID', `limit: expects a whole number up to 999999, not ${limit}`);
        const list: Listed[] = [];
        const count = look((each) => {
          if (list.length < max) list.push(describe(each, options, connections.nowS));
        });
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

function describe(connection: Connection, { names }: FirewallOptions, nowS: number): Listed {
  const { family, protocol, vlan, ports, state } = connection;
  const tcp = protocol === PROTOCOLS.tcp;
  const side = (words: readonly number[], port: number) => {
    const address = formatAddress(family, words);
    if (!tcp && protocol !== PROTOCOLS.udp) return address;
    return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  };
  return {
    protocol: PROTOCOL_NAMES.get(protocol) ?? String(protocol),
    begun: (state & Mark.OUTBOUND) !== 0 ? 'out' : 'in',
    local: side(connection.local, ports[0]),
    remote: side(connection.remote, ports[1]),
    state: STATES[stateOf(state, tcp)]!,
    ...(vlan === 0 ? {} : { vlan }),
    rule: names[connection.rule] ?? 'default',
    expires_s: connection.expires - nowS,
  };
}

function stateOf(state: number, tcp: boolean): number {
  if ((state & ANY_RESET) !== 0) return State.CLOSING;
  if (tcp) return state & STATE_MASK;
  return (state & Mark.REPLIED) !== 0 ? State.ANSWERED : State.OPEN;
}
