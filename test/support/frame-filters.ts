/** Frame filters of cards, without a daemon. */

import type { z } from 'zod';
import { FrameChain } from '../../src/filter/frame-chain.js';
import { CardRule, type FrameHost } from '../../src/filter/frame-chain-filter.js';
import type { FrameFilter, FrameFilterContext, FrameFilterHooks } from '../../src/filter/frame-contract.js';
import { CopyPort } from '../../src/filter/frame-ports.js';
import { KeptFrames } from '../../src/filter/kept-frames.js';
import { readOptions } from '../../src/filter/load.js';
import { ChainControl, FilterMemory } from '../../src/filter/memory.js';
import type { FaultPolicy } from '../../src/filter/spec.js';
import { readWallClock } from '../../src/host/clock.js';
import { macHigh, macLow } from '../../src/net/ethernet.js';
import type { Networks } from '../../src/net/networks.js';
import type { Port, PortAddress } from '../../src/net/port.js';
import type { Switch } from '../../src/net/switch.js';
import { Service } from './filter-chain.js';

/** The part of a context by which a filter of a test keeps frames, or gives copies of them away. */
export type Keeping = Pick<FrameFilterContext, 'goOn' | 'drop' | 'port'>;

export interface TestFrameFilter {
  readonly create: (keeping: Keeping) => FrameFilterHooks;
  readonly defers: boolean;
  readonly onFault: FaultPolicy;
  readonly memory: Service;
  /** To which it gives copies. */
  readonly ports: Readonly<Record<string, PortAddress>>;
}

export function frameFilter(
  create: FrameFilterHooks | ((keeping: Keeping) => FrameFilterHooks),
  options: Partial<Pick<TestFrameFilter, 'defers' | 'onFault' | 'ports'>> = {},
): TestFrameFilter {
  const { defers = false, onFault = 'closed', ports = {} } = options;
  return {
    create: typeof create === 'function' ? create : () => create,
    defers,
    onFault,
    memory: new Service(),
    ports,
  };
}

let id = 0;

export function chainOf(
  filters: readonly TestFrameFilter[],
  port: Port,
  network: Switch,
  host: FrameHost,
  networks: Pick<Networks, 'copy'>,
): FrameChain {
  const rule = new CardRule(network);
  const control = new ChainControl();
  const made = filters.map(({ create, defers, onFault, memory, ports }) => {
    const kept = defers ? new KeptFrames(rule) : undefined;
    const hooks = create({
      goOn: (token) => kept!.setDue(token),
      drop: (token) => kept!.drop(token),
      port: (name) => new CopyPort(ports[name]!, network, networks),
    });
    return { id: ++id, hooks, kept, onFault, memory, file: undefined };
  });
  return new FrameChain(made, { control, port, network, host, rule });
}

/** Passes everything on. Each is a function of its own. */
export function passFrames(): FrameFilterHooks {
  return {
    outbound(frame, next) {
      next(frame);
    },
    inbound(frame, next) {
      next(frame);
    },
  };
}

/** A clock that a test sets, ns. */
export interface TestClock {
  ns: number;
}

/** A filter as its definition makes it, with its counters in plain sight. */
export function definedFilter<Schema extends z.ZodType>(
  definition: FrameFilter<Schema>,
  given: Readonly<Record<string, unknown>> = {},
  parts: Partial<Pick<TestFrameFilter, 'ports'>> & {
    shared?: SharedArrayBuffer;
    group?: SharedArrayBuffer;
    clock?: TestClock;
    mac?: Buffer;
  } = {},
) {
  const read = readOptions(definition, given);
  if ('faults' in read) throw new Error(JSON.stringify(read.faults));
  const { options } = read;
  const { counters = [], histograms = [], sharedBytes = 0, groupBytes = 0 } = definition;
  const counts = new FilterMemory({ counters, histograms, queues: 1 });
  const bytes = typeof sharedBytes === 'number' ? sharedBytes : sharedBytes(options as z.output<Schema>);
  const { clock = { ns: 1e15 }, mac = Buffer.from('525400000001', 'hex') } = parts;
  const { shared = new SharedArrayBuffer(bytes), group = new SharedArrayBuffer(groupBytes) } = parts;
  const logged: string[] = [];
  const create = ({ goOn, drop, port }: Keeping) =>
    definition.create({
      vm: 'vm',
      device: 'nic',
      mac: { high: macHigh(mac, 0), low: macLow(mac, 0) },
      options: options as z.output<Schema>,
      shared,
      group,
      prepared: undefined,
      previous: undefined,
      counter: (name) => counts.counter(0, name),
      histogram: (name) => counts.histogram(0, name),
      readNowNs(into, slot) {
        into[slot] = clock.ns;
      },
      readWallClock,
      log: (text) => logged.push(text),
      goOn,
      drop,
      port,
    });
  const { ports = {} } = parts;
  const filter = frameFilter(create, { defers: definition.defers ?? false, ports });
  return { filter, counts, shared, clock, options, logged };
}
