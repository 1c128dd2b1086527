import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import type { BuildFailure, BuildOptions, BuildResult } from 'esbuild';
import { assert, messageOf, SidecoreError } from '../errors.js';
import { FILTER_TEXT_BYTES_MAX } from '../limits.js';
import { OWN_NAME } from './evaluate.js';

/** A module and all that it imports in one text. */
export interface Bundle {
  readonly text: string;
  /** Source map, JSON. */
  readonly map: string;
  /** Files that it was made of, absolute. */
  readonly files: readonly string[];
}

export const invalid = (text: string, page: string) =>
  new SidecoreError('FILTER_INVALID', text, `${page} shows how one is written.`);

type Options = BuildOptions & { write: false; metafile: true };
type Result = BuildResult<{ write: false; metafile: true }>;
type Esbuild = Pick<typeof import('esbuild'), 'build' | 'buildSync' | 'stop'>;

/**
 * Puts a module and all that it imports into one text. Throws `FILTER_INVALID`.
 *
 * @param base - folder from which packages are looked for, and errors name files
 * @param hint - what else may have been meant
 * @param page - the page of the documentation for such filters
 */
export function bundleNow(entry: string, base: string, hint: string, page: string): Bundle {
  try {
    return bundleOf(entry, base, page, esbuild().buildSync(optionsOf(entry, base)));
  } catch (error) {
    throw explained(error, entry, base, hint, page);
  }
}

/** Builds under way. */
let builds = 0;

/** The same, in a process beside this one, which ends when there is nothing more to do. */
export async function bundle(entry: string, base: string, hint: string, page: string): Promise<Bundle> {
  const { build, stop } = esbuild();
  builds++;
  try {
    return bundleOf(entry, base, page, await build(optionsOf(entry, base)));
  } catch (error) {
    throw explained(error, entry, base, hint, page);
  } finally {
    if (--builds === 0) await stop();
  }
}

/** It is loaded by those only who have filters in files. */
const esbuild = (): Esbuild => createRequire(import.meta.url)('esbuild') as Esbuild;

const optionsOf = (entry: string, base: string): Options => ({
  entryPoints: [entry],
  absWorkingDir: base,
  bundle: true,
  write: false,
  metafile: true,
  outfile: join(base, 'filter.js'),
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  external: [OWN_NAME],
  // For those without packages of their own: ours, which has zod.
  nodePaths: [packagesFolder()],
  sourcemap: 'external',
  logLevel: 'silent',
});

/** Where our own packages are. */
const packagesFolder = () => dirname(dirname(createRequire(import.meta.url).resolve('zod/package.json')));

function bundleOf(entry: string, base: string, page: string, { outputFiles, metafile }: Result): Bundle {
  const [map, text] = ['.map', '.js'].map((end) => outputFiles.find(({ path }) => path.endsWith(end))?.text);
  assert(map !== undefined && text !== undefined, 'esbuild gives a text and its map');
  if (text.length > FILTER_TEXT_BYTES_MAX)
    throw invalid(
      `${entry} has ${text.length} bytes with what it imports; ${FILTER_TEXT_BYTES_MAX} is the limit`,
      page,
    );
  return { text, map, files: Object.keys(metafile.inputs).map((file) => resolve(base, file)) };
}

function explained(error: unknown, entry: string, base: string, hint: string, page: string): SidecoreError {
  if (error instanceof SidecoreError) return error;
  const first = (error as Partial<BuildFailure>).errors?.[0];
  if (first === undefined) return invalid(`${entry} cannot be bundled: ${messageOf(error)}`, page);
  const { location, text } = first;
  const where = location ? `${relative(base, resolve(base, location.file)) || location.file}:${location.line}: ` : '';
  return invalid(`${where}${text}${location ? '' : hint}`, page);
}
