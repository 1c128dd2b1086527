import { NO_VLAN, VLAN_ID_MAX } from '../net/vlan.js';
import type { PolicyName } from '../scheduler/policy.js';
import type { Config, NicConfig, PortConfig } from './config.js';
import type { ConfigProblem, ConfigText, KeyPath } from './config-text.js';

/** What is allowed, and yet hardly meant. */
export type ConfigWarning = Omit<ConfigProblem, 'code'>;

interface Card {
  readonly nic: NicConfig;
  readonly keys: KeyPath;
}

/** Network cards that reach nobody, and what the scheduler's policy does not look at, by line. */
export function configWarnings(config: Config, text: ConfigText): ConfigWarning[] {
  return [...cardWarnings(config, text), ...schedulerWarnings(config, text)].sort(
    (one, other) => one.line - other.line,
  );
}

/** Keys of the scheduler that not all policies use, and the policies that do. */
const USED_BY: Readonly<Record<string, readonly PolicyName[]>> = {
  quantum_us: ['fair'],
  min_bytes: ['elvis'],
  max_bytes: ['elvis'],
  stuck_us: ['elvis'],
  stuck_items: ['elvis'],
  notified_us: ['fair', 'elvis'],
};

function schedulerWarnings({ scheduler: { policy }, vms }: Config, text: ConfigText): ConfigWarning[] {
  const written = Object.keys((text.value as { scheduler?: object }).scheduler ?? {});
  const unused = (keys: KeyPath, users: readonly PolicyName[]) =>
    warning(
      text,
      keys,
      `policy ${policy} does not use it`,
      `Leave it out, or choose the policy ${users.join(' or ')} under \`scheduler:\`.`,
    );
  const keys = written
    .filter((key) => USED_BY[key]?.includes(policy) === false)
    .map((key) => unused(['scheduler', key], USED_BY[key]!));
  if (policy === 'fair') return keys;
  const weighty = Object.entries(vms).filter(([, { weight }]) => weight !== 1);
  return [...keys, ...weighty.map(([vm]) => unused(['vms', vm, 'weight'], ['fair']))];
}

function cardWarnings(config: Config, text: ConfigText): ConfigWarning[] {
  const written = Object.keys((text.value as { networks?: object }).networks ?? {});
  return Object.entries(config.networks).flatMap(([network, { ports }]) => {
    const cards = cardsOf(config, network);
    const others = Object.values(ports);
    const population = countMembers([...cards.map(({ nic }) => nic), ...others]);
    const unwritten = written.length > 0 && !written.includes(network) && cards.length === 1;
    return cards
      .filter(({ nic }) => vlansOf(nic).every((vlan) => population[vlan] === 1))
      .map(({ nic, keys }) => {
        if (unwritten) return unknownNetwork(network, written, keys, text);
        return lonelyCard(nic, keys, cards.length + others.length, text);
      });
  });
}

function cardsOf({ vms }: Config, network: string): Card[] {
  return Object.entries(vms).flatMap(([vm, { nics }]) =>
    Object.entries(nics)
      .filter(([, nic]) => nic.network === network)
      .map(([name, nic]) => ({ nic, keys: ['vms', vm, 'nics', name] })),
  );
}

/** Number of a network's members in each VLAN. */
function countMembers(members: readonly (NicConfig | PortConfig)[]): Uint16Array {
  const population = new Uint16Array(VLAN_ID_MAX + 1);
  for (const member of members) for (const vlan of vlansOf(member)) population[vlan]!++;
  return population;
}

const ALL_VLANS: readonly number[] = Array.from({ length: VLAN_ID_MAX }, (_, index) => index + 1);

/** Each VLAN that a card or port is in, once. */
function vlansOf({ vlan = NO_VLAN, trunk }: NicConfig | PortConfig): number[] {
  if (trunk === undefined) return [vlan];
  const { native = NO_VLAN, vlans = ALL_VLANS } = trunk;
  return [...new Set(native === 'none' ? vlans : [native, ...vlans])];
}

export function warning(source: ConfigText, keys: KeyPath, text: string, remedy = ''): ConfigWarning {
  const { code: _, ...rest } = source.problem(keys, text, remedy);
  return rest;
}

function unknownNetwork(network: string, written: readonly string[], keys: KeyPath, text: ConfigText): ConfigWarning {
  const near = written.find((other) => isNear(network, other));
  return warning(
    text,
    [...keys, 'network'],
    `network ${network} is not under \`networks:\`, and nobody else is in it`,
    near === undefined ? `Networks there are: ${written.join(', ')}.` : `Did you mean ${near}?`,
  );
}

function lonelyCard(
  { network, vlan, trunk }: NicConfig,
  keys: KeyPath,
  members: number,
  text: ConfigText,
): ConfigWarning {
  if (members === 1)
    return warning(text, keys, `nobody else is in network ${network}`, 'Put another card or a port into it.');
  const key = trunk !== undefined ? ['trunk'] : vlan === undefined ? [] : ['vlan'];
  const where =
    trunk !== undefined ? 'in a VLAN of this trunk' : vlan === undefined ? 'without a VLAN' : `in VLAN ${vlan}`;
  return warning(
    text,
    [...keys, ...key],
    `nobody else in network ${network} is ${where}: the card reaches nobody`,
    'Those that shall talk to each other have the same `vlan`, or none.',
  );
}

/** Whether one is the other with a letter more, less, changed, or two neighbours exchanged. */
function isNear(one: string, other: string): boolean {
  let head = 0;
  while (head < one.length && one[head] === other[head]) head++;
  const [restOne, restOther] = [one.slice(head), other.slice(head)];
  const tail = (text: string, from: number) => text.slice(from);
  return (
    tail(restOne, 1) === tail(restOther, 1) ||
    tail(restOne, 1) === restOther ||
    restOne === tail(restOther, 1) ||
    (restOne.length > 1 &&
      restOne[0] === restOther[1] &&
      restOne[1] === restOther[0] &&
      tail(restOne, 2) === tail(restOther, 2))
  );
}
