import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { backendConformance } from '../../test/conformance/backend.js';
import { ArrayBackend } from './backend.js';
import { type ArrayOptions, type ArraySpec, openArray } from './open.js';

backendConformance<ArrayOptions, ArraySpec>({
  name: 'array (example)',
  skip: false,
  keepsData: true,
  grows: false,
  make: (size) => ({ options: { type: 'array', size }, release: () => {} }),
  open: openArray,
  create: (spec) => new ArrayBackend(spec.memory),
});

it('the guide to adding a back end shows this code', () => {
  const guide = readFileSync('docs/adding-a-back-end.md', 'utf8');
  for (const file of ['open.ts', 'backend.ts']) {
    const code = readFileSync(`examples/back-end/${file}`, 'utf8');
    assert.ok(
      guide.includes(code.trim()),
      `docs/adding-a-back-end.md does not contain examples/back-end/${file} as it is`,
    );
  }
});
