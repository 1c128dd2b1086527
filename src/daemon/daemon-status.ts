import { LOG_DEVICES_MAX } from '../limits.js';
import type { Core } from './core.js';
import type { CoreSet } from './core-set.js';

export const splitLabel = (label: string) => label.split('/') as [vm: string, device: string];

/** Which core is stalled, and who waits for it. */
export function stalledText({ options, state }: Core, cores: CoreSet): string {
  const where = `thread ${state.threadId}, CPU ${options.cpus.join(', ')}`;
  const waiting = cores.devices
    .filter(({ queues }) => [...queues.values()].some(({ core }) => core?.options.index === options.index))
    .map(({ label }) => label);
  const more = waiting.length > LOG_DEVICES_MAX ? ` and ${waiting.length - LOG_DEVICES_MAX} more` : '';
  const what =
    waiting.length === 0 ? '' : `; what waits for it: ${waiting.slice(0, LOG_DEVICES_MAX).join(', ')}${more}`;
  return `sidecore ${options.index} (${where}) makes no progress or does not answer${what}`;
}

export function coreStatus(core: Core, cores: CoreSet) {
  const { turns, busyNs, emptyNs, asleepNs, sleeps, queuesPolled, queuesWatched, ...crossings } = core.state.read();
  return {
    index: core.options.index,
    cpus: core.options.cpus,
    shared: core === cores.shared,
    /** The device that it is there for alone. */
    quarantined: core.options.quarantine ? (cores.devices.find(({ home }) => home === core)?.label ?? null) : null,
    in_use: core.inUse,
    stalled: core.stalled,
    thread: core.state.threadId,
    deaths: core.deaths,
    queues: core.queueCount,
    queues_polled: queuesPolled,
    queues_watched: queuesWatched,
    turns,
    busy_ns: Math.round(busyNs),
    empty_ns: Math.round(emptyNs),
    asleep_ns: Math.round(asleepNs),
    sleeps,
    frames_crossed: crossings.crossed,
    crossings_dropped: crossings.crossingsDropped,
    arrivals_dropped: crossings.arrivalsDropped,
  };
}

/** What devices say of themselves, by VM (or network) and name. */
export function byVm<Status>(
  devices: readonly { label: string; status(): Status }[],
): Record<string, Record<string, Status>> {
  const vms: Record<string, Record<string, Status>> = {};
  for (const device of devices) {
    const [vm, name] = splitLabel(device.label);
    vms[vm] ??= {};
    vms[vm][name] = device.status();
  }
  return vms;
}
