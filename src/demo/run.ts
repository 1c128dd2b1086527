import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonStatus } from '../daemon/daemon.js';
import { OthersMeter } from './cpu-use.js';
import { DaemonProcess } from './daemon-process.js';
import {
  type Counts,
  callsPerRequest,
  countsBetween,
  countsOfAll,
  type Figures,
  figuresOf,
  problemsOf,
  workShare,
} from './figures.js';
import { Guests } from './guests.js';
import { orAborted } from './interruption.js';
import type { Placement } from './placement.js';
import { LOAD, type RunPlan, TALK_BYTES, TALKERS } from './plan.js';
import type { Scratch } from './scratch.js';

/** Pause between two looks at the guests' counters, ms. */
const LOOK_MS = 250;
/** Looks at the guests between two at the daemon, which costs it some work. */
const LOOKS_PER_STATUS = 4;

/** What a run gives, over all of it so far or over its last moment. */
export interface RunFigures {
  readonly guests: readonly Figures[];
  readonly all: Figures;
  /** Of the two guests that talk through the switch: a request is a question with its answer. */
  readonly talk: Figures;
  /** Share of the sidecore's CPU spent in turns with work; null while it is not known. */
  readonly work_share: number | null;
}

/** A run that is going on. */
export interface RunProgress extends RunFigures {
  readonly plan: RunPlan;
  readonly elapsedSeconds: number;
  /** IOPS of all guests, look by look. */
  readonly history: readonly number[];
}

/** A run that is over. */
export interface RunResult extends RunFigures {
  readonly plan: RunPlan;
  readonly seconds: number;
  readonly history: readonly number[];
  /** Shares of the load's and of the sidecore's CPU that other programs had; null where the kernel does not say. */
  readonly others: { readonly load: number; readonly core: number } | null;
  readonly problems: readonly string[];
}

export interface RunOptions {
  readonly scratch: Scratch;
  readonly placement: Placement;
  readonly vms: readonly string[];
  readonly depth: number;
  readonly seconds: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: RunProgress) => void;
}

/** Runs one load against a daemon of its own, on images of its own. */
export async function runLoad(plan: RunPlan, options: RunOptions): Promise<RunResult> {
  const { scratch, placement, vms, signal } = options;
  scratch.writeImages(vms, LOAD.diskBytes);
  scratch.configure(vms, { mode: plan.mode, cpu: placement.coreCpu, engine: LOAD.engine });
  const daemon = await DaemonProcess.start(scratch, placement, signal);
  try {
    const guests = new Guests({
      cpu: placement.loadCpu,
      sockets: vms.map((vm) => scratch.socket(vm)),
      talkers: [scratch.socket(TALKERS[0], 'net0'), scratch.socket(TALKERS[1], 'net0')],
      pattern: {
        depth: options.depth,
        requestBytes: LOAD.requestBytes,
        readShare: LOAD.readShare,
        workingSetBytes: LOAD.diskBytes,
        verify: true,
        blank: true,
      },
      sleeping: plan.sleeping,
      warmUpMs: LOAD.warmUpMs,
      measureMs: options.seconds * 1000,
    });
    try {
      return await new Run(plan, options, daemon, guests).watch();
    } finally {
      await guests.stop();
    }
  } finally {
    await daemon.stop();
  }
}

/** A moment of a run. */
interface Look {
  readonly at: number;
  readonly counts: readonly Counts[];
  readonly talk: Counts;
}

/** Watches one run. */
class Run {
  readonly #plan: RunPlan;
  readonly #options: RunOptions;
  readonly #daemon: DaemonProcess;
  readonly #guests: Guests;
  readonly #history: number[] = [];
  /** The daemon's answers while the load is measured. */
  readonly #statuses: DaemonStatus[] = [];

  constructor(plan: RunPlan, options: RunOptions, daemon: DaemonProcess, guests: Guests) {
    this.#plan = plan;
    this.#options = options;
    this.#daemon = daemon;
    this.#guests = guests;
  }

  async watch(): Promise<RunResult> {
    const { errors, mismatches } = await this.#orEnd(this.#guests.said('warm'));
    await this.#status();
    const { loadCpu, coreCpu } = this.#options.placement;
    const meter = new OthersMeter([loadCpu, coreCpu], [process.pid, this.#daemon.pid]);
    let over = false;
    const measured = this.#orEnd(this.#guests.said('measured')).finally(() => {
      over = true;
    });
    measured.catch(() => {});
    this.#guests.measure();
    const start = performance.now();
    for (let look = this.#look(), count = 1; ; count++) {
      await Promise.race([sleep(LOOK_MS), measured]);
      if (over) break;
      if (count % LOOKS_PER_STATUS === 0) await this.#status();
      if (over) break;
      const next = this.#look();
      this.#report(look, next, (next.at - start) / 1000);
      look = next;
    }
    const others = meter.read();
    const { seconds } = await measured;
    const { complete } = await this.#orEnd(this.#guests.said('finished'));
    const counts = this.#guests.counts();
    const talk = this.#guests.talkCounts();
    const last = await this.#orEnd(this.#daemon.status());
    this.#guests.leave();
    // Calls over exactly the requests that were measured; the CPU's share only over the time in which they were.
    const figures = {
      ...this.#figures(counts, talk, seconds, this.#statuses[0]!, last),
      work_share: workShare(this.#statuses[0]!, this.#statuses.length > 1 ? this.#statuses.at(-1)! : last),
    };
    const problems = problemsOf([...figures.guests, figures.talk], last);
    if (errors + mismatches > 0)
      problems.push(`while warming up, ${errors} requests failed and ${mismatches} reads were wrong`);
    if (!complete) problems.push('requests are in flight that never complete');
    if (figures.all.requests === 0) problems.push('not one request was completed');
    if (figures.talk.requests === 0) problems.push('not one question was answered through the switch');
    return {
      plan: this.#plan,
      seconds,
      ...figures,
      history: this.#history,
      others: others === undefined ? null : { load: others[0]!, core: others[1]! },
      problems,
    };
  }

  #report(before: Look, now: Look, elapsedSeconds: number): void {
    const seconds = (now.at - before.at) / 1000;
    const counts = now.counts.map((later, index) => countsBetween(before.counts[index]!, later));
    const [earlier, later] = this.#statuses.slice(-2);
    const talk = countsBetween(before.talk, now.talk);
    const figures = this.#figures(counts, talk, seconds, earlier!, later ?? earlier!);
    this.#history.push(figures.all.iops);
    this.#options.onProgress({ plan: this.#plan, elapsedSeconds, ...figures, history: this.#history });
  }

  #figures(
    counts: readonly Counts[],
    talk: Counts,
    seconds: number,
    earlier: DaemonStatus,
    later: DaemonStatus,
  ): RunFigures {
    const figures = (name: string, one: Counts, vm?: string) =>
      figuresOf(name, one, seconds, LOAD.requestBytes, callsPerRequest(earlier, later, vm));
    return {
      guests: this.#options.vms.map((vm, index) => figures(vm, counts[index]!, vm)),
      all: figures('all', countsOfAll(counts)),
      talk: figuresOf('switch', talk, seconds, 2 * TALK_BYTES, null),
      work_share: workShare(earlier, later),
    };
  }

  #look(): Look {
    return { at: performance.now(), counts: this.#guests.counts(), talk: this.#guests.talkCounts() };
  }

  async #status(): Promise<DaemonStatus> {
    const status = await this.#orEnd(this.#daemon.status());
    this.#statuses.push(status);
    return status;
  }

  /** The promise, unless the daemon ends or somebody interrupts. */
  #orEnd<T>(promise: Promise<T>): Promise<T> {
    return orAborted(this.#daemon.whileRunning(promise), this.#options.signal);
  }
}
