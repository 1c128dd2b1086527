import { existsSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../errors.js';
import { FILTER_COUNTERS_MAX, FILTER_HISTOGRAMS_MAX, FILTER_LOAD_MS_MAX, FILTER_SHARED_BYTES_MAX } from '../limits.js';
import { boundedCall } from './bounded-call.js';
import { type Bundle, bundle, bundleNow, invalid } from './bundle.js';
import type { BlockFilter } from './contract.js';
import { evaluate } from './evaluate.js';
import { explain } from './explain.js';
import { faultText } from './fault-text.js';
import type { FrameFilter } from './frame-contract.js';
import { SourceLines } from './source-lines.js';
import type { FilterModule } from './spec.js';

/** Filters that are part of this program, by name. */
export type BuiltIns = Readonly<Record<string, BlockFilter>>;

/** The same of network cards. */
export type FrameBuiltIns = Readonly<Record<string, FrameFilter>>;

/** Where a filter can be: on a disk or on a network card. */
export type FilterKind = 'block' | 'frame';
const PLACES: Readonly<Record<FilterKind, string>> = { block: 'disks', frame: 'network cards' };
const PAGES: Readonly<Record<FilterKind, string>> = { block: 'docs/filters.md', frame: 'docs/frame-filters.md' };

/** A filter's module, as the main thread has it. */
export interface LoadedFilter<Definition = BlockFilter> {
  readonly definition: Definition;
  readonly module: FilterModule;
  /** Says where in its sources a fault was. */
  readonly lines: SourceLines;
  /** Undefined of ours. */
  readonly sources?: FilterSources;
}

/** What a filter's module was made of. */
export interface FilterSources {
  /** The file that was named, and all that were read; absolute. */
  readonly files: readonly string[];
  /** Not later than that was done, ms since 1970. */
  readonly readAt: number;
}

/** What is wrong with a filter's options: the key, from the top of the options down to it, and why. */
export interface OptionFault {
  readonly keys: readonly (string | number)[];
  readonly text: string;
}

/**
 * Loads a filter: one of ours by its name, a file (`./x.ts`, `../x.ts`, `/x.ts`), or a package. Files and packages are bundled with
 * what they import, TypeScript or not, and run once here, to learn what they define. Throws `FILTER_INVALID`, naming file and line.
 *
 * @param base - folder from which paths and packages are looked for
 * @param others - built-in filters of the other kind, to tell somebody who has mixed them up
 */
export function loadBlockFilter(
  use: string,
  base: string,
  builtIns: BuiltIns,
  others: FrameBuiltIns = {},
): LoadedFilter {
  return load<BlockFilter>(use, base, builtIns, others, 'block');
}

/** The same for a filter of a network card. */
export function loadFrameFilter(
  use: string,
  base: string,
  builtIns: FrameBuiltIns,
  others: BuiltIns = {},
): LoadedFilter<FrameFilter> {
  return load<FrameFilter>(use, base, builtIns, others, 'frame');
}

/** The same as `loadBlockFilter`, while this thread goes on. */
export function loadBlockFilterAside(
  use: string,
  base: string,
  builtIns: BuiltIns,
  others: FrameBuiltIns = {},
): Promise<LoadedFilter> {
  return loadAside<BlockFilter>(use, base, builtIns, others, 'block');
}

export function loadFrameFilterAside(
  use: string,
  base: string,
  builtIns: FrameBuiltIns,
  others: BuiltIns = {},
): Promise<LoadedFilter<FrameFilter>> {
  return loadAside<FrameFilter>(use, base, builtIns, others, 'frame');
}

type Named<Definition> = Readonly<Record<string, Definition>>;

function load<Definition>(
  use: string,
  base: string,
  builtIns: Named<Definition>,
  others: Named<unknown>,
  kind: FilterKind,
): LoadedFilter<Definition> {
  const found = find(use, base, builtIns, others, kind);
  if ('definition' in found) return found;
  const { file, hint } = found;
  return evaluated(use, file, base, kind, Date.now(), bundleNow(file, base, hint, PAGES[kind]));
}

async function loadAside<Definition>(
  use: string,
  base: string,
  builtIns: Named<Definition>,
  others: Named<unknown>,
  kind: FilterKind,
): Promise<LoadedFilter<Definition>> {
  const found = find(use, base, builtIns, others, kind);
  if ('definition' in found) return found;
  const { file, hint } = found;
  const readAt = Date.now();
  return evaluated(use, file, base, kind, readAt, await bundle(file, base, hint, PAGES[kind]));
}

/** One of ours, or where it is to be read. */
function find<Definition>(
  use: string,
  base: string,
  builtIns: Named<Definition>,
  others: Named<unknown>,
  kind: FilterKind,
): LoadedFilter<Definition> | { readonly file: string; readonly hint: string } {
  const ours = Object.hasOwn(builtIns, use) ? builtIns[use] : undefined;
  if (ours !== undefined)
    return { definition: ours, module: { kind: 'built-in', name: use }, lines: new SourceLines() };
  const isFile = /^\.{0,2}\//.test(use);
  const names = Object.keys(builtIns).join(', ');
  if (Object.hasOwn(others, use)) {
    const [its, here] = kind === 'block' ? [PLACES.frame, PLACES.block] : [PLACES.block, PLACES.frame];
    throw invalid(`${use} is a filter of ${its}, not of ${here}; for ${here} there are ${names}`, PAGES[kind]);
  }
  // Somebody who writes a file's name means the file: a package is hardly called so.
  if (!isFile && /\.[cm]?[jt]s$/.test(use) && existsSync(resolve(base, use)))
    throw invalid(`${use} would be a package; the file is ./${use}`, PAGES[kind]);
  if (isFile && !existsSync(resolve(base, use))) throw invalid(`there is no file ${resolve(base, use)}`, PAGES[kind]);
  const hint = isFile ? '' : `; built-in filters are ${names}`;
  return { file: isFile ? resolve(base, use) : use, hint };
}

function evaluated<Definition>(
  use: string,
  file: string,
  base: string,
  kind: FilterKind,
  readAt: number,
  { text, map, files }: Bundle,
): LoadedFilter<Definition> {
  const lines = new SourceLines(file, base, map);
  let found: unknown;
  try {
    // A module that loops would keep the main thread, on which all else relies.
    found = boundedCall(() => evaluate(text, file), FILTER_LOAD_MS_MAX);
  } catch (error) {
    throw invalid(`${use} cannot be loaded: ${lines.translate(faultText(error, file))}`, PAGES[kind]);
  }
  requireDefinition(found, use, kind);
  const sources = { files: isAbsolute(file) ? [file, ...files] : files, readAt };
  return { definition: found as Definition, module: { kind: 'text', file, text }, lines, sources };
}

/** Checks a filter's options and fills in defaults. */
export function readOptions(
  { options: schema }: Pick<BlockFilter, 'options'>,
  given: Readonly<Record<string, unknown>>,
): { readonly options: unknown } | { readonly faults: readonly OptionFault[] } {
  const made = typeof schema === 'function' ? schema(z) : (schema ?? z.strictObject({}));
  const result = made.safeParse(given, { error: explain });
  if (!result.success) {
    const faults = result.error.issues.flatMap((issue) => {
      const path = issue.path as (string | number)[];
      const keys = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...path, key]) : [path];
      return keys.map((keys) => ({ keys, text: issue.message }));
    });
    return { faults };
  }
  try {
    // They go to other threads.
    return { options: structuredClone(result.data) };
  } catch (error) {
    return { faults: [{ keys: [], text: `its schema makes what is no plain data: ${messageOf(error)}` }] };
  }
}

function requireDefinition(found: unknown, use: string, kind: FilterKind): void {
  const require = (good: boolean, what: string) => {
    if (!good) throw invalid(`${use}: ${what}`, PAGES[kind]);
  };
  require(typeof found === 'object' &&
    found !==
      null, `its default export is no filter: export default define${kind === 'block' ? 'Block' : 'Frame'}Filter({…})`);
  const its = (found as Partial<FrameFilter>).kind ?? 'block';
  require(its === kind, `it is a filter of ${PLACES[its] ?? its}, not of ${PLACES[kind]}`);
  const {
    name,
    create,
    options,
    offers,
    counters = [],
    histograms = [],
    sharedBytes = 0,
    groupBytes = 0,
    group,
    disks,
    manage,
    helper,
    deferSeconds,
    check,
    ports,
  } = found as Partial<BlockFilter & Pick<FrameFilter, 'ports'>>;
  require(typeof name === 'string' && /^[A-Za-z0-9-]{1,63}$/.test(name), '`name` has 1 to 63 letters, digits and -');
  require(typeof create === 'function', '`create` is no function');
  require(offers === undefined || typeof offers === 'function', '`offers` is no function');
  const isSchema = typeof options === 'function' || typeof options?.safeParse === 'function';
  require(options === undefined || isSchema, '`options` is neither a zod schema nor a function that makes one');
  requireNames(counters, 'counters', FILTER_COUNTERS_MAX, require);
  requireNames(histograms, 'histograms', FILTER_HISTOGRAMS_MAX, require);
  require(typeof sharedBytes === 'function' ||
    isSharedBytes(sharedBytes), `\`sharedBytes\` is a whole number, at most ${FILTER_SHARED_BYTES_MAX}`);
  require(isSharedBytes(groupBytes), `\`groupBytes\` is a whole number, at most ${FILTER_SHARED_BYTES_MAX}`);
  for (const [name, hook] of Object.entries({ group, disks, check, manage, helper, deferSeconds, ports }))
    require(hook === undefined || typeof hook === 'function', `\`${name}\` is no function`);
}

/** Whether a filter may have so much shared memory. */
export const isSharedBytes = (bytes: unknown): bytes is number =>
  Number.isInteger(bytes) && (bytes as number) >= 0 && (bytes as number) <= FILTER_SHARED_BYTES_MAX;

function requireNames(
  names: readonly unknown[],
  what: string,
  countMax: number,
  require: (good: boolean, what: string) => void,
): void {
  const good = Array.isArray(names) && names.every((name) => typeof name === 'string' && /^\w{1,63}$/.test(name));
  require(good, `\`${what}\` is a list of names: letters, digits and _`);
  require(new Set(names).size === names.length, `\`${what}\` has a name twice`);
  require(names.length <= countMax, `\`${what}\` has at most ${countMax} names`);
}
