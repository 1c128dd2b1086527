import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../test/support/daemon.js';
import { parseConfig, readConfig } from '../daemon/config.js';
import { SidecoreError } from '../errors.js';
import { BLOCK_FILTERS } from '../filters/block/index.js';
import { NET_FILTERS } from '../filters/net/index.js';
import { evaluate } from './evaluate.js';
import { loadBlockFilter, loadFrameFilter, readOptions } from './load.js';

/** A folder with these files. */
function folderOf(test: TestContext, files: Record<string, string>): string {
  const folder = scratchDirectory(test);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

const load = (use: string, base: string) => loadBlockFilter(use, base, BLOCK_FILTERS);

/** A whole module. */
const filter = (name: string, more = '') => `
import { defineBlockFilter } from 'sidecore/filter';
export default defineBlockFilter({
  name: '${name}', ${more}
  create: () => ({ submit(request, next): void { next(request); } }),
});`;

describe('loading a filter', () => {
  it('finds ours by their names', () => {
    const { definition, module } = load('meter', '/');
    assert.equal(definition, BLOCK_FILTERS['meter']);
    assert.deepEqual(module, { kind: 'built-in', name: 'meter' });
  });

  it('takes files of TypeScript with what they import, and packages', (test) => {
    const folder = folderOf(test, {
      'a.ts': `import { part, type Part } from './part.js';\nconst it: Part = part;${filter('a', 'counters: [it],')}`,
      'part.ts': `import { hostname } from 'node:os';\nexport type Part = string;\nexport const part: Part = hostname() ? 'c' : '';`,
      'node_modules/some-filter/package.json': '{"name": "some-filter", "main": "main.js"}',
      'node_modules/some-filter/main.js': `exports.default = { name: 'packed', create: () => ({ submit() {} }) };\nexports.__esModule = true;`,
    });
    const own = load('./a.ts', folder);
    assert.equal(own.definition.name, 'a');
    assert.deepEqual(own.definition.counters, ['c']);
    assert.equal(load(join(folder, 'a.ts'), '/').definition.name, 'a');
    assert.equal(load('some-filter', folder).definition.name, 'packed');
    // As a sidecore does it, from plain data: a copy of its own each time.
    const module = structuredClone(own.module);
    assert.ok(module.kind === 'text');
    const [one, other] = [evaluate(module.text, module.file), evaluate(module.text, module.file)];
    assert.notEqual(one, other);
    assert.equal((one as { name: string }).name, 'a');
  });

  const FAULTS: Record<string, readonly [text: string, says: RegExp]> = {
    'is no TypeScript': ['const a = 1;\nconst b = ;\n', /^bad\.ts:2: Unexpected ";"$/],
    'imports what is not there': ["\n\nimport './gone.js';", /^bad\.ts:3: Could not resolve ".\/gone.js"$/],
    throws: ["type A = 1;\n\nthrow new Error('no luck');", /^\.\/bad\.ts cannot be loaded: no luck \(bad\.ts:3\)$/],
    'exports nothing': ['export const a = 1;', /default export is no filter/],
    'has no name': ['export default { create() {} };', /`name` has 1 to 63/],
    'cannot be made': ["export default { name: 'a' };", /`create` is no function/],
    'has options that are no schema': [
      "export default { name: 'a', create() {}, options: 3 };",
      /neither a zod schema/,
    ],
    'counts what has no name': [
      "export default { name: 'a', create() {}, counters: ['a b'] };",
      /`counters` is a list/,
    ],
    'counts twice': ["export default { name: 'a', create() {}, counters: ['a', 'a'] };", /a name twice/],
    'wants too much memory': ["export default { name: 'a', create() {}, sharedBytes: 2 ** 40 };", /`sharedBytes`/],
  };
  for (const [what, [text, says]] of Object.entries(FAULTS)) {
    it(`says file and line of a module that ${what}`, (test) => {
      const folder = folderOf(test, { 'bad.ts': text });
      assert.throws(
        () => load('./bad.ts', folder),
        (error) => {
          assert.ok(error instanceof SidecoreError);
          assert.equal(error.code, 'FILTER_INVALID');
          assert.match(error.message, says);
          return true;
        },
      );
    });
  }

  it('says what there is if a name is nobody’s', (test) => {
    const names = Object.keys(BLOCK_FILTERS).join(', ');
    assert.throws(() => load('metre', folderOf(test, {})), new RegExp(`"metre".*built-in filters are ${names}`));
    assert.throws(() => load('constructor', folderOf(test, {})), /"constructor".*built-in filters/);
    assert.throws(() => load('./metre.ts', folderOf(test, {})), /^SidecoreError: there is no file .*\/metre\.ts$/);
  });

  it('says so if a name is that of a filter of the other kind', (test) => {
    const folder = folderOf(test, {});
    const refused = (load: () => unknown, message: RegExp, remedy: RegExp) =>
      assert.throws(load, (error) => {
        assert.ok(error instanceof SidecoreError);
        assert.match(error.message, message);
        assert.match(error.remedy, remedy);
        return true;
      });
    refused(
      () => loadBlockFilter('firewall', folder, BLOCK_FILTERS, NET_FILTERS),
      /^firewall is a filter of network cards, not of disks; for disks there are cache, /,
      /docs\/filters\.md/,
    );
    refused(
      () => loadFrameFilter('readonly', folder, NET_FILTERS, BLOCK_FILTERS),
      /^readonly is a filter of disks, not of network cards; for network cards there are firewall, /,
      /docs\/frame-filters\.md/,
    );
    refused(
      () => loadFrameFilter('metre', folder, NET_FILTERS, BLOCK_FILTERS),
      /built-in filters are firewall, /,
      /docs\/frame-filters\.md/,
    );
  });

  it('says how a file beside the configuration is written', (test) => {
    const folder = folderOf(test, { 'census.ts': 'export default {};' });
    assert.throws(() => load('census.ts', folder), /census\.ts would be a package; the file is \.\/census\.ts/);
  });

  it('checks options by the filter’s schema, however it comes', (test) => {
    const schema = 'z.strictObject({ size: z.number().default(3), list: z.array(z.string()).optional() })';
    const folder = folderOf(test, {
      'function.ts': filter('a', `options: (z) => ${schema},`),
      'schema.ts': `import { z } from 'zod';${filter('a', `options: ${schema},`)}`,
      'none.ts': filter('a'),
    });
    for (const file of ['./function.ts', './schema.ts']) {
      const { definition } = load(file, folder);
      assert.deepEqual(readOptions(definition, {}), { options: { size: 3 } });
      const bad = readOptions(definition, { list: ['a', 1] });
      assert.ok('faults' in bad);
      assert.deepEqual(
        bad.faults.map(({ keys }) => keys),
        [['list', 1]],
      );
    }
    const { definition } = load('./none.ts', folder);
    assert.deepEqual(readOptions(definition, {}), { options: {} });
    assert.ok('faults' in readOptions(definition, { size: 1 }));
  });
});

describe('filters in a configuration', () => {
  const disk = (filters: string) => `vms:
  vm:
    disks:
      d:
        backend: { type: memory, size: 1MiB }
        filters:
${filters}`;

  it('are loaded from its folder, with their options', (test) => {
    const folder = folderOf(test, { 'a.ts': filter('a', 'options: (z) => z.strictObject({ size: z.number() }),') });
    const text = disk('          - use: readonly\n          - { use: ./a.ts, options: { size: 5 }, on_fault: open }');
    const { filters } = parseConfig(text, join(folder, 'c.yaml')).vms['vm']!.disks['d']!;
    assert.deepEqual(
      filters.map(({ ready, on_fault }) => [ready!.definition.name, ready!.options, on_fault]),
      [
        ['readonly', {}, 'closed'],
        ['a', { size: 5 }, 'open'],
      ],
    );
  });

  it('are told with file and line where they are wrong', (test) => {
    const folder = folderOf(test, {
      'a.ts': filter('a', 'options: (z) => z.strictObject({ size: z.number() }),'),
      'bad.ts': '\nconst = 1;',
    });
    const text = disk(`          - use: ./a.ts
            options:
              size: large
          - use: ./bad.ts
          - use: meter
            options: { latenzy: true }
          - use: meter
            on_fault: perhaps`);
    const problems = (text: string) =>
      readConfig(text, join(folder, 'c.yaml')).problems.map(({ line, key, code, text }) => ({ line, key, code, text }));
    const key = 'vms.vm.disks.d.filters';
    const [badPolicy, ...none] = problems(text);
    assert.deepEqual(none, []);
    assert.deepEqual([badPolicy!.line, badPolicy!.key], [14, `${key}.3.on_fault`]);
    const [options, module, unknown, ...rest] = problems(text.replace('perhaps', 'open'));
    assert.deepEqual(rest, []);
    assert.deepEqual([options!.line, options!.key], [9, `${key}.0.options.size`]);
    assert.match(options!.text, /number/);
    assert.deepEqual([module!.line, module!.key, module!.code], [10, `${key}.1.use`, 'FILTER_INVALID']);
    assert.match(module!.text, /^bad\.ts:2: /);
    assert.deepEqual([unknown!.line, unknown!.key], [12, `${key}.2.options.latenzy`]);
    assert.match(unknown!.text, /^unknown key; known here: latency$/);
  });
});
