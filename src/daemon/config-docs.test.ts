/** What people read about the configuration, held against the schema. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { repositoryRoot } from '../../test/support/daemon.js';
import { loadConfig, parseConfig, readConfig } from './config.js';
import { configSchema } from './config-schema.js';
import { problemLine } from './config-text.js';
import { configWarnings } from './config-warnings.js';

interface Key {
  /** Heading of the section in docs/configuration.md. */
  readonly section: string;
  readonly key: string;
  /** As it would be written; undefined if it has none. */
  readonly default: string | undefined;
}

/** What names that people choose are called in the page, by the key that holds them. */
const PLACEHOLDERS: Record<string, string> = {
  vms: 'VM',
  disks: 'DISK',
  nics: 'NIC',
  networks: 'NETWORK',
  ports: 'PORT',
};

/** Every key of the schema, with those of all variants of a union. */
function keysOf(schema: z.core.$ZodType, path: readonly string[] = []): Key[] {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional)
    return keysOf(schema.unwrap(), path);
  if (schema instanceof z.ZodPipe) return [...keysOf(schema.in, path), ...keysOf(schema.out, path)];
  if (schema instanceof z.ZodArray) return keysOf(schema.element, path);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => keysOf(option, path));
  if (schema instanceof z.ZodRecord) return keysOf(schema.valueType, [...path, PLACEHOLDERS[path.at(-1)!]!]);
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape as z.core.$ZodShape).flatMap(([key, value]) => {
    const preset =
      value instanceof z.ZodDefault || value instanceof z.ZodPrefault ? asWritten(value.def.defaultValue) : undefined;
    return [
      { section: path.length === 0 ? 'Top level' : `\`${path.join('.')}\``, key, default: preset },
      ...keysOf(value, [...path, key]),
    ];
  });
}

const asWritten = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

describe('docs/configuration.md', () => {
  const page = readFileSync(join(repositoryRoot, 'docs/configuration.md'), 'utf8');
  const sections = new Map(page.split(/^## /m).map((text) => [text.slice(0, text.indexOf('\n')), text]));
  /** Cells of the tables: key, type, default, meaning, example. */
  const rows = [...sections].flatMap(([section, text]) =>
    [...text.matchAll(/^\| `(\w+)` \|(.+)\|$/gm)].map(([, key, rest]) => ({
      section,
      key: key!,
      cells: rest!.split(' | ').map((cell) => cell.trim()),
    })),
  );
  const keys = keysOf(configSchema);

  it('has a row for each key, and for none that there is not', () => {
    const name = ({ section, key }: { section: string; key: string }) => `${section} ${key}`;
    assert.deepEqual([...new Set(rows.map(name))].sort(), [...new Set(keys.map(name))].sort());
    assert.ok(
      keys.some(({ key }) => key === 'engine'),
      'the walk reaches the back ends',
    );
  });

  it('says type, default, meaning and an example of each', () => {
    for (const { section, key, cells } of rows) {
      assert.equal(cells.length, 4, `${section} ${key}`);
      assert.ok(cells.every((cell) => cell !== '') && cells[3]!.startsWith(`\`${key}: `), `${section} ${key}`);
    }
  });

  it('has the defaults of the schema', () => {
    for (const { section, key, default: preset } of keys) {
      const row = rows.find((other) => other.section === section && other.key === key)!;
      if (preset !== undefined) assert.equal(row.cells[1], `\`${preset}\``, `${section} ${key}`);
    }
  });

  it('begins with a configuration that is good', () => {
    const [, yaml] = /```yaml\n(.+?)```/s.exec(page)!;
    assert.deepEqual(Object.keys(parseConfig(yaml!, 's.yaml').vms), ['web1']);
  });
});

function warnings(text: string): string[] {
  const { config, text: source } = readConfig(text, 's.yaml');
  return configWarnings(config!, source).map(problemLine);
}

describe('README.md', () => {
  const page = readFileSync(join(repositoryRoot, 'README.md'), 'utf8');
  const blocks = [...page.matchAll(/^( *)```yaml\n(.+?)```/gms)].map(([, indent, yaml]) =>
    yaml!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );

  it('has configurations that are good, in which nobody is alone', () => {
    assert.equal(blocks.length, 3);
    for (const yaml of blocks) {
      parseConfig(yaml, '/s.yaml');
      assert.deepEqual(warnings(yaml), []);
    }
  });

  it('has the first network of the examples', () => {
    const example = readFileSync(join(repositoryRoot, 'examples/first-network.yaml'), 'utf8');
    assert.deepEqual(parseConfig(blocks[1]!, '/s.yaml'), parseConfig(example, '/s.yaml'));
  });
});

describe('examples', () => {
  const folder = join(repositoryRoot, 'examples');
  const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
  for (const file of files) {
    it(`${file} is good, serves something, and nobody in it is alone`, () => {
      const { vms } = loadConfig(join(folder, file));
      assert.ok(Object.values(vms).some(({ disks, nics }) => Object.keys({ ...disks, ...nics }).length > 0));
      assert.deepEqual(warnings(readFileSync(join(folder, file), 'utf8')), []);
    });
  }

  it('are there', () =>
    assert.deepEqual(files.sort(), [
      'first-disk.yaml',
      'first-network.yaml',
      'many-vms.yaml',
      'networks.yaml',
      'shared-host.yaml',
      'snapshots.yaml',
      'throttle.yaml',
    ]));

  it('the first one needs no root: everything of it is in /tmp', () => {
    const { run_dir, vms } = loadConfig(join(folder, 'first-disk.yaml'));
    const images = Object.values(vms['web1']!.disks).flatMap(({ backend }) =>
      backend.type === 'file' ? [backend.path] : [],
    );
    assert.equal(images.length, 1);
    for (const path of [run_dir, ...images]) assert.match(path, /^\/tmp\//);
  });
});
