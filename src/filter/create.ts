import type { BlockBackend } from '../block/backends/backend.js';
import { readNowNs } from '../host/clock.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../limits.js';
import { type ChainFilter, FilterChain, faultText } from './chain.js';
import type { BlockFilter, BlockFilterContext, BlockFilterHooks } from './contract.js';
import { evaluate } from './evaluate.js';
import type { BuiltIns } from './load.js';
import { ChainControl, FilterMemory } from './memory.js';
import type { ChainSpec, FilterModule, FilterSpec } from './spec.js';

/**
 * Puts a device's filters before the back end of one of its queues, on its sidecore. One that cannot be made is out of service, as
 * if it had failed a request.
 */
export function createChain(spec: ChainSpec, queue: number, backend: BlockBackend, builtIns: BuiltIns): BlockBackend {
  const control = new ChainControl(spec.control);
  const filters = spec.filters.map((filter): ChainFilter => {
    const memory = new FilterMemory({ ...filter, queues: spec.queues }, filter.memory);
    const file = filter.module.kind === 'text' ? filter.module.file : undefined;
    let hooks: BlockFilterHooks = {};
    try {
      if (!memory.out) hooks = createHooks(filter, memory, spec, queue, builtIns);
    } catch (error) {
      memory.condemn(faultText(error, file));
      control.change();
    }
    return { hooks, onFault: filter.onFault, memory, file };
  });
  return new FilterChain(filters, control, backend);
}

function createHooks(
  { module, options, shared }: FilterSpec,
  memory: FilterMemory,
  { vm, device }: ChainSpec,
  queue: number,
  builtIns: BuiltIns,
): BlockFilterHooks {
  const context: BlockFilterContext = {
    vm,
    device,
    queue,
    options,
    slots: REQUESTS_IN_FLIGHT_MAX,
    shared,
    counter: (name) => memory.counter(queue, name),
    histogram: (name) => memory.histogram(queue, name),
    readNowNs,
    log: (text) => memory.logNote.leave(text),
  };
  const hooks: unknown = definitionOf(module, builtIns).create(context);
  const { submit, complete } = (hooks ?? {}) as BlockFilterHooks;
  const good = [submit, complete].every((hook) => hook === undefined || typeof hook === 'function');
  if (!good || (submit === undefined && complete === undefined))
    throw new Error('create() has returned no functions `submit` or `complete`');
  return hooks as BlockFilterHooks;
}

function definitionOf(module: FilterModule, builtIns: BuiltIns): BlockFilter {
  return module.kind === 'built-in' ? builtIns[module.name]! : (evaluate(module.text, module.file) as BlockFilter);
}
