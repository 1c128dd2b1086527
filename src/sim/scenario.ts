import { SidecoreError } from '../errors.js';
import { SIM_CORES_MAX, SIM_DEPTH_MAX, SIM_GUESTS_MAX, WEIGHT_MAX } from '../limits.js';
import { SCHEDULER_DEFAULTS, type SchedulerOptions } from '../scheduler/policy.js';

/**
 * What a guest does: reads of a disk; frames to a partner as fast as they go; a question to a partner, and the next when it has the
 * answer; nothing.
 */
export type WorkKind = 'disk' | 'stream' | 'talk' | 'idle';
/** Where a disk's data are. */
export type StorageKind = 'null' | 'memory' | 'file';

/** Guests that are alike. */
export interface GuestClass {
  readonly name: string;
  readonly count: number;
  readonly work: WorkKind;
  /** Disks or cards of each, which all do the same. */
  readonly devices: number;
  /** Requests or frames in flight, each device. A talk has one. */
  readonly depth: number;
  /** Bytes of each. */
  readonly bytes: number;
  /** Mean time between a completion and the request that follows it, ns, exponentially distributed; zero: at once. */
  readonly thinkNs: number;
  readonly storage: StorageKind;
  /** Share of time, against others. */
  readonly weight: number;
}

/** Sidecores that are balanced, and taken into use and out of it. */
export interface BalancePlan {
  /** Time between two rounds, ns. */
  readonly windowNs: number;
  /** The fewest sidecores that are in use. */
  readonly coresMin: number;
}

export interface Scenario {
  /** As the daemon's: queues are always polled; polled and left when idle; a thread for each device that sleeps until it is kicked. */
  readonly mode: 'sidecore' | 'adaptive' | 'baseline';
  readonly scheduler: SchedulerOptions;
  /** CPUs of the back end. */
  readonly cores: number;
  /** Left out: everything stays where it is. Not in `baseline`. */
  readonly balance: BalancePlan | undefined;
  /** All guests begin on the first sidecore, instead of one after the other on the next. */
  readonly packed: boolean;
  /** All guests in one thread on one CPU, as the benchmarks drive them; or each on a CPU of its own, as virtual machines are. */
  readonly guestCpus: 'one' | 'own';
  /** Guests sleep until they are called; otherwise they poll. */
  readonly sleeping: boolean;
  readonly guests: readonly GuestClass[];
  /** Guests that do nothing have done so for longer than their queues are polled. */
  readonly idleLeft: boolean;
  /** Storage behind `file`: median of its times and standard deviation of their logarithm, and how many requests it does at once. */
  readonly fileNs: number;
  readonly fileSigma: number;
  readonly fileParallel: number;
  /** Time that is not counted, and time that is, ns. */
  readonly warmUpNs: number;
  readonly durationNs: number;
}

const GUEST: GuestClass = {
  name: 'guest',
  count: 1,
  work: 'disk',
  devices: 1,
  depth: 1,
  bytes: 4096,
  thinkNs: 0,
  storage: 'memory',
  weight: 1,
};

const SCENARIO: Scenario = {
  mode: 'sidecore',
  scheduler: SCHEDULER_DEFAULTS,
  cores: 1,
  balance: undefined,
  packed: false,
  guestCpus: 'own',
  sleeping: false,
  guests: [GUEST],
  idleLeft: true,
  fileNs: 80_000,
  fileSigma: 0.3,
  fileParallel: 64,
  warmUpNs: 1e6,
  durationNs: 10e6,
};

export type ScenarioOptions = Partial<Omit<Scenario, 'guests' | 'scheduler'>> & {
  readonly guests?: readonly Partial<GuestClass>[];
  readonly scheduler?: Partial<SchedulerOptions>;
};

/** A whole scenario, checked: what is left out is one polling guest of depth 1 on one sidecore. */
export function scenario(options: ScenarioOptions = {}): Scenario {
  const guests = (options.guests ?? [{}]).map((one) => ({ ...GUEST, ...one }));
  const whole = { ...SCENARIO, ...options, guests, scheduler: { ...SCHEDULER_DEFAULTS, ...options.scheduler } };
  const count = guests.reduce((sum, one) => sum + one.count * one.devices, 0);
  inRange('guests with their devices', count, 1, SIM_GUESTS_MAX);
  inRange('cores', whole.cores, 1, SIM_CORES_MAX);
  if (whole.balance !== undefined) {
    inRange('sidecores in use', whole.balance.coresMin, 1, whole.cores);
    if (whole.mode === 'baseline' || !(whole.balance.windowNs > 0))
      throw wrong('only sidecores are balanced, at some time');
  }
  for (const one of guests) {
    inRange('guests of a class', one.count, 0, SIM_GUESTS_MAX);
    inRange('devices of a guest', one.devices, 1, SIM_GUESTS_MAX);
    inRange('depth', one.depth, 1, SIM_DEPTH_MAX);
    inRange('weight', one.weight, 1, WEIGHT_MAX);
    if (!(one.bytes >= 1) || !(one.thinkNs >= 0)) throw wrong('bytes and thinkNs are positive');
  }
  if (!(whole.durationNs > 0) || !(whole.warmUpNs >= 0)) throw wrong('times are positive');
  return whole;
}

function inRange(what: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw wrong(`${what}: ${least} to ${most}, not ${value}`);
}

const wrong = (what: string): SidecoreError =>
  new SidecoreError('CONFIG_INVALID', `scenario of the simulator: ${what}`);
