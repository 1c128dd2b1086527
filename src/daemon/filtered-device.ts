import { isDeepStrictEqual } from 'node:util';
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
  /** A filter by its place, or by its name if one only has it. Throws if there is none. */
  findFilter(which: string): Opened;
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
