/** The file itself: how it is read, what YAML may be in it, and on which line things are. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SidecoreError } from '../errors.js';
import { loadConfig, parseConfig, readConfig } from './config.js';
import { problemLine } from './config-text.js';

const folder = mkdtempSync(join(tmpdir(), 'sidecore-config-'));
after(() => rmSync(folder, { recursive: true }));

const problems = (text: string): string[] => readConfig(text, '/etc/s.yaml').problems.map(problemLine);

describe('a good file', () => {
  it('may be JSON, begin with a byte order mark, end its lines the other way, and come from a file', () => {
    const file = join(folder, 'good.json');
    writeFileSync(file, '\uFEFF{"run_dir": "run",\r\n "cores": [0, 2], "vms": {}}\r\n');
    const { run_dir, cores } = loadConfig(file);
    assert.deepEqual({ run_dir, cores }, { run_dir: join(folder, 'run'), cores: [0, 2] });
  });

  it('may use anchors, aliases and merge keys', () => {
    const text = `vms:
  a:
    disks:
      root: &root {backend: {type: memory, size: 1MiB}, queues: 4}
      swap: {<<: *root, queues: 2}
  b:
    disks:
      root: *root
      swap: {<<: [{cache: writethrough}, *root]}
`;
    const { vms } = parseConfig(text, 's.yaml');
    assert.deepEqual(
      Object.values(vms).flatMap(({ disks }) => Object.values(disks).map(({ queues, cache }) => [queues, cache])),
      [
        [4, 'writeback'],
        [2, 'writeback'],
        [4, 'writeback'],
        [4, 'writethrough'],
      ],
    );
  });
});

describe('bad YAML is told file and line', () => {
  const cases: Record<string, [text: string, ...problems: string[]]> = {
    'an empty file': ['', '/etc/s.yaml:1: configuration: is empty'],
    'only comments': ['# nothing\n', '/etc/s.yaml:1: configuration: is empty'],
    'a list at the top': ['- vms\n', '/etc/s.yaml:1: configuration: expects keys and values, not a list'],
    'a word at the top': ['vms\n', '/etc/s.yaml:1: configuration: expects keys and values, not "vms"'],
    tabs: ['vms:\n\tweb1: {}\n', '/etc/s.yaml:2: YAML: a tab cannot indent: use spaces'],
    'broken YAML': [
      'cores: [1,\n',
      '/etc/s.yaml:2: YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    'two documents': [
      'vms: {}\n---\nvms: {}\n',
      '/etc/s.yaml:2: YAML: a second document starts here (---): put everything into one',
    ],
    'a tag': ['vms: !mine {}\n', '/etc/s.yaml:1: YAML: Unresolved tag: !mine'],
    'a key twice': ['log: info\nvms: {}\nlog: warn\n', '/etc/s.yaml:3: log: is here twice, first on line 1'],
    'a disk twice': [
      'vms:\n  web1:\n    disks:\n      root: {}\n      root: {}\n',
      '/etc/s.yaml:5: vms.web1.disks.root: is here twice, first on line 4',
    ],
    'a map as key': ['? {a: 1}\n: 2\n', '/etc/s.yaml:1: configuration: a key has to be a plain word'],
    'the key __proto__': ['vms:\n  __proto__: {}\n', '/etc/s.yaml:1: vms: __proto__ cannot be a key'],
    'an alias without anchor': ['log: info\nvms: *all\n', '/etc/s.yaml:2: vms: *all has no &all before it'],
    'an alias of itself': ['vms: &all\n  web1: *all\n', '/etc/s.yaml:2: vms.web1: *all is inside itself'],
    'a merge of no map': ['vms: {<<: [1]}\n', '/etc/s.yaml:1: vms: << takes the alias of a map'],
    'deep nesting': ['['.repeat(50_000), '/etc/s.yaml:1: configuration: is nested too deeply'],
  };
  for (const [what, [text, ...expected]] of Object.entries(cases)) {
    it(what, () => assert.deepEqual(problems(text), expected));
  }

  it('aliases that multiply', () => {
    const level = (name: string, of: string) => `${name}: &${name} [${Array(100).fill(of).join(', ')}]\n`;
    const [problem, ...others] = problems(level('a', '1') + level('b', '*a') + level('c', '*b') + level('d', '*c'));
    assert.match(
      problem!,
      /^\/etc\/s\.yaml:\d: [\w.]+: here the file exceeds 1000000 values, those behind aliases counted each time$/,
    );
    assert.deepEqual(others, []);
  });
});

describe('a file that cannot be read', () => {
  const refused = (path: string, message: string) =>
    assert.throws(
      () => loadConfig(path),
      (error) => {
        assert.ok(error instanceof SidecoreError);
        assert.deepEqual([error.code, error.message], ['CONFIG_UNREADABLE', `cannot read ${path}: ${message}`]);
        return true;
      },
    );

  it('is not there, or is a directory', () => {
    refused(join(folder, 'none.yaml'), 'there is no such file');
    refused(folder, 'it is a directory');
  });

  it('is no text', () => {
    const file = join(folder, 'binary');
    writeFileSync(file, Buffer.from([0x76, 0x6d, 0xff, 0xfe]));
    refused(file, 'it is no UTF-8 text');
  });

  it('is too large, or has no end', () => {
    const file = join(folder, 'large.yaml');
    writeFileSync(file, '#'.repeat(4 * 2 ** 20 + 1));
    refused(file, 'it has more than 4194304 bytes');
    refused('/dev/zero', 'it has more than 4194304 bytes');
  });
});
