import { SidecoreError } from '../errors.js';

/**
 * What everything takes on a machine, ns of CPU time if nothing else is said. `sidecore sim --calibrate` measures them; those below
 * were measured on two CPUs of an AMD EPYC in a virtual machine.
 */
export const DEFAULT_COSTS = {
  /** From a store of one CPU until another that looks sees it. */
  visibleNs: 45,
  /** A reading of the clock. */
  clockNs: 45,

  /** A sidecore: a look at a queue without work; a round over all queues besides; a piece of work; showing what is complete. */
  pollNs: 5,
  roundNs: 25,
  pieceNs: 60,
  showNs: 30,
  /** A request of a disk, without its data; a byte of one up to 16 KiB, and beyond, where it comes from memory and not from a cache. */
  requestNs: 90,
  byteNs: 0.028,
  farByteNs: 0.06,
  /** A frame that is switched, without its bytes. */
  frameNs: 60,
  frameByteNs: 0.02,
  /** A request handed to storage; an answer of it taken. */
  submitNs: 250,
  reapNs: 100,

  /** A guest: a look at one ring without completions; a batch of completions, published anew; each of them, with the request after it. */
  lookNs: 8,
  batchNs: 110,
  completionNs: 55,
  /** A guest asks for calls at one ring before it sleeps. */
  armNs: 25,

  /** A write to an event descriptor that nobody waits for; how much longer it takes to wake a thread; and one on an idle CPU. */
  signalNs: 350,
  wakeNs: 700,
  wakeIdleNs: 1500,
  /** From the write until a thread on an idle CPU goes on; and the switch to another thread on the same CPU. */
  idleWakeNs: 5000,
  switchNs: 1200,
  /** A sidecore or guest goes to sleep, and takes what has woken it. */
  sleepNs: 1500,
  resumeNs: 1500,
  /** A kick of a watched queue reaches a sidecore that is awake, by another thread. */
  watcherNs: 30_000,
  /** Time after which a thread gives way to others that want its CPU. */
  sliceNs: 3_000_000,

  /** Times vary by this share, evenly: what keeps a simulation from falling into a step that no machine keeps. */
  jitter: 0.1,
} as const satisfies Record<string, number>;

export type Costs = { readonly [name in keyof typeof DEFAULT_COSTS]: number };

/** Bytes of a request from which on its data come from memory. */
export const NEAR_BYTES = 16_384;

/** Checks what was read from a file: every cost a number that is not negative. What is missing is taken from the defaults. */
export function parseCosts(value: unknown): Costs {
  if (typeof value !== 'object' || value === null) throw bad('it is no object');
  const costs: Record<string, number> = { ...DEFAULT_COSTS };
  for (const [name, cost] of Object.entries(value)) {
    if (!(name in DEFAULT_COSTS)) throw bad(`there is no cost ${name}`);
    if (typeof cost !== 'number' || !Number.isFinite(cost) || cost < 0) throw bad(`${name} is no time`);
    costs[name] = cost;
  }
  if (costs['jitter']! >= 1) throw bad('jitter is a share below 1');
  return costs as Costs;
}

const bad = (what: string): SidecoreError =>
  new SidecoreError('CONFIG_INVALID', `costs of the simulator: ${what}`, 'Write them anew with --calibrate.');

/** What it takes to move the data of a request, ns. */
export function copyNs(costs: Costs, bytes: number): number {
  const near = bytes < NEAR_BYTES ? bytes : NEAR_BYTES;
  return near * costs.byteNs + (bytes - near) * costs.farByteNs;
}
