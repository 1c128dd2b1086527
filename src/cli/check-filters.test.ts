/** What `check` has filters say of their disks and cards, and that it changes nothing. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../test/support/daemon.js';
import { FilterRig, type RigOptions } from '../../test/support/filter-rig.js';
import { makeLuks1 } from '../filters/block/encrypt/luks1-keys.js';
import { mirror } from '../filters/block/mirror/filter.js';
import { overlay } from '../filters/block/overlay/filter.js';
import { snapshot } from '../filters/block/snapshot/filter.js';
import { verify } from '../filters/block/verify/filter.js';
import { allowedCpus } from '../host/affinity.js';
import { checkFile } from './check.js';

const MIB = 2 ** 20;

/** Has filters make their files, by opening a disk and closing it. */
async function serve(options: RigOptions, act: (rig: FilterRig) => unknown = () => {}): Promise<void> {
  const steps: (() => unknown)[] = [];
  const rig = new FilterRig({ after: (step: () => unknown) => steps.push(step) } as unknown as TestContext, options);
  await act(rig);
  for (const step of steps) await step();
}

class Bench {
  readonly folder: string;

  constructor(test: TestContext) {
    this.folder = scratchDirectory(test);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  image(name: string, bytes = MIB): string {
    writeFileSync(this.path(name), '');
    truncateSync(this.path(name), bytes);
    return this.path(name);
  }

  /** Everything in the folder: names, contents, and when they were written. */
  #seen(): object[] {
    return readdirSync(this.folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name !== 's.yaml')
      .sort()
      .map((name) => {
        const { mtimeMs, size, blocks } = statSync(this.path(name));
        const isFile = statSync(this.path(name)).isFile();
        const content =
          isFile && size <= 4 * MIB
            ? createHash('sha1')
                .update(readFileSync(this.path(name)))
                .digest('hex')
            : '';
        return { name, mtimeMs, size, blocks, content };
      });
  }

  /** `LINE: key below the VM: problem [CODE]`, and warnings behind them. Nothing may change by the look. */
  look(...lines: string[]): string[] {
    const text = `run_dir: run\ncores: [${allowedCpus()[0]}]\nvms:\n web1:\n${lines.map((line) => `  ${line}\n`).join('')}`;
    writeFileSync(this.path('s.yaml'), text);
    const before = this.#seen();
    const { problems, warnings } = checkFile(this.path('s.yaml'));
    assert.deepEqual(this.#seen(), before);
    const shown = [...problems, ...warnings].map(
      (found) => `${found.line}: ${found.key}: ${found.text} [${'code' in found ? found.code : 'warning'}]`,
    );
    return shown.map((line) => line.replaceAll(`${this.folder}/`, '').replaceAll('vms.web1.', ''));
  }

  /** Of a disk with one filter, which is on line 6. */
  disk(backend: string, filter: string): string[] {
    return this.look('disks:', ` {root: {backend: {${backend}}, filters: [`, `  ${filter}]}}`).map((line) =>
      line.replace(/^7: disks\.root\.filters\.0\./, ''),
    );
  }
}

const FILE = 'type: file, path: a.img';

describe('check finds keys of encrypted disks', () => {
  const encrypt = (key: string) => `{use: encrypt, options: {${key}}}`;

  it('that are not there, or open nothing; and images without a header', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    const { bytes } = makeLuks1({ passphrase: Buffer.from('good'), iterations: 1000 });
    writeFileSync(bench.path('a.img'), Buffer.concat([bytes, Buffer.alloc(MIB)]));
    for (const name of ['good', 'wrong', 'empty'])
      writeFileSync(bench.path(name), name === 'empty' ? '' : name, { mode: 0o600 });
    assert.deepEqual(bench.disk(FILE, encrypt('key_file: good')), []);
    assert.deepEqual(bench.disk(FILE, encrypt('key_file: none')), [
      'options: the key file none cannot be read (ENOENT) [KEY_INVALID]',
    ]);
    assert.deepEqual(bench.disk(FILE, encrypt('key_file: empty')), [
      'options: the key in empty is empty [KEY_INVALID]',
    ]);
    assert.deepEqual(bench.disk(FILE, encrypt('key_file: wrong')), [
      'options: the passphrase opens none of the key slots in use (0) [KEY_INVALID]',
    ]);
    assert.deepEqual(bench.disk(FILE, encrypt('key_env: SIDECORE_TEST_NO_KEY')), [
      'options: there is no environment variable SIDECORE_TEST_NO_KEY with the key [KEY_INVALID]',
    ]);
    const none = ['options: the image has no LUKS header [IMAGE_INVALID]'];
    bench.image('b.img');
    assert.deepEqual(bench.disk('type: file, path: b.img', encrypt('key_file: good')), none);
    assert.deepEqual(bench.disk('type: file, path: new.img, size: 8MiB', encrypt('key_file: good')), none);
    assert.deepEqual(bench.disk('type: memory, size: 8MiB', encrypt('key_file: good')), none);
  });

  it('that others can read, and warns of them', (test) => {
    const bench = new Bench(test);
    const { bytes } = makeLuks1({ passphrase: Buffer.from('good'), iterations: 1000 });
    writeFileSync(bench.path('a.img'), Buffer.concat([bytes, Buffer.alloc(MIB)]));
    writeFileSync(bench.path('good'), 'good', { mode: 0o644 });
    assert.deepEqual(bench.disk(FILE, encrypt('key_file: good')), [
      'options: good: the key can be read by others than its owner (chmod 600) [warning]',
    ]);
  });
});

describe('check finds files of filters', () => {
  it('overlay: that do not fit their base', async (test) => {
    const bench = new Bench(test);
    const base = bench.image('a.img');
    const disk = (name: string, top: string, more = '') =>
      ` ${name}: {backend: {${FILE}${more}}, filters: [{use: overlay, options: {path: ${top}}}]}`;
    const readOnly = ', read_only: true';
    assert.deepEqual(bench.look('disks:', disk('x', 'x', readOnly), disk('y', 'y', readOnly)), []);
    assert.deepEqual(bench.look('disks:', disk('x', 'x', readOnly), disk('y', 'x', readOnly)), [
      '7: disks.y.filters.0.options: x is the same file as that of the filter overlay of web1/x [IMAGE_BUSY]',
    ]);
    assert.deepEqual(bench.look('disks:', disk('x', 'x')), [
      '6: disks.x.filters.0.options: overlay: its base can be written [CONFIG_INVALID]',
    ]);
    const own = (path: string) => bench.disk(`${FILE}${readOnly}`, `{use: overlay, options: {path: ${path}}}`);
    bench.image('small', MIB / 2);
    assert.deepEqual(own('small'), ['options: small has 524288 bytes, and its base has 1048576 [IMAGE_INVALID]']);
    assert.deepEqual(own('none/x'), ['options: none/x cannot be: folder none does not exist [IMAGE_MISSING]']);
    writeFileSync(bench.path('full'), Buffer.alloc(MIB, 1));
    assert.match(own('full').join(), /^options: full has data, and no map: full.map is missing \[IMAGE_INVALID\]$/);
    const backend = { type: 'file', path: base, readOnly: true } as const;
    const filters = [{ definition: overlay, options: { path: 'top' } }];
    await serve({ filters, backend, base: bench.folder });
    assert.deepEqual(own('top'), []);
    utimesSync(base, 1, 1);
    assert.match(own('top').join(), /^options: the base of top has changed since .* \[IMAGE_INVALID\]$/);
    truncateSync(bench.path('a.img'), 2 * MIB);
    truncateSync(bench.path('top'), 2 * MIB);
    assert.match(own('top').join(), /^options: top.map is for a disk of 1048576 bytes.* \[IMAGE_INVALID\]$/);
  });

  it('snapshot: that are missing, or are another disk’s; and snapshots that are not there', async (test) => {
    const bench = new Bench(test);
    const path = bench.image('a.img');
    const filter = '{use: snapshot, options: {path: s}}';
    const root = ` root: {backend: {${FILE}}, filters: [${filter}]}`;
    const view = (name: string) =>
      bench.look('disks:', ` view: {backend: {type: snapshot, of: web1/root, name: ${name}}}`, root);
    assert.deepEqual(bench.disk(FILE, filter), []);
    const none = ['6: disks.view.backend.name: web1/root has no snapshot monday [CONFIG_INVALID]'];
    assert.deepEqual(view('monday'), none);
    const filters = [{ definition: snapshot, options: { path: 's' } }];
    await serve({ filters, backend: { type: 'file', path }, base: bench.folder }, ({ filters: { opened } }) =>
      opened[0]!.commands['create']!({ name: 'friday' }),
    );
    assert.deepEqual(bench.disk(FILE, filter), []);
    assert.deepEqual(view('monday'), none);
    assert.deepEqual(view('friday'), []);
    assert.deepEqual(bench.disk(FILE, '{use: snapshot, options: {path: s, max: 3}}').slice(0, 1), [
      'options: s/copies.map was made with slots 32, not 3 [IMAGE_INVALID]',
    ]);
    bench.image('b.img', 2 * MIB);
    assert.deepEqual(bench.disk('type: file, path: b.img', filter).slice(0, 1), [
      'options: s/copies.map is for a disk of 1048576 bytes, and this one has 2097152 [IMAGE_INVALID]',
    ]);
    const manifest = bench.path('s/snapshots.json');
    const whole = readFileSync(manifest, 'utf8');
    writeFileSync(manifest, whole.replace('"damaged": false', '"damaged": true'));
    assert.match(view('friday').join(), /^6: disks.view.backend.name: the snapshot friday is damaged/);
    writeFileSync(manifest, '{}');
    assert.deepEqual(bench.disk(FILE, filter), ['options: s/snapshots.json is no list of snapshots [IMAGE_INVALID]']);
    mkdirSync(bench.path('t'));
    writeFileSync(bench.path('t/snapshots.json'), whole);
    assert.deepEqual(bench.disk(FILE, '{use: snapshot, options: {path: t}}'), [
      'options: t/copies.raw is missing, and there are snapshots [IMAGE_MISSING]',
    ]);
    assert.deepEqual(bench.disk(FILE, '{use: snapshot, options: {path: a.img}}'), [
      'options: a.img/snapshots.json cannot be read (ENOTDIR) [IMAGE_INVALID]',
    ]);
  });

  it('mirror and verify: that are too small, somebody else’s, or cannot be made', async (test) => {
    const bench = new Bench(test);
    const path = bench.image('a.img');
    const to = (second: string, more = '') => bench.disk(FILE, `{use: mirror, options: {to: {${second}}${more}}}`);
    const sums = (file: string) => bench.disk(FILE, `{use: verify, options: {sums: ${file}}}`);
    assert.deepEqual(to('type: file, path: b.img'), []);
    assert.deepEqual(to('type: file, path: none/b.img').slice(0, 1), [
      'options: none/b.img.mirror cannot be: folder none does not exist [IMAGE_MISSING]',
    ]);
    assert.deepEqual(to('type: memory, size: 512KiB'), [
      'options: the second half has 524288 bytes, and the disk 1048576 [IMAGE_INVALID]',
    ]);
    assert.deepEqual(to('type: file, path: a.img'), [
      'options: a.img is the same file as the image of web1/root [IMAGE_BUSY]',
    ]);
    const filters = [
      { definition: mirror, options: { to: { type: 'file', path: 'b.img' } } },
      { definition: verify, options: { sums: 'sums' } },
    ];
    await serve({ filters, backend: { type: 'file', path }, base: bench.folder });
    assert.deepEqual([to('type: file, path: b.img'), sums('sums')], [[], []]);
    assert.deepEqual(sums('b.img.mirror'), ['options: b.img.mirror is no file of the filter verify [IMAGE_INVALID]']);
    assert.deepEqual(to('type: file, path: b.img', ', bitmap: sums'), [
      'options: sums is no file of the filter mirror [IMAGE_INVALID]',
    ]);
    assert.deepEqual(sums('.'), [`options: ${bench.folder} is a folder [IMAGE_PERMISSION]`]);
  });

  it('of a card, that cannot be made', (test) => {
    const bench = new Bench(test);
    const nic = (file: string) =>
      bench
        .look('nics:', ' a: {}', ` b: {filters: [{use: mirror, options: {file: ${file}}}]}`)
        .map((line) => line.replace(/.*filters\.0\./, ''));
    assert.deepEqual(nic('b.pcapng'), []);
    assert.deepEqual(nic('none/b.pcapng'), [
      'options: none/b.pcapng cannot be: folder none does not exist [IMAGE_MISSING]',
    ]);
  });
});

describe('check asks filters of others', () => {
  it('for what they say of the disk as it is at their place', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    const module = (name: string, body: string) =>
      writeFileSync(
        bench.path(`${name}.ts`),
        `import { defineBlockFilter } from 'sidecore/filter';\nexport default defineBlockFilter({ name: '${name}', create: () => ({ complete: (_, status) => status }), ${body} });\n`,
      );
    module('half', 'offers: (below) => ({ sizeBytes: below.sizeBytes / 2 })');
    module(
      'says',
      "check({ below, image, vm }) { throw new Error([vm, below?.sizeBytes, image === undefined].join(' ')); }",
    );
    module('hides', 'offers: (below, _options, prepared) => ({ sizeBytes: prepared.bytes })');
    module('greedy', 'sharedBytes: () => -1');
    const with_ = (...uses: string[]) =>
      bench
        .look('disks:', ` root: {backend: {${FILE}}, filters: [${uses.map((use) => `{use: ./${use}.ts}`).join(', ')}]}`)
        .map((line) => line.replace('6: disks.root.filters.0.', ''));
    const said = (text: string) => [`options: check() of the filter ./says.ts has thrown: ${text} [FILTER_INVALID]`];
    assert.deepEqual(with_('says'), said('web1 1048576 false'));
    assert.deepEqual(with_('says', 'half'), said('web1 524288 true'));
    assert.deepEqual(with_('says', 'hides'), said('web1  true'));
    assert.deepEqual(with_('greedy'), ['options: a filter wants -1 bytes of shared memory [FILTER_INVALID]']);
  });
});
