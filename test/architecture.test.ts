/** Imports point one way, files stay short, and nothing is left to do. What the layers are: docs/architecture.md */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, it } from 'node:test';

const FILE_LINES_MAX = 350;

/** All that the daemon is made of. */
const BELOW_DAEMON = [
  'vhost-user',
  'sidecore',
  'filters',
  'filter',
  'scheduler',
  'block',
  'net',
  'virtio',
  'guest-memory',
  'host',
];

/** Folders of `src`, and what each may import besides itself. */
const LAYERS: Record<string, readonly string[]> = {
  host: [],
  'guest-memory': ['host'],
  scheduler: [],
  virtio: ['scheduler', 'guest-memory', 'host'],
  block: ['virtio', 'guest-memory', 'host'],
  filter: ['block', 'net', 'virtio', 'guest-memory', 'host'],
  filters: ['filter', 'block', 'net', 'virtio', 'guest-memory', 'host'],
  net: ['virtio', 'guest-memory', 'host'],
  'vhost-user': ['block', 'net', 'virtio', 'guest-memory', 'host'],
  sidecore: ['filters', 'filter', 'scheduler', 'block', 'net', 'virtio', 'guest-memory', 'host'],
  daemon: BELOW_DAEMON,
  // They stand beside: they use everything below the daemon, and only what is above the daemon uses them.
  guest: BELOW_DAEMON,
  sim: BELOW_DAEMON,
  // The command line, with the demonstration and the benchmarks, which are commands of it; `bench/` is beside `src`.
  demo: ['cli', 'guest', 'sim', 'daemon', ...BELOW_DAEMON],
  cli: ['bench', 'demo', 'guest', 'sim', 'daemon', ...BELOW_DAEMON],
};

/** Files that are below all layers, and import nothing of ours. */
const BASE = ['src/errors.ts', 'src/limits.ts', 'src/limits-filters.ts'];

export interface Reference {
  readonly line: number;
  /** As it is written. */
  readonly target: string;
}

/**
 * The modules that a source names: imports, exports from, dynamic imports, and files named relative to the module, such as
 * those of worker threads. Comments do not count.
 */
export function references(source: string): Reference[] {
  // A comment, or a string that is kept: whichever begins first. Comments leave their line breaks behind.
  const code = source.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|(['"`])(?:\\[\s\S]|(?!\1)[^\\])*\1/g,
    (match, quote?: string) => (quote === undefined ? match.replace(/[^\n]/g, ' ') : match),
  );
  const patterns = [
    /\b(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*(['"])(?<target>[^'"\n]+)\1/g,
    /\bimport\s*\(\s*(['"`])(?<target>[^'"`\n]+)\1/g,
    /\bnew\s+URL\(\s*(['"`])(?<target>[^'"`\n]+)\1\s*,\s*import\.meta\.url/g,
    /\brequire\s*\(\s*(['"`])(?<target>[^'"`\n]+)\1/g,
  ];
  return patterns
    .flatMap((pattern) =>
      [...code.matchAll(pattern)].map((match) => {
        const target = match.groups!['target']!;
        return { target, line: code.slice(0, match.index + match[0].indexOf(target)).split('\n').length };
      }),
    )
    .sort((a, b) => a.line - b.line);
}

/** The folder of `src`, or beside it, that a file is in; the file itself if it is in none. */
function layerOf(path: string): string {
  const [top, folder, ...rest] = path.split('/') as [string, ...string[]];
  if (top !== 'src') return top;
  return rest.length > 0 ? folder! : path;
}

/** What is wrong with one reference of `path`; undefined if nothing is. */
export function complaint(path: string, { line, target }: Reference): string | undefined {
  const where = `${path}:${line}`;
  if (/^sidecore(\/|$)/.test(target)) return `${where} imports this package by its name, ${target}`;
  if (!target.startsWith('.')) return undefined;
  const file = normalize(join(dirname(path), target)).replace(/\.js$/, '.ts');
  // Data files, such as the manifest.
  if (!file.endsWith('.ts')) return undefined;
  const from = layerOf(path);
  const to = layerOf(file);
  if (from === to && !BASE.includes(path)) return undefined;
  if (BASE.includes(path))
    return path === 'src/limits.ts' && file === 'src/limits-filters.ts'
      ? undefined
      : `${where} is below all layers and imports ${file}`;
  const allowed = LAYERS[from];
  if (allowed === undefined) return `${path} is in no layer`;
  if (BASE.includes(file) || allowed.includes(to)) return undefined;
  return `${where} imports ${file}: ${from} may not use ${to}`;
}

const root = findRoot(import.meta.dirname) ?? process.cwd();

/** The repository, from where the compiled tests are; they may also lie elsewhere. */
function findRoot(directory: string): string | undefined {
  if (existsSync(join(directory, 'src/errors.ts'))) return directory;
  return dirname(directory) === directory ? undefined : findRoot(dirname(directory));
}

const sources = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .sort()
  .map((path) => ({ path, isTest: path.endsWith('.test.ts'), text: readFileSync(join(root, path), 'utf8') }));

/** Lines as an editor counts them. */
const lines = (text: string) => text.replace(/\n$/, '').split('\n');

describe('the sources', () => {
  const product = sources.filter(({ isTest }) => !isTest);

  it('are all there', () => {
    assert.ok(product.length > 60, `${product.length} files in ${root}`);
    for (const path of BASE)
      assert.ok(
        product.some((source) => source.path === path),
        path,
      );
    assert.ok(product.flatMap(({ text }) => references(text)).length > 200);
  });

  it('import only what is below them', () => {
    const complaints = product.flatMap(({ path, text }) =>
      references(text).flatMap((reference) => complaint(path, reference) ?? []),
    );
    assert.deepEqual(complaints, []);
  });

  it('do not import tests', () => {
    const wrong = product.flatMap(({ path, text }) =>
      references(text)
        .filter(({ target }) => /\.test\.js$/.test(target) || /(^|\/)test\//.test(target))
        .map(({ line, target }) => `${path}:${line} imports ${target}`),
    );
    assert.deepEqual(wrong, []);
  });

  it('belong to a layer each', () => {
    const strangers = sources
      .map(({ path }) => path)
      .filter((path) => !(layerOf(path) in LAYERS) && !BASE.includes(path));
    assert.deepEqual(
      strangers.filter((path) => !/^src\/[^/]+\.test\.ts$/.test(path)),
      [],
    );
  });

  it(`have at most ${FILE_LINES_MAX} lines a file`, () => {
    const long = product.filter(({ text }) => lines(text).length > FILE_LINES_MAX);
    assert.deepEqual(
      long.map(({ path, text }) => `${path} has ${lines(text).length} lines`),
      [],
    );
  });

  it('have no private getters, each use of which is a call into the runtime of V8', () => {
    const slow = product.flatMap(({ path, text }) =>
      lines(text).flatMap((line, i) => (/\b[gs]et #\w+\(/.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
    );
    assert.deepEqual(slow, []);
  });

  it('leave nothing to do', () => {
    const left = sources.flatMap(({ path, text }) =>
      lines(text).flatMap((line, i) => (/\bTODO\b/i.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
    );
    assert.deepEqual(left, []);
  });
});

describe('the check of imports', () => {
  it('finds every way to name a module, on its line', () => {
    const source = [
      "import a from './a.js';",
      "import './b.js';",
      'import {',
      '  c,',
      "} from '../c.js';",
      "export * from './d.js'; export { e } from './e.js';",
      "/* import f from './f.js'; */ // import g from './g.js'",
      '/**',
      " * import h from './h.js';",
      ' */',
      "const i = await import('./i.js'), s = \"it's // no comment\"; import type { J } from './j.js';",
      "new Worker(new URL('../k.js', import.meta.url));",
      "const text = 'import l';",
      "export const m = 'm'; const n = require('./n.js');",
    ].join('\n');
    assert.deepEqual(
      references(source).map(({ line, target }) => `${line} ${target}`),
      [
        '1 ./a.js',
        '2 ./b.js',
        '5 ../c.js',
        '6 ./d.js',
        '6 ./e.js',
        '11 ./j.js',
        '11 ./i.js',
        '12 ../k.js',
        '14 ./n.js',
      ],
    );
  });

  it('names file and line of an import that points the wrong way', () => {
    const says = (path: string, target: string) => complaint(path, { line: 7, target });
    assert.equal(
      says('src/virtio/split-ring.ts', '../block/queue.js'),
      'src/virtio/split-ring.ts:7 imports src/block/queue.ts: virtio may not use block',
    );
    assert.match(says('src/block/backends/file/open.ts', '../../../daemon/log.js')!, /block may not use daemon/);
    assert.match(says('src/vhost-user/session.ts', '../sidecore/messages.js')!, /vhost-user may not use sidecore/);
    assert.match(says('src/daemon/daemon.ts', '../guest/index.js')!, /daemon may not use guest/);
    assert.match(says('src/guest/index.ts', '../daemon/daemon.js')!, /guest may not use daemon/);
    assert.match(says('src/limits.ts', './errors.js')!, /src\/limits.ts:7 is below all/);
    assert.match(says('src/host/libc.ts', '../guest-memory/windows.js')!, /host may not use guest-memory/);
    assert.match(says('src/guest/load.ts', '../../bench/block.js')!, /guest may not use bench/);
    assert.match(says('src/cli/bench.ts', '../../test/support/daemon.js')!, /cli may not use test/);
    assert.match(says('src/new/thing.ts', '../host/libc.js')!, /src\/new\/thing.ts is in no layer/);
    assert.match(says('src/cli/demo.ts', 'sidecore/guest')!, /by its name/);
    for (const [path, target] of [
      ['src/virtio/split-ring.ts', '../limits.js'],
      ['src/virtio/split-ring.ts', './chain.js'],
      ['src/host/libc.ts', 'koffi'],
      ['src/daemon/version.ts', '../../../package.json'],
      ['src/cli/bench.ts', '../guest/index.js'],
      ['src/cli/bench.ts', '../../bench/block.js'],
      ['src/guest/front-end.ts', '../vhost-user/codec.js'],
    ] as const) {
      assert.equal(says(path, target), undefined, `${path} ${target}`);
    }
  });
});
