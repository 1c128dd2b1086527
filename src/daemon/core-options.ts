import type { SchedulerOptions } from '../scheduler/policy.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { Core } from './core.js';

/** What the daemon is told of a core. */
export interface CoreListener {
  /**
   * The thread died and another has taken its queues over.
   *
   * @param fault - what a filter has done, if it died of one; that is out of service
   */
  died(core: Core, reason: string, fault: string | undefined): void;
  /** The thread has not got on, or not answered, for `CORE_ANSWER_MS_MAX`: something holds it up; or it does again. */
  stalled(core: Core, stalled: boolean): void;
  /** The thread died, and what the kernel does for it does not end: nobody can take its queues over. */
  lost(core: Core): void;
  /** The thread of filters' helpers died, and is started again. */
  helpersDied?(reason: string): void;
}

/** Where a core runs, and how patiently it polls. */
export interface CoreOptions {
  readonly index: number;
  readonly cpus: readonly number[];
  readonly helperCpus: readonly number[];
  readonly sqpollCpu: number | undefined;
  readonly polling: PollingRule;
  readonly scheduler: SchedulerOptions;
  /** It is there for one device alone, whose filters nobody trusts. */
  readonly quarantine?: boolean;
  /** What its thread runs, if not a sidecore: for tests of what becomes of the others. */
  readonly thread?: URL;
}
