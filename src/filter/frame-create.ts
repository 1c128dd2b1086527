import { readNowNs, readWallClock } from '../host/clock.js';
import type { Networks } from '../net/networks.js';
import type { Port } from '../net/port.js';
import { StagedBurst } from '../net/staged-burst.js';
import type { Switch } from '../net/switch.js';
import { evaluate } from './evaluate.js';
import { faultText } from './fault-text.js';
import { FrameChain } from './frame-chain.js';
import { CardRule, type FrameChainFilter, type FrameHost } from './frame-chain-filter.js';
import type { FrameFilter, FrameFilterContext, FrameFilterHooks } from './frame-contract.js';
import { CopyPort } from './frame-ports.js';
import type { FrameChainSpec, FrameFilterSpec } from './frame-spec.js';
import { KeptFrames } from './kept-frames.js';
import type { FrameBuiltIns } from './load.js';
import { ChainControl, FilterMemory } from './memory.js';
import type { FilterModule } from './spec.js';

/** What the chains of one sidecore have in common. */
export function createFrameHost(mark: Int32Array = new Int32Array(1)): FrameHost {
  return { outboundStaged: new StagedBurst(), inboundStaged: new StagedBurst(), mark, readNowNs };
}

interface Place {
  readonly port: Port;
  readonly network: Switch;
  readonly networks: Pick<Networks, 'copy'>;
  readonly host: FrameHost;
  readonly builtIns: FrameBuiltIns;
}

/**
 * Makes the filters of a card on its sidecore, in place of those that it had, if it had any: filters that stay keep their variables and
 * the frames that they keep; what those that go have kept goes on. One that cannot be made is out of service.
 */
export function createFrameChain(spec: FrameChainSpec, place: Place, before?: FrameChain): FrameChain {
  const { port, network, host } = place;
  const control = new ChainControl(spec.control);
  const rule = before?.rule ?? new CardRule(network);
  const stays = new Map<number, FrameChainFilter>();
  const handedOver = new Map<number, unknown>();
  if (before !== undefined) retire(before, spec, stays, handedOver);
  const filters = spec.filters.map(
    (filter) =>
      stays.get(filter.id) ?? createFilter(filter, spec, place, rule, control, handedOver.get(filter.replaces ?? 0)),
  );
  return new FrameChain(filters, { control, port, network, host, rule });
}

/** Sorts out the filters of a chain that is replaced. */
function retire(
  before: FrameChain,
  spec: FrameChainSpec,
  stays: Map<number, FrameChainFilter>,
  handedOver: Map<number, unknown>,
): void {
  const ids = new Set(spec.filters.map(({ id }) => id));
  for (const [at, filter] of before.filters.entries()) {
    if (ids.has(filter.id)) {
      stays.set(filter.id, filter);
      continue;
    }
    try {
      if (!filter.memory.out) handedOver.set(filter.id, filter.hooks.handOver?.());
    } catch {
      // Whoever follows begins anew.
    }
    before.closeFilter(at);
  }
}

function createFilter(
  filter: FrameFilterSpec,
  spec: FrameChainSpec,
  place: Place,
  rule: CardRule,
  control: ChainControl,
  previous: unknown,
): FrameChainFilter {
  const { id, module, onFault } = filter;
  const memory = new FilterMemory({ ...filter, queues: 1 }, filter.memory);
  const file = module.kind === 'text' ? module.file : undefined;
  let hooks: FrameFilterHooks = {};
  let kept: KeptFrames | undefined;
  // A module that does not come to an end while it is made is told from one in a hook.
  const { mark } = place.host;
  const outer = mark[0]!;
  try {
    if (!memory.out) {
      mark[0] = -id;
      const definition = frameDefinitionOf(module, place.builtIns);
      if (definition.defers === true) kept = new KeptFrames(rule);
      hooks = checkedHooks(definition.create(contextOf(filter, spec, place, memory, kept, previous)));
    }
  } catch (error) {
    memory.condemn(faultText(error, file));
    control.change();
  }
  mark[0] = outer;
  return { id, hooks, kept, onFault, memory, file };
}

function contextOf(
  { options, shared, group, prepared, ports }: FrameFilterSpec,
  { vm, device, mac }: FrameChainSpec,
  { network, networks }: Place,
  memory: FilterMemory,
  kept: KeptFrames | undefined,
  previous: unknown,
): FrameFilterContext {
  return {
    vm,
    device,
    mac,
    options,
    shared,
    group,
    prepared,
    previous,
    port: (name) => {
      const to = Object.hasOwn(ports, name) ? ports[name] : undefined;
      if (to === undefined) throw new Error(`its definition’s ports() has no ${name}`);
      return new CopyPort(to, network, networks);
    },
    counter: (name) => memory.counter(0, name),
    histogram: (name) => memory.histogram(0, name),
    readNowNs,
    readWallClock,
    log: (text) => memory.logNote.leave(text),
    goOn: (token) => kept?.setDue(token) ?? false,
    drop: (token) => kept?.drop(token) ?? false,
  };
}

function checkedHooks(made: unknown): FrameFilterHooks {
  const { outbound, inbound } = (made ?? {}) as FrameFilterHooks;
  const good = [outbound, inbound].every((hook) => hook === undefined || typeof hook === 'function');
  if (!good || (outbound === undefined && inbound === undefined))
    throw new Error('create() has returned no functions `outbound` or `inbound`');
  return made as FrameFilterHooks;
}

/** A filter's definition, on any thread. Throws what its module throws. */
function frameDefinitionOf(module: FilterModule, builtIns: FrameBuiltIns): FrameFilter {
  return module.kind === 'built-in' ? builtIns[module.name]! : (evaluate(module.text, module.file) as FrameFilter);
}
