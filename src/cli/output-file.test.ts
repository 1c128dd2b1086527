import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { prepareOutput } from './output-file.js';

it('files that can be written have their folders made, and are left as they were', (test) => {
  const folder = mkdtempSync(join(tmpdir(), 'sidecore-output-'));
  test.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'a', 'b', 'paper.json');
  prepareOutput(file);
  assert.ok(existsSync(join(folder, 'a', 'b')) && !existsSync(file));
  writeFileSync(file, 'kept');
  prepareOutput(file);
  assert.equal(readFileSync(file, 'utf8'), 'kept');
  assert.throws(() => prepareOutput(join(file, 'below', 'a-file.json')), /cannot be written/);
});

it('folders that never can be there are told of', () => {
  assert.throws(() => prepareOutput('/proc/nope/paper.json'), /\/proc\/nope\/paper.json cannot be written: .*ENOENT/);
});
