import type { BlockFilterHooks } from './contract.js';
import type { FilterDesk } from './filter-desk.js';
import type { SidecoreHelperPort } from './helper-port.js';
import type { FilterMemory } from './memory.js';
import type { Operation } from './operations.js';
import { Ring } from './ring.js';
import type { FaultPolicy } from './spec.js';

/** What the makers of a `ChainFilter` say of it. */
export interface ChainFilterParts {
  /** Of its `FilterSpec`. */
  readonly id: number;
  readonly onFault: FaultPolicy;
  /** Whether it is in service, on whichever sidecore it failed. */
  readonly memory: Pick<FilterMemory, 'out' | 'condemn' | 'noteFault' | 'noteTime'>;
  /** The file that its code names in stack traces, where it is not ours. */
  readonly file: string | undefined;
  /** It may keep requests, for so long at most, ns. */
  readonly defers: boolean;
  readonly deferNsMax: number;
}

/** One filter of a chain: its code, and what of it is under way. */
export class ChainFilter implements ChainFilterParts {
  readonly id: number;
  readonly onFault: FaultPolicy;
  readonly memory: ChainFilterParts['memory'];
  readonly file: string | undefined;
  readonly defers: boolean;
  readonly deferNsMax: number;
  /** Which hooks it had when it was made; what it has later is its own affair, and shows when it is called. */
  hasSubmit = false;
  hasComplete = false;
  hasTick = false;
  hasHurry = false;
  /** Its place in its chain. */
  index = 0;
  /** Requests that it keeps, operations of its own, and what its helper was asked and has not answered. */
  held = 0;
  operations = 0;
  jobs = 0;
  /** Nothing waits for its helper's answers any more: it has taken too long. */
  forsaken = false;
  /** Until when it has to have ended what it is in the middle of, ns; infinite if nobody waits for that. */
  readonly settleBy = new Float64Array([Number.POSITIVE_INFINITY]);
  /** Operations of its own that wait to be begun. */
  readonly waiting = new Ring<Operation>();
  /** It has no place in its chain any more: nothing of it is called but `close`. */
  gone = false;
  /** The way to its helper, if it has one. */
  helper: SidecoreHelperPort | undefined = undefined;
  /** When it wants to be called, ns; infinite if it does not. */
  readonly wake = new Float64Array([Number.POSITIVE_INFINITY]);
  /** Gives back what was made for it. */
  readonly #releases: (() => void)[] = [];
  #hooks: BlockFilterHooks = {};

  constructor({ id, onFault, memory, file, defers, deferNsMax }: ChainFilterParts) {
    this.id = id;
    this.onFault = onFault;
    this.memory = memory;
    this.file = file;
    this.defers = defers;
    this.deferNsMax = deferNsMax;
  }

  /** Empty until its `create` has given them. What a filter gives may be anything: to look at it may run code of its, and throw. */
  get hooks(): BlockFilterHooks {
    return this.#hooks;
  }

  set hooks(hooks: BlockFilterHooks) {
    this.hasSubmit = hooks.submit !== undefined;
    this.hasComplete = hooks.complete !== undefined;
    this.hasTick = hooks.tick !== undefined;
    this.hasHurry = hooks.hurry !== undefined;
    this.#hooks = hooks;
  }

  /** All that its helper was asked is answered, whether it was told of that or not. */
  get isAnswered(): boolean {
    return this.jobs === 0 || this.jobs === this.helper!.channel.answers;
  }

  /** It has asked its helper something that is not answered in time. */
  isUnanswered(now: Float64Array): boolean {
    return this.jobs > 0 && this.helper!.channel.isLate(this.deferNsMax, now);
  }

  /** Whether there is time left for it: it is in the middle of something, and waited for. */
  mayGoOn(desk: FilterDesk): boolean {
    const { now } = desk;
    const { settleBy } = this;
    desk.readNow();
    settleBy[0] = Math.min(settleBy[0]!, now[0]! + this.deferNsMax);
    return now[0]! < settleBy[0]!;
  }

  /** Has something called when it is let go of. */
  onRelease(release: () => void): void {
    this.#releases.push(release);
  }

  /** It is called no more; nothing of it is in flight, except what a helper has that does not answer. */
  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }
}
