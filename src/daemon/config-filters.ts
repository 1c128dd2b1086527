import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import type { FrameFilter } from '../filter/frame-contract.js';
import { type LoadedFilter, loadBlockFilter, loadFrameFilter, readOptions } from '../filter/load.js';
import type { ReadyFilter } from '../filter/opened-filter.js';
import type { ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import { BLOCK_FILTERS } from '../filters/block/index.js';
import { NET_FILTERS } from '../filters/net/index.js';
import { FILTER_DEFER_S, FILTER_TIME_US, FILTERS_MAX } from '../limits.js';
import type { ConfigProblem, ConfigText, KeyPath } from './config-text.js';

const NS_PER_US = 1000;
const NS_PER_S = 1e9;

const filter = z
  .strictObject({
    use: z.string().min(1, 'is empty'),
    options: z.record(z.string(), z.unknown()).default({}),
    on_fault: z.enum(['closed', 'open']).default('closed'),
    time_limit_us: z.number().min(1).max(10_000).default(FILTER_TIME_US),
    defer_limit_s: z.number().min(0.001).max(3600).default(FILTER_DEFER_S),
    quarantine: z.boolean().default(false),
  })
  .transform((written) => ({ ...written, ready: undefined as ReadyFilter | undefined }));

/** Nearest to the guest first. */
export const filters = z.array(filter).max(FILTERS_MAX, `at most ${FILTERS_MAX} filters`).default([]);

export type FilterConfig = z.output<typeof filter>;

/** Of a network card; kept frames are bound by their number, not by time. */
const frameFilter = z
  .strictObject({
    use: z.string().min(1, 'is empty'),
    options: z.record(z.string(), z.unknown()).default({}),
    on_fault: z.enum(['closed', 'open']).default('closed'),
    time_limit_us: z.number().min(1).max(10_000).default(FILTER_TIME_US),
    quarantine: z.boolean().default(false),
  })
  .transform((written) => ({ ...written, ready: undefined as ReadyFrameFilter | undefined }));

/** Nearest to the guest first. */
export const frameFilters = z.array(frameFilter).max(FILTERS_MAX, `at most ${FILTERS_MAX} filters`).default([]);

export type FrameFilterConfig = z.output<typeof frameFilter>;

/** Whether a device with these filters has a sidecore of its own. */
export const isQuarantined = (configs: readonly Pick<FilterConfig, 'quarantine'>[]): boolean =>
  configs.some(({ quarantine }) => quarantine);

/** Loads filters and checks their options. Returns what is wrong with them. */
export function completeFilters(
  configs: readonly FilterConfig[],
  keys: KeyPath,
  base: string,
  source: ConfigText,
): ConfigProblem[] {
  return configs.flatMap((config, index) => {
    const own = [...keys, 'filters', index];
    const load = () => loadBlockFilter(config.use, base, BLOCK_FILTERS);
    return completeFilter(config, own, source, load, (loaded, options) => {
      const { use, on_fault: onFault, time_limit_us: timeUs, defer_limit_s: deferS } = config;
      const limits = { deferNsMax: deferS * NS_PER_S, timeNsMax: timeUs * NS_PER_US };
      config.ready = { ...loaded, use, options, onFault, ...limits, base };
    });
  });
}

/** The same for those of a network card. */
export function completeFrameFilters(
  configs: readonly FrameFilterConfig[],
  keys: KeyPath,
  base: string,
  source: ConfigText,
): ConfigProblem[] {
  return configs.flatMap((config, index) => {
    const own = [...keys, 'filters', index];
    const load = () => loadFrameFilter(config.use, base, NET_FILTERS);
    return completeFilter(config, own, source, load, (loaded, options) => {
      const { use, on_fault: onFault, time_limit_us: timeUs } = config;
      config.ready = { ...loaded, use, options, onFault, timeNsMax: timeUs * NS_PER_US, base };
    });
  });
}

/** Loads one, and has it kept with its options. */
function completeFilter<Loaded extends LoadedFilter | LoadedFilter<FrameFilter>>(
  { options }: Pick<FilterConfig, 'options'>,
  own: KeyPath,
  source: ConfigText,
  load: () => Loaded,
  keep: (loaded: Loaded, options: unknown) => void,
): ConfigProblem[] {
  let loaded: Loaded;
  try {
    loaded = load();
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    return [source.problem([...own, 'use'], error.message, error.remedy, error.code)];
  }
  const read = readOptions(loaded.definition, options);
  if ('faults' in read) return read.faults.map(({ keys, text }) => source.problem([...own, 'options', ...keys], text));
  keep(loaded, read.options);
  return [];
}
