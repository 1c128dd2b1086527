import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import { type LoadedFilter, loadBlockFilter, readOptions } from '../filter/load.js';
import type { ReadyFilter } from '../filter/opened-filter.js';
import { BLOCK_FILTERS } from '../filters/block/index.js';
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
    defer_limit_s: z.number().min(0.001).max(3600).optional(),
    quarantine: z.boolean().default(false),
  })
  .transform((written) => ({ ...written, ready: undefined as ReadyFilter | undefined }));

/** Nearest to the guest first. */
export const filters = z.array(filter).max(FILTERS_MAX, `at most ${FILTERS_MAX} filters`).default([]);

export type FilterConfig = z.output<typeof filter>;

/** Whether a device with these filters has a sidecore of its own. */
export const isQuarantined = (configs: readonly FilterConfig[]): boolean =>
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
    let loaded: LoadedFilter;
    try {
      loaded = loadBlockFilter(config.use, base, BLOCK_FILTERS);
    } catch (error) {
      if (!(error instanceof SidecoreError)) throw error;
      return [source.problem([...own, 'use'], error.message, error.remedy, error.code)];
    }
    const read = readOptions(loaded.definition, config.options);
    if ('faults' in read)
      return read.faults.map(({ keys, text }) => source.problem([...own, 'options', ...keys], text));
    const { use, on_fault: onFault, time_limit_us: timeUs } = config;
    const deferS = config.defer_limit_s ?? loaded.definition.deferSeconds?.(read.options) ?? FILTER_DEFER_S;
    const limits = { deferNsMax: deferS * NS_PER_S, timeNsMax: timeUs * NS_PER_US };
    config.ready = { ...loaded, use, options: read.options, onFault, ...limits, base };
    return [];
  });
}
