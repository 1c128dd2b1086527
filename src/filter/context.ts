import type { BlockBackend } from '../block/backends/backend.js';
import { assert } from '../errors.js';
import { FILTER_BUFFER_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX } from '../limits.js';
import { OwnBuffers } from './buffers.js';
import type { FilterChain } from './chain.js';
import type { ChainFilter } from './chain-filter.js';
import type { BlockFilterContext, HelperPort, IoTarget } from './contract.js';
import type { FilterMemory } from './memory.js';
import { Target } from './operations.js';
import type { ChainSpec, FilterSpec } from './spec.js';

/** What a filter's context is made of, besides its spec. */
export interface ContextParts {
  readonly chain: FilterChain;
  readonly filter: ChainFilter;
  readonly memory: FilterMemory;
  readonly queue: number;
  readonly previous: unknown;
  /** Opens one of its disks for this queue. */
  openDisk(name: string): BlockBackend;
  /** Undefined if it has none. */
  readonly helper: HelperPort | undefined;
  readonly now: Float64Array;
  readNowNs(into: Float64Array, slot: number): void;
}

/** Makes what a filter gets for one queue. What it takes is given back when the filter is let go of. */
export function filterContext(
  spec: FilterSpec,
  { vm, device, queues }: ChainSpec,
  parts: ContextParts,
): BlockFilterContext {
  const { chain, filter, memory, queue, previous, openDisk, helper, now, readNowNs } = parts;
  const { walk } = chain;
  const { options, prepared, shared, group, belowBytes, disks } = spec;
  let bufferBytes = 0;
  const targets = new Map<string, IoTarget>();
  return {
    vm,
    device,
    queue,
    queues,
    options,
    prepared,
    slots: REQUESTS_IN_FLIGHT_MAX,
    shared,
    group,
    previous,
    counter: (name) => memory.counter(queue, name),
    histogram: (name) => memory.histogram(queue, name),
    readNowNs,
    now,
    wakeAt(timeNs) {
      if (typeof timeNs === 'number' && timeNs < filter.wake[0]!) filter.wake[0] = timeNs;
      chain.wake();
    },
    goOn: (token) => walk.goOn(filter, token),
    redirect: (token, disk) => walk.redirect(filter, token, disk),
    finish: (token, status) => walk.finish(filter, token, status),
    requestOf: (token) => walk.requestOf(filter, token),
    buffers(count, bytes) {
      const pool = new OwnBuffers(count, bytes, FILTER_BUFFER_BYTES_MAX - bufferBytes);
      bufferBytes += pool.mappedBytes;
      filter.onRelease(() => {
        // A helper that has not answered may still use them: they stay mapped.
        if (filter.isAnswered) pool.close();
      });
      return pool;
    },
    below: new Target(filter, chain.backend, belowBytes, true, walk.operations),
    disk(name) {
      const disk = disks[name];
      if (disk === undefined) throw new Error(`the filter’s definition names no disk ${name}`);
      let target = targets.get(name);
      if (target === undefined) {
        const backend = openDisk(name);
        filter.onRelease(() => backend.close());
        target = new Target(filter, backend, disk.sizeBytes, false, walk.operations);
        targets.set(name, target);
      }
      return target;
    },
    get helper(): HelperPort {
      assert(helper !== undefined, 'a filter uses a helper only if its definition has one');
      return helper;
    },
    log: (text) => memory.logNote.leave(text),
  };
}
