import { z } from 'zod';
import { assert, SidecoreError } from '../errors.js';
import type { BlockFilter } from '../filter/contract.js';
import { explain } from '../filter/explain.js';
import type { FrameFilter } from '../filter/frame-contract.js';
import {
  type FilterKind,
  type LoadedFilter,
  loadBlockFilter,
  loadBlockFilterAside,
  loadFrameFilter,
  loadFrameFilterAside,
  readOptions,
} from '../filter/load.js';
import type { ReadyFilter } from '../filter/opened-filter.js';
import type { ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import { defaultPlace, type PlaceFault, placeFaults } from '../filter/placing.js';
import { SourceLines } from '../filter/source-lines.js';
import type { WrittenFilter } from '../filter/spec.js';
import { BLOCK_FILTERS } from '../filters/block/index.js';
import { NET_FILTERS } from '../filters/net/index.js';
import { FILTER_DEFER_S, FILTER_TIME_US, FILTERS_MAX } from '../limits.js';
import type { ConfigProblem, ConfigText, KeyPath } from './config-text.js';

const NS_PER_US = 1000;
const NS_PER_S = 1e9;

/** What filters of every kind have. */
const common = {
  use: z.string().min(1, 'is empty'),
  options: z.record(z.string(), z.unknown()).default({}),
  on_fault: z.enum(['closed', 'open']).default('closed'),
  time_limit_us: z.number().min(1).max(10_000).default(FILTER_TIME_US),
  quarantine: z.boolean().default(false),
  watch: z.boolean().default(false),
};

const blockKeys = z.strictObject({
  ...common,
  defer_limit_s: z.number().min(0.001).max(3600).optional(),
});

/** Of a network card; kept frames are bound by their number, not by time. */
const frameKeys = z.strictObject(common);

const filter = blockKeys.transform((written) => ({ ...written, ready: undefined as ReadyFilter | undefined }));

/** Nearest to the guest first. */
export const filters = z.array(filter).max(FILTERS_MAX, `at most ${FILTERS_MAX} filters`).default([]);

const frameFilter = frameKeys.transform((written) => ({
  ...written,
  ready: undefined as ReadyFrameFilter | undefined,
}));

/** Nearest to the guest first. */
export const frameFilters = z.array(frameFilter).max(FILTERS_MAX, `at most ${FILTERS_MAX} filters`).default([]);

/** Whether a device with these filters has a sidecore of its own. */
export const isQuarantined = (configs: readonly Pick<WrittenFilter, 'quarantine'>[]): boolean =>
  configs.some(({ quarantine }) => quarantine);

/** The filters of a device, once the configuration has been read with them. */
export const loadedOf = <Ready>(configs: readonly { readonly ready: Ready | undefined }[]): Ready[] =>
  configs.map(({ ready }) => {
    assert(ready !== undefined, 'the configuration has its filters loaded');
    return ready;
  });

/** A filter's module, loaded, of which filters of one kind of device are made. */
export interface MadeModule<Ready> {
  /** Of options. */
  readonly definition: Pick<BlockFilter, 'options'>;
  /** @param options - as the definition's schema gives them */
  make(written: WrittenFilter, options: unknown, base: string): Ready;
}

/** How filters of one kind of device come from what is written. */
export interface FilterMaker<Ready> {
  readonly kind: FilterKind;
  /** What may be written. */
  readonly keys: z.ZodType<WrittenFilter>;
  /** Throws `FILTER_INVALID`, with file and line. */
  load(use: string, base: string): MadeModule<Ready>;
  /** The same, while this thread goes on. */
  loadAside(use: string, base: string): Promise<MadeModule<Ready>>;
  /** Of a filter that was made before. */
  moduleOf(ready: Ready): MadeModule<Ready>;
  /** What is wrong with a device's filters where they are. */
  placeFaults(filters: readonly Ready[]): PlaceFault[];
  /** Where one more comes if nothing is said. */
  defaultPlace(filters: readonly Ready[], added: Ready): number;
}

const commonOf = (written: WrittenFilter, options: unknown, base: string) => ({
  use: written.use,
  options,
  onFault: written.on_fault,
  timeNsMax: written.time_limit_us * NS_PER_US,
  base,
  written,
});

const blockModule = (loaded: LoadedFilter): MadeModule<ReadyFilter> => ({
  definition: loaded.definition,
  make: (written, options, base) => ({
    ...loaded,
    ...commonOf(written, options, base),
    deferNsMax: (written.defer_limit_s ?? loaded.definition.deferSeconds?.(options) ?? FILTER_DEFER_S) * NS_PER_S,
  }),
});

/** A filter of ours that no configuration has: it belongs to a disk's back end. */
export function ownFilter(definition: BlockFilter, options: Record<string, unknown>, base: string): ReadyFilter {
  const { name } = definition;
  const loaded: LoadedFilter = { definition, module: { kind: 'built-in', name }, lines: new SourceLines() };
  return blockModule(loaded).make(blockKeys.parse({ use: name, options }), options, base);
}

export const BLOCK_MAKER: FilterMaker<ReadyFilter> = {
  kind: 'block',
  keys: blockKeys,
  load: (use, base) => blockModule(loadBlockFilter(use, base, BLOCK_FILTERS, NET_FILTERS)),
  loadAside: async (use, base) => blockModule(await loadBlockFilterAside(use, base, BLOCK_FILTERS, NET_FILTERS)),
  moduleOf: blockModule,
  placeFaults,
  defaultPlace,
};

const frameModule = (loaded: LoadedFilter<FrameFilter>): MadeModule<ReadyFrameFilter> => ({
  definition: loaded.definition,
  make: (written, options, base) => ({ ...loaded, ...commonOf(written, options, base) }),
});

export const FRAME_MAKER: FilterMaker<ReadyFrameFilter> = {
  kind: 'frame',
  keys: frameKeys,
  load: (use, base) => frameModule(loadFrameFilter(use, base, NET_FILTERS, BLOCK_FILTERS)),
  loadAside: async (use, base) => frameModule(await loadFrameFilterAside(use, base, NET_FILTERS, BLOCK_FILTERS)),
  moduleOf: frameModule,
  placeFaults: () => [],
  defaultPlace: ({ length }) => length,
};

/** A filter in a configuration, and its place once it is loaded. */
type Configured<Ready> = WrittenFilter & { ready: Ready | undefined };

/** Loads filters and checks their options. Returns what is wrong with them. */
export function completeFilters<Ready>(
  maker: FilterMaker<Ready>,
  configs: readonly Configured<Ready>[],
  keys: KeyPath,
  base: string,
  source: ConfigText,
): ConfigProblem[] {
  const problems = configs.flatMap((config, index) => {
    const own = [...keys, 'filters', index];
    let loaded: MadeModule<Ready>;
    try {
      loaded = maker.load(config.use, base);
    } catch (error) {
      if (!(error instanceof SidecoreError)) throw error;
      return [source.problem([...own, 'use'], error.message, error.remedy, error.code)];
    }
    const read = readOptions(loaded.definition, config.options);
    if ('faults' in read)
      return read.faults.map(({ keys, text }) => source.problem([...own, 'options', ...keys], text));
    config.ready = loaded.make(writtenOf(config), read.options, base);
    return [];
  });
  if (problems.length > 0) return problems;
  return maker
    .placeFaults(configs.map(({ ready }) => ready!))
    .map(({ index, key, text, remedy }) => source.problem([...keys, 'filters', index, key], text, remedy));
}

/** What was written of a filter in a configuration. */
export function writtenOf({ ready: _, ...written }: Configured<unknown>): WrittenFilter {
  return written;
}

/**
 * Makes a filter of what somebody asks for while the daemon runs. Throws `CONFIG_INVALID`, which names the keys.
 *
 * @param loaded - its module
 */
export function readyFilter<Ready>(loaded: MadeModule<Ready>, written: WrittenFilter, base: string): Ready {
  const read = readOptions(loaded.definition, written.options);
  if (!('faults' in read)) return loaded.make(written, read.options, base);
  const faults = read.faults.map(({ keys, text }) => `${['options', ...keys].join('.')}: ${text}`);
  throw new SidecoreError('CONFIG_INVALID', `${written.use}: ${faults.join('; ')}`, 'Nothing was changed.');
}

/** Checks the keys of a filter that somebody asks for, and fills in defaults. Throws `CONFIG_INVALID`. */
export function readWritten({ keys }: Pick<FilterMaker<never>, 'keys'>, given: object): WrittenFilter {
  const { data, error } = keys.safeParse(given, { error: explain });
  if (data !== undefined) return data;
  const faults = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new SidecoreError('CONFIG_INVALID', faults.join('; '), 'Nothing was changed.');
}
