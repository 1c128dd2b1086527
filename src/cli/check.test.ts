/** What `check` sees of the machine. How a configuration is read is config.test.ts’s. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, linkSync, mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../test/support/daemon.js';
import { allowedCpus } from '../host/affinity.js';
import { checkFile } from './check.js';

const MIB = 2 ** 20;
const CPU = allowedCpus()[0]!;
/** Root may read and write whatever there is. */
const asRoot = process.getuid?.() === 0 ? 'root may do everything' : false;

class Bench {
  readonly folder: string;
  readonly file: string;

  constructor(test: TestContext) {
    this.folder = scratchDirectory(test);
    this.file = join(this.folder, 's.yaml');
  }

  image(name: string, bytes = MIB): string {
    const path = join(this.folder, name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return path;
  }

  /** The problems of a configuration: `LINE: key: problem [CODE]`. */
  problems(config: string): string[] {
    writeFileSync(this.file, config);
    const shown = ({ line, key, text, code }: ReturnType<typeof checkFile>['problems'][number]) =>
      `${line}: ${key}: ${text} [${code}]`;
    return checkFile(this.file).problems.map((problem) => shown(problem).replaceAll(`${this.folder}/`, ''));
  }

  /** Those of a file disk, on line 6. */
  disk(backend: string, more = ''): string[] {
    const file = `vms:\n  web1:\n    disks:\n      root: {backend: {type: file, ${backend}}${more}}\n`;
    return this.problems(`run_dir: run\ncores: [${CPU}]\n${file}`);
  }
}

const KEY = 'vms.web1.disks.root';

describe('check finds filters of a disk', () => {
  const disk = (test: TestContext, ...filters: string[]) => {
    const bench = new Bench(test);
    bench.image('a.img');
    return bench.disk('path: a.img', `,\n        filters: [\n         ${filters.join(',\n         ')}]`);
  };
  const encrypt = '{use: encrypt, options: {key_file: k}}';
  const snapshot = '{use: snapshot, options: {path: s}}';
  const meter = '{use: meter, on_fault: open}';

  it('that have to be the last, and are not', (test) => {
    assert.deepEqual(disk(test, encrypt, meter), [
      `8: ${KEY}.filters.0.use: the filter encrypt has to be the last [CONFIG_INVALID]`,
    ]);
    assert.deepEqual(disk(test, meter, snapshot, encrypt), [
      `9: ${KEY}.filters.1.use: the filter snapshot has to be the last [CONFIG_INVALID]`,
    ]);
    assert.match(disk(test, meter, encrypt, snapshot).join(), /^9: .*options: the key file .*k cannot be read/);
  });

  it('that may not be passed by', (test) => {
    assert.deepEqual(disk(test, meter, '{use: encrypt, on_fault: open, options: {key_file: k}}'), [
      `9: ${KEY}.filters.1.on_fault: the filter encrypt cannot have on_fault: open [CONFIG_INVALID]`,
    ]);
  });
});

describe('check finds nothing', () => {
  it('wrong with disks that can be served, and makes nothing', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    assert.deepEqual(bench.disk('path: a.img'), []);
    assert.deepEqual(bench.disk('path: a.img, size: 1MiB'), []);
    assert.deepEqual(bench.disk('path: new.img, size: 1MiB'), []);
    assert.deepEqual(
      bench.problems(`run_dir: run/deep/down\ncores: [${CPU}]\nsocket: {owner: root, group: root}\n`),
      [],
    );
    assert.deepEqual(readdirSync(bench.folder).sort(), ['a.img', 's.yaml']);
  });

  it('wrong with the socket of a daemon that runs', async (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    const server = createServer().listen(join(bench.folder, 's.sock'));
    test.after(() => server.close());
    await once(server, 'listening');
    assert.deepEqual(bench.disk('path: a.img', ', socket: s.sock'), []);
    assert.equal(await new Promise((resolve) => server.getConnections((_, count) => resolve(count))), 0);
  });

  it('wrong with one image that several read', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    symlinkSync('a.img', join(bench.folder, 'b.img'));
    const disk = (path: string) => `{backend: {type: file, path: ${path}}, read_only: true}`;
    assert.deepEqual(
      bench.problems(`cores: [${CPU}]\nrun_dir: run\nvms: {a: {disks: {x: ${disk('a.img')}, y: ${disk('b.img')}}}}`),
      [],
    );
  });
});

describe('check finds', () => {
  it('CPUs that are not there', (test) => {
    const bench = new Bench(test);
    assert.deepEqual(bench.problems(`run_dir: run\ncores:\n  - ${CPU}\n  - 1023\n`), [
      `4: cores.1: CPU 1023 cannot be used, only CPU ${allowedCpus().join(', ')} [CPU_UNUSABLE]`,
    ]);
  });

  it('a CPU for SQPOLL that is not there', (test) => {
    const bench = new Bench(test);
    assert.deepEqual(bench.problems(`run_dir: run\ncores: [${CPU}]\nsqpoll_cpu: 1023\n`), [
      `3: sqpoll_cpu: CPU 1023 cannot be used, only CPU ${allowedCpus().join(', ')} [CPU_UNUSABLE]`,
    ]);
  });

  it('images that are not raw', (test) => {
    const bench = new Bench(test);
    writeFileSync(join(bench.folder, 'a.img'), 'QFI\xfb\0\0\0\x03'.padEnd(1024, '\0'), 'latin1');
    const wrong = `6: ${KEY}.backend.path: a.img is a qcow2 image, and only raw ones are served [IMAGE_INVALID]`;
    assert.deepEqual(bench.disk('path: a.img'), [wrong]);
    assert.deepEqual(bench.disk('path: a.img, size: 1MiB'), [wrong]);
  });

  it('users and groups that are not there', (test) => {
    const bench = new Bench(test);
    assert.deepEqual(
      bench.problems(`run_dir: run\ncores: [${CPU}]\nsocket:\n  owner: no-such-one\n  group: no-such-one\n`),
      [
        '4: socket.owner: there is no user no-such-one on this machine [CONFIG_INVALID]',
        '5: socket.group: there is no group no-such-one on this machine [CONFIG_INVALID]',
      ],
    );
  });

  it('folders that are none, or are not there', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    assert.deepEqual(bench.problems(`run_dir: a.img/run\ncores: [${CPU}]\n`), [
      '1: run_dir: a.img is no folder [SOCKET_PERMISSION]',
    ]);
    assert.deepEqual(bench.disk('path: a.img', ', socket: none/s.sock'), [
      `6: ${KEY}.socket: none does not exist [SOCKET_PERMISSION]`,
    ]);
    assert.deepEqual(bench.disk('path: a.img', ', socket: a.img/s.sock'), [
      `6: ${KEY}.socket: a.img is no folder [SOCKET_PERMISSION]`,
    ]);
    assert.deepEqual(bench.disk('path: none/a.img, size: 1MiB'), [
      `6: ${KEY}.backend.path: none/a.img cannot be: folder none does not exist [IMAGE_MISSING]`,
    ]);
  });

  it('folders that cannot be written to', { skip: asRoot }, (test) => {
    const bench = new Bench(test);
    mkdirSync(join(bench.folder, 'closed'), { mode: 0o500 });
    assert.deepEqual(bench.problems(`run_dir: closed/run\ncores: [${CPU}]\n`), [
      '1: run_dir: closed cannot be written to (EACCES) [SOCKET_PERMISSION]',
    ]);
    assert.deepEqual(bench.disk('path: closed/a.img, size: 1MiB'), [
      `6: ${KEY}.backend.path: closed/a.img is to be made, but closed cannot be written to (EACCES) [IMAGE_PERMISSION]`,
    ]);
  });

  it('files where a socket should be', (test) => {
    const bench = new Bench(test);
    bench.image('a.img');
    bench.image('b.img');
    assert.deepEqual(bench.disk('path: a.img', ', socket: b.img'), [
      `6: ${KEY}.socket: b.img exists and is no socket [SOCKET_INVALID]`,
    ]);
  });

  it('images that are not there', (test) => {
    const bench = new Bench(test);
    const missing = [`6: ${KEY}.backend.path: none.img does not exist [IMAGE_MISSING]`];
    assert.deepEqual(bench.disk('path: none.img'), missing);
    assert.deepEqual(bench.disk('path: none.img, size: 1MiB', ', read_only: true'), missing);
  });

  it('images that are none', (test) => {
    const bench = new Bench(test);
    bench.image('empty.img', 0);
    bench.image('small.img', MIB);
    assert.deepEqual(bench.disk('path: .'), [
      `6: ${KEY}.backend.path: ${bench.folder} is neither a file nor a block device [IMAGE_INVALID]`,
    ]);
    assert.deepEqual(bench.disk('path: empty.img'), [
      `6: ${KEY}.backend.path: empty.img has 0 bytes, less than the 512 of its disk [IMAGE_INVALID]`,
    ]);
    assert.deepEqual(bench.disk('path: small.img, size: 2MiB'), [
      `6: ${KEY}.backend.path: small.img has 1048576 bytes, less than the 2097152 of its disk [IMAGE_INVALID]`,
    ]);
  });

  it('images that may not be read or written', { skip: asRoot }, (test) => {
    const bench = new Bench(test);
    chmodSync(bench.image('a.img'), 0o400);
    assert.deepEqual(bench.disk('path: a.img', ', read_only: true'), []);
    assert.deepEqual(bench.disk('path: a.img'), [
      `6: ${KEY}.backend.path: a.img may not be read and written (EACCES) [IMAGE_PERMISSION]`,
    ]);
    mkdirSync(join(bench.folder, 'closed'), { mode: 0 });
    assert.deepEqual(bench.disk('path: closed/a.img'), [
      `6: ${KEY}.backend.path: closed/a.img cannot be reached (EACCES) [IMAGE_PERMISSION]`,
    ]);
  });

  it('one image under two names, of which one is written', (test) => {
    const bench = new Bench(test);
    linkSync(bench.image('a.img'), join(bench.folder, 'b.img'));
    const disk = (path: string, more = '') => `{backend: {type: file, path: ${path}}${more}}`;
    assert.deepEqual(
      bench.problems(
        `cores: [${CPU}]\nrun_dir: run\nvms:\n  a: {disks: {x: ${disk('a.img', ', read_only: true')}}}\n  b: {disks: {x: ${disk('b.img')}}}\n`,
      ),
      ['5: vms.b.disks.x.backend.path: b.img is the same file as the image of a/x [IMAGE_BUSY]'],
    );
  });

  it('memory disks that do not fit', (test) => {
    const bench = new Bench(test);
    const [problem] = bench.problems(
      `cores: [${CPU}]\nrun_dir: run\nvms: {a: {disks: {x: {backend: {type: memory, size: 1024TiB}}}}}`,
    );
    assert.match(
      problem!,
      /^3: vms\.a\.disks\.x\.backend\.size: 1 PiB do not fit the .* of memory that are free \[MEMORY_EXHAUSTED\]$/,
    );
  });

  it('everything at once, by line', (test) => {
    const bench = new Bench(test);
    const lines = bench.problems(
      'vms: {a: {disks: {x: {backend: {type: file, path: /none}}}}}\ncores: [1023]\nrun_dir: s.yaml\n',
    );
    assert.deepEqual(
      lines.map((line) => line.slice(0, 2)),
      ['1:', '2:', '3:'],
    );
  });
});

it('a file that cannot be read is a problem without line', (test) => {
  const path = join(scratchDirectory(test), 'none.yaml');
  const remedy = 'Name the configuration with -c FILE. examples/ has some to start from.';
  const text = `cannot read ${path}: there is no such file`;
  assert.deepEqual(checkFile(path), {
    problems: [{ code: 'CONFIG_UNREADABLE', file: path, line: 0, key: '', text, remedy }],
    warnings: [],
  });
});
