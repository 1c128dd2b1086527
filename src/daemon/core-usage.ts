import { NetDeviceState } from '../net/device-state.js';
import { PortCounter } from '../net/port.js';
import type { CoreLoad, Movable } from '../scheduler/balancer.js';
import type { ElasticSample } from '../scheduler/elastic.js';
import { QueueCounter } from '../virtio/queue-state.js';
import type { Core } from './core.js';
import type { CoreSet } from './core-set.js';
import type { PlacedDevice, PlacedQueue } from './placed-device.js';

/** Bytes that count as one request more, where what else a core did is shared out. */
const BYTES_PER_REQUEST = 8192;

/** What moves as one: a queue by itself, or a device with all its queues. */
export interface Unit {
  readonly id: number;
  readonly device: PlacedDevice;
  /** Undefined if it is the whole device. */
  readonly queue: PlacedQueue | undefined;
  readonly core: Core;
}

/** What was done in one window of time. */
export interface Usage {
  readonly windowNs: number;
  readonly units: ReadonlyMap<number, Unit>;
  readonly movables: readonly Movable[];
  readonly loads: readonly CoreLoad[];
  readonly sample: ElasticSample;
}

interface UnitCounts {
  readonly timeNs: number;
  /** Requests, or frames. */
  readonly count: number;
  readonly bytes: number;
}

interface CoreCounts {
  readonly busyNs: number;
  readonly emptyNs: number;
}

/** Reads from shared memory what cores and queues have done since it was last read. */
export class CoreUsage {
  readonly #set: CoreSet;
  readonly #units = new Map<number, UnitCounts>();
  readonly #cores = new Map<Core, CoreCounts>();
  #atNs = 0;

  constructor(set: CoreSet) {
    this.#set = set;
  }

  /** @param nowNs - by any clock, always the same */
  read(nowNs: number): Usage {
    const windowNs = nowNs - this.#atNs;
    this.#atNs = nowNs;
    const units = this.#unitsNow();
    const done = new Map([...units].map(([id, unit]) => [id, this.#since(id, countsOf(unit))]));
    for (const id of this.#units.keys()) if (!units.has(id)) this.#units.delete(id);
    const spent = new Map(this.#set.common.map((core) => [core, this.#spentBy(core)]));
    const all = [...units.values()];
    const movables = [...spent].flatMap(([core, { busyNs }]) => {
      const there = all.filter((unit) => unit.core === core);
      return this.#share(core, there, done, busyNs);
    });
    const loads = this.#set.candidates.map((core) => ({
      core: core.options.index,
      fixedNs: this.#set.ports.includes(core) ? fixedNs(core, all, done, spent.get(core)!.busyNs) : 0,
    }));
    return { windowNs, units, movables, loads, sample: this.#sample(windowNs, spent, done) };
  }

  #unitsNow(): Map<number, Unit> {
    const units = new Map<number, Unit>();
    for (const [number, device] of this.#set.devices.entries()) {
      // Queues' keys are positive.
      if (device.home?.options.quarantine) continue;
      if (device.home !== undefined) {
        units.set(-1 - number, { id: -1 - number, device, queue: undefined, core: device.home });
        continue;
      }
      for (const [key, queue] of device.queues)
        if (queue.core !== undefined) units.set(key, { id: key, device, queue, core: queue.core });
    }
    return units;
  }

  /** A queue that is set up anew counts from zero. */
  #since(id: number, now: UnitCounts): UnitCounts {
    const before = this.#units.get(id) ?? now;
    this.#units.set(id, now);
    const grown = (key: keyof UnitCounts) => (now[key] >= before[key] ? now[key] - before[key] : now[key]);
    return { timeNs: grown('timeNs'), count: grown('count'), bytes: grown('bytes') };
  }

  #spentBy(core: Core): CoreCounts {
    const { busyNs, emptyNs } = core.state.read();
    const before = this.#cores.get(core) ?? { busyNs, emptyNs };
    this.#cores.set(core, { busyNs, emptyNs });
    return { busyNs: busyNs - before.busyNs, emptyNs: emptyNs - before.emptyNs };
  }

  /**
   * The time of each unit of a core: its own, and of the rest of the core's work a share by what it did. Where there are ports, the rest
   * is theirs.
   */
  #share(core: Core, units: readonly Unit[], done: ReadonlyMap<number, UnitCounts>, busyNs: number): Movable[] {
    const own = sumOf(units, (id) => done.get(id)!.timeNs);
    const rest = this.#set.ports.includes(core) && own > 0 ? 0 : Math.max(0, busyNs - own);
    const weight = (id: number) => done.get(id)!.count + done.get(id)!.bytes / BYTES_PER_REQUEST;
    const all = sumOf(units, weight);
    return units.map(({ id }) => ({
      id,
      core: core.options.index,
      ns: done.get(id)!.timeNs + (all > 0 ? (rest * weight(id)) / all : 0),
    }));
  }

  #sample(
    windowNs: number,
    spent: ReadonlyMap<Core, CoreCounts>,
    done: ReadonlyMap<number, UnitCounts>,
  ): ElasticSample {
    const sum = (cores: readonly Core[], ns: (counts: CoreCounts) => number) =>
      cores.reduce((total, core) => total + ns(spent.get(core)!), 0) / windowNs;
    const requests = [...done.values()].reduce((total, { count }) => total + count, 0);
    return {
      cores: this.#set.inUse.length,
      work: sum(this.#set.candidates, ({ busyNs }) => busyNs),
      cpu: sum(this.#set.common, ({ busyNs, emptyNs }) => busyNs + emptyNs),
      rate: requests / (windowNs / 1e9),
    };
  }
}

const sumOf = (units: readonly Unit[], of: (id: number) => number): number =>
  units.reduce((sum, { id }) => sum + of(id), 0);

function fixedNs(core: Core, units: readonly Unit[], done: ReadonlyMap<number, UnitCounts>, busyNs: number): number {
  const own = sumOf(
    units.filter((unit) => unit.core === core),
    (id) => done.get(id)!.timeNs,
  );
  return own > 0 ? Math.max(0, busyNs - own) : 0;
}

function countsOf({ device, queue }: Unit): UnitCounts {
  const queues = queue === undefined ? [...device.queues.values()] : [queue];
  const sum = (slot: number) => queues.reduce((total, { counters }) => total + counters[slot]!, 0);
  const timeNs = sum(QueueCounter.TIME_NS);
  if (device.spec.kind === 'net') {
    const { counters } = new NetDeviceState(device.spec.shared);
    const both = (one: number, other: number) => counters[one]! + counters[other]!;
    return {
      timeNs,
      count: both(PortCounter.FRAMES_IN, PortCounter.FRAMES_OUT),
      bytes: both(PortCounter.BYTES_IN, PortCounter.BYTES_OUT),
    };
  }
  return {
    timeNs,
    count: sum(QueueCounter.REQUESTS),
    bytes: sum(QueueCounter.BYTES_READ) + sum(QueueCounter.BYTES_WRITTEN),
  };
}
