import { SidecoreError } from '../errors.js';
import { Frame } from '../net/frame.js';
import type { Networks } from '../net/networks.js';
import type { PortAddress } from '../net/port.js';
import type { Switch } from '../net/switch.js';
import { callDefinition } from './definition-call.js';
import type { FilterFrame, FramePort } from './frame-contract.js';
import type { FrameView } from './frame-view.js';
import type { ReadyFrameFilter } from './opened-frame-filter.js';

/** The ports of a daemon by what they are called: cards as `VM/NIC`, others as `NETWORK/PORT`. */
export interface KnownPorts {
  find(label: string): PortAddress | undefined;
  /** Ports to which filters of a card give copies. */
  copiesOf(label: string): readonly string[];
}

/** Ports to which a filter gives copies, by its own names for them. Throws `FILTER_INVALID` if its definition does not say. */
export function portsOf(ready: ReadyFrameFilter): Readonly<Record<string, string>> {
  const { definition, options, use } = ready;
  const ports = callDefinition(ready, 'ports', () => definition.ports?.(options) ?? {});
  if (Object.values(ports).every((label) => typeof label === 'string')) return { ...ports };
  throw new SidecoreError('FILTER_INVALID', `ports() of the filter ${use} gives something that is no port’s name`);
}

/**
 * What is wrong with the ports to which a filter of a card gives copies. Copies are never copied again; but two that watch each other
 * see nothing of each other’s own.
 */
export function portFaults(
  card: string,
  ports: Readonly<Record<string, string>>,
  known: KnownPorts,
): { readonly name: string; readonly text: string }[] {
  const faultOf = (label: string): string | undefined => {
    if (label === card) return 'a card does not get copies of its own frames';
    if (known.find(label) === undefined) return `there is no network card or port ${label}`;
    if (known.copiesOf(label).includes(card)) return `${label} has copies of its own frames sent to ${card}`;
    return undefined;
  };
  return Object.entries(ports).flatMap(([name, label]) => {
    const text = faultOf(label);
    return text === undefined ? [] : [{ name, text }];
  });
}

/** A port that one card's filter gives copies to. */
export class CopyPort implements FramePort {
  readonly #to: PortAddress;
  readonly #from: Switch;
  readonly #networks: Pick<Networks, 'copy'>;
  /** Of a burst. */
  readonly #frame = new Frame();

  /** @param from - of the card */
  constructor(to: PortAddress, from: Switch, networks: Pick<Networks, 'copy'>) {
    this.#to = to;
    this.#from = from;
    this.#networks = networks;
  }

  deliver(frame: FilterFrame): boolean {
    const view = frame as FrameView;
    view.requireAsked();
    return this.#networks.copy(view.describe(this.#frame), this.#to, this.#from);
  }
}
