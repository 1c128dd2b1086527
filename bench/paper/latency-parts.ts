import type { Place } from './growth.js';
import { BASELINE, type CompareMode, SIDECORE, SIDECORE_SLEEPING } from './modes.js';
import type { Table } from './results.js';
import { median } from './stats.js';
import { microsText } from './verdicts.js';
import type { Window, Windows } from './window.js';
import type { Workload } from './workloads.js';

/** What a request's latency is made of, means over a window, ns. */
export interface LatencyParts {
  /** From its submission to its completion's being seen: what is in flight, by how fast it is done. */
  readonly latencyNs: number;
  /** The back end's own, by its stamps. */
  readonly serviceNs: number;
  /** Of the guests' thread. */
  readonly guestNs: number;
  /** What is left: waiting for other requests, in the ring and in the guests' thread, and for cache lines to cross. */
  readonly waitingNs: number;
}

/**
 * Takes a window's mean latency apart. Little's law: what is in flight, divided by what is done in a time, is the mean time that each is
 * in flight. With one request in flight at a time its parts add up; with several, service of one is waiting of
 * the others. What serves and what drives guests is timed by itself, readings of the clock included, so the parts may come to a little more.
 */
export function latencyParts(
  window: Pick<Window, 'perSecond' | 'serviceNs' | 'loadBusy'>,
  inFlight: number,
): LatencyParts {
  const { perSecond, serviceNs, loadBusy } = window;
  const latencyNs = (1e9 * inFlight) / perSecond;
  const guestNs = (1e9 * loadBusy) / perSecond;
  return { latencyNs, serviceNs, guestNs, waitingNs: Math.max(0, latencyNs - serviceNs - guestNs) };
}

const MODES: readonly CompareMode[] = [BASELINE, SIDECORE_SLEEPING, SIDECORE];

/** Of each number of guests: the guests' latency, and what the back end's own stamps say of it. */
export function latencyTable({ title, inFlight }: Workload, all: readonly Place[]): Table {
  const row = (count: number, { name }: CompareMode, windows: Windows): string[] => {
    const parts = windows.kept().map((window) => latencyParts(window, count * inFlight));
    const of = (field: keyof LatencyParts) => microsText(median(parts.map((one) => one[field])));
    const longest = Math.max(...windows.all.map(({ waitMaxNs }) => waitMaxNs));
    return [`${count}, ${name}`, of('latencyNs'), of('serviceNs'), of('guestNs'), of('waitingNs'), microsText(longest)];
  };
  return {
    title: `${title}: where a request’s latency goes (means of a window; medians of windows, each column by itself)`,
    columns: [
      'guests',
      'latency',
      'served (stamped by the back end)',
      'guests’ thread',
      'waiting, crossing',
      'longest wait for a turn (stamped)',
    ],
    rows: all.flatMap(({ count, results }) => MODES.map((mode) => row(count, mode, results.get(mode.key)!))),
  };
}
