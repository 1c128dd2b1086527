/** Frame filters of cards, without a daemon. */
import { CardRule, FrameChain, type FrameHost } from '../../src/filter/frame-chain.js';
import type { FrameFilterContext, FrameFilterHooks } from '../../src/filter/frame-contract.js';
import { KeptFrames } from '../../src/filter/kept-frames.js';
import { ChainControl } from '../../src/filter/memory.js';
import type { FaultPolicy } from '../../src/filter/spec.js';
import type { Port } from '../../src/net/port.js';
import type { Switch } from '../../src/net/switch.js';
import { Service } from './filter-chain.js';

/** The part of a context by which a filter of a test keeps frames. */
export type Keeping = Pick<FrameFilterContext, 'goOn' | 'drop'>;

export interface TestFrameFilter {
  readonly create: (keeping: Keeping) => FrameFilterHooks;
  readonly defers: boolean;
  readonly onFault: FaultPolicy;
  readonly memory: Service;
}

export function frameFilter(
  create: FrameFilterHooks | ((keeping: Keeping) => FrameFilterHooks),
  options: { defers?: boolean; onFault?: FaultPolicy } = {},
): TestFrameFilter {
  const { defers = false, onFault = 'closed' } = options;
  return {
    create: typeof create === 'function' ? create : () => create,
    defers,
    onFault,
    memory: new Service(),
  };
}

let id = 0;

export function chainOf(
  filters: readonly TestFrameFilter[],
  port: Port,
  network: Switch,
  host: FrameHost,
  control = new ChainControl(),
): FrameChain {
  const rule = new CardRule(network);
  const made = filters.map(({ create, defers, onFault, memory }) => {
    const kept = defers ? new KeptFrames(rule) : undefined;
    const hooks = create({ goOn: (token) => kept!.setDue(token), drop: (token) => kept!.drop(token) });
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
