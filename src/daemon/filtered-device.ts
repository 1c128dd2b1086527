import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { SidecoreError } from '../errors.js';
import type { FilterSources } from '../filter/load.js';
import type { WrittenFilter } from '../filter/spec.js';
import { writtenOf } from './config-filters.js';

/** What filters of all kinds have in common, once loaded. */
export interface AnyReadyFilter {
  readonly use: string;
  readonly base: string;
  readonly module: { readonly kind: string; readonly text?: string };
  readonly sources?: FilterSources;
  readonly written?: WrittenFilter;
}

/** The same, while they serve a device. */
export interface AnyOpenedFilter<Ready = AnyReadyFilter> {
  readonly ready: Ready;
  readonly spec: { readonly id: number; readonly replaces?: number | undefined; readonly name: string };
  readonly memory: { readonly out: boolean };
  readonly lastFault: string | null;
  readonly commands: Readonly<Record<string, (given: Readonly<Record<string, string>>) => unknown>>;
}

/** A filter that stays, or one that is new, and whose place it takes. */
export type AnyFilterPlan<Opened, Ready> = Opened | { readonly ready: Ready; readonly old?: Opened | undefined };

/** A disk or a network card, whose filters change while its guest runs. */
export interface FilteredDevice<Opened extends AnyOpenedFilter<Ready>, Ready extends AnyReadyFilter> {
  /** "VM/device" */
  readonly label: string;
  /** Nearest to the guest first. */
  readonly filters: readonly Opened[];
  readonly filtersChanged: boolean;
  /** It has a sidecore of its own. */
  readonly isQuarantined: boolean;
  /** Takes note of what filters have failed since the last time. */
  report(): void;
  /** As `findFilter` does. */
  findFilter(which: string, base?: string): Opened;
  /**
   * Has it have other filters. Throws, and nothing has changed, if that cannot be.
   *
   * @param plan - makes what is to be of what is
   * @param waitMsMax - how long what is in flight may take to end
   */
  changeFilters(
    plan: (now: readonly Opened[]) => readonly AnyFilterPlan<Opened, Ready>[],
    waitMsMax?: number,
  ): Promise<void>;
}

/**
 * A filter of a device by its place, or by its name, module or file if one only has it. Throws `CONFIG_INVALID` if there is none.
 *
 * @param base - folder from which a path starts that is not what it was given as
 */
export function findFilter<Opened extends AnyOpenedFilter>(
  label: string,
  filters: readonly Opened[],
  which: string,
  base?: string,
): Opened {
  const byPlace = /^\d+$/.test(which) ? filters[Number(which)] : undefined;
  if (byPlace !== undefined) return byPlace;
  const file = base === undefined ? undefined : fileOf(which, base);
  const found = filters.filter(
    ({ spec, ready }) =>
      spec.name === which || ready.use === which || (file !== undefined && fileOf(ready.use, ready.base) === file),
  );
  if (found.length === 1) return found[0]!;
  const known = filters.map(({ spec }, place) => `${place} (${spec.name})`).join(', ') || 'none';
  const why = found.length === 0 ? 'has no filter' : 'has several filters';
  throw new SidecoreError('CONFIG_INVALID', `${label} ${why} ${which}`, `There are: ${known}.`);
}

/** Of what names a file; undefined of others. */
const fileOf = (use: string, base: string) => (/^\.{0,2}\//.test(use) ? resolve(base, use) : undefined);

/** Whether filters are others than those of the configuration, or have other options. */
export function areOthers(
  filters: readonly AnyOpenedFilter[],
  configs: readonly (WrittenFilter & { ready: AnyReadyFilter | undefined })[],
): boolean {
  const now = filters.map(({ ready }) => ready.written);
  const configured = configs.map(writtenOf);
  return !isDeepStrictEqual(plain(now), plain(configured));
}

/** Without prototypes, which do not count. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
