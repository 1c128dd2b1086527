import type { StagedBurst } from '../net/staged-burst.js';
import type { Switch } from '../net/switch.js';
import type { FrameFilterHooks } from './frame-contract.js';
import type { KeepingRule, KeptFrames } from './kept-frames.js';
import type { FilterMemory } from './memory.js';
import type { FaultPolicy } from './spec.js';

/** One filter of a card. */
export interface FrameChainFilter {
  /** Unique in the daemon, above zero. */
  readonly id: number;
  readonly hooks: FrameFilterHooks;
  /** Of a filter that keeps frames; made with `FrameChain.rule`. */
  readonly kept: KeptFrames | undefined;
  readonly onFault: FaultPolicy;
  /** Whether it is in service. */
  readonly memory: Pick<FilterMemory, 'out' | 'condemn' | 'noteFault' | 'noteTime'>;
  /** The file that its code names in stack traces, where it is not ours. */
  readonly file: string | undefined;
}

/** What the chains of one sidecore have in common. */
export interface FrameHost {
  readonly outboundStaged: StagedBurst;
  readonly inboundStaged: StagedBurst;
  /** See `FrameTools`. */
  readonly mark: Int32Array;
  readNowNs(into: Float64Array, slot: number): void;
}

/** Whether the frames of a card may be kept: not while it is being moved, or let go of. */
export class CardRule implements KeepingRule {
  closed = false;
  readonly #network: Pick<Switch, 'frozen'>;

  constructor(network: Pick<Switch, 'frozen'>) {
    this.#network = network;
  }

  get mayKeep(): boolean {
    return !this.closed && !this.#network.frozen;
  }
}
