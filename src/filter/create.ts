import type { BackendHost, BlockBackend } from '../block/backends/backend.js';
import { createBackend } from '../block/backends/index.js';
import { FilterChain } from './chain.js';
import { ChainFilter } from './chain-filter.js';
import { filterContext } from './context.js';
import type { BlockFilterHooks } from './contract.js';
import { definitionOf } from './evaluate-definition.js';
import { faultText } from './fault-text.js';
import { HelperBell, HelperChannel } from './helper-channel.js';
import { SidecoreHelperPort } from './helper-port.js';
import type { HelperSetup } from './helpers.js';
import type { BuiltIns } from './load.js';
import { ChainControl, FilterMemory } from './memory.js';
import type { ChainSpec, FilterSpec } from './spec.js';
import type { ChainHost } from './walk-owner.js';

/** What filters need of the sidecore that serves their queue. */
export interface FilterHost extends BackendHost, ChainHost {
  /** Of `HelperBell`. */
  readonly helperBell: SharedArrayBuffer;
  /** Has a helper made. */
  makeHelper(setup: HelperSetup): void;
}

/** Puts a device's filters before the back end of one of its queues, on its sidecore. */
export function createChain(
  spec: ChainSpec,
  queue: number,
  backend: BlockBackend,
  builtIns: BuiltIns,
  host: FilterHost,
): FilterChain {
  const chain = new FilterChain(new ChainControl(spec.control), backend, host);
  // What filters begin while they are made waits until all have their places.
  chain.quiesce();
  changeChain(chain, spec, queue, builtIns, host);
  chain.resume();
  return chain;
}

/**
 * Has a chain consist of the filters that a spec names: those that it has already stay, the others are made, and take over the state
 * of those whose place they take. One that cannot be made is out of service, as if it had failed a request. Nothing is in flight.
 */
export function changeChain(
  chain: FilterChain,
  spec: ChainSpec,
  queue: number,
  builtIns: BuiltIns,
  host: FilterHost,
): void {
  const control = new ChainControl(spec.control);
  const old = chain.filters;
  chain.filters = spec.filters.map((filter) => {
    const same = old.find(({ id }) => id === filter.id);
    if (same !== undefined) return same;
    const memory = new FilterMemory({ ...filter, queues: spec.queues }, filter.memory);
    const file = filter.module.kind === 'text' ? filter.module.file : undefined;
    const made = new ChainFilter({ ...filter, memory, file });
    const outer = host.filterMark[0]!;
    try {
      host.filterMark[0] = -filter.id;
      const previous = handedOver(old, filter.replaces);
      if (!memory.out) made.hooks = createHooks(made, filter, spec, { chain, queue, memory, previous, builtIns, host });
    } catch (error) {
      memory.condemn(faultText(error, file));
      chain.walk.operations.forget(made);
      control.change();
    }
    host.filterMark[0] = outer;
    return made;
  });
}

/** State of the filter whose place is taken. */
function handedOver(old: readonly ChainFilter[], replaces: number | undefined): unknown {
  return old.find(({ id, memory }) => id === replaces && !memory.out)?.hooks.handOver?.();
}

interface Parts {
  readonly chain: FilterChain;
  readonly queue: number;
  readonly memory: FilterMemory;
  readonly previous: unknown;
  readonly builtIns: BuiltIns;
  readonly host: FilterHost;
}

function createHooks(made: ChainFilter, filter: FilterSpec, spec: ChainSpec, parts: Parts): BlockFilterHooks {
  const { chain, queue, memory, previous, builtIns, host } = parts;
  const context = filterContext(filter, spec, {
    chain,
    filter: made,
    memory,
    queue,
    previous,
    openDisk: (name) => createBackend(filter.disks[name]!.backend, host),
    helper: filter.hasHelper ? createHelper(made, filter, spec, parts) : undefined,
    now: host.filterDesk.now,
    readNowNs: host.filterDesk.readNowNs,
  });
  const hooks: unknown = definitionOf(filter.module, builtIns).create(context);
  const { submit, complete } = (hooks ?? {}) as BlockFilterHooks;
  const good = [submit, complete].every((hook) => hook === undefined || typeof hook === 'function');
  if (!good || (submit === undefined && complete === undefined))
    throw new Error('create() has returned no functions `submit` or `complete`');
  return hooks as BlockFilterHooks;
}

function createHelper(
  made: ChainFilter,
  filter: FilterSpec,
  { vm, device, queues }: ChainSpec,
  { chain, queue, host }: Parts,
): SidecoreHelperPort {
  const channel = new HelperChannel();
  const bell = new HelperBell(host.helperBell);
  host.makeHelper({ vm, device, queue, queues, filter, channel: channel.buffer });
  made.onRelease(() => {
    channel.close();
    bell.ring();
  });
  const port = new SidecoreHelperPort(made, channel, bell, host.filterDesk, () => chain.wake());
  made.helper = port;
  return port;
}
