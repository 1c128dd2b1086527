import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import { type LoadedFilter, loadBlockFilter, readOptions } from '../filter/load.js';
import { BLOCK_FILTERS } from '../filters/block/index.js';
import { FILTERS_MAX } from '../limits.js';
import type { ConfigProblem, ConfigText, KeyPath } from './config-text.js';

/** A filter that is loaded, with its options as its own schema gives them. */
export interface ReadyFilter extends LoadedFilter {
  readonly options: unknown;
}

const filter = z
  .strictObject({
    use: z.string().min(1, 'is empty'),
    options: z.record(z.string(), z.unknown()).default({}),
    on_fault: z.enum(['closed', 'open']).default('closed'),
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
    config.ready = { ...loaded, options: read.options };
    return [];
  });
}
