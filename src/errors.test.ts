import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { repositoryRoot } from '../test/support/daemon.js';
import { type BlastRadius, ERROR_CODES } from './errors.js';

/** How docs/errors.md heads the codes of a radius. */
const HEADINGS: Record<BlastRadius, string> = {
  request: '## A request',
  process: '## The process',
  core: '## A core',
  session: '## A session',
  queue: '## A queue',
};

it('docs/errors.md has every code once, under its radius, with what it means and what to do', () => {
  const page = readFileSync(join(repositoryRoot, 'docs/errors.md'), 'utf8');
  const sections = page.split(/^(?=## )/m);
  const documented = Object.entries(HEADINGS).flatMap(([radius, heading]) => {
    const section = sections.find((text) => text.startsWith(heading)) ?? '';
    const rows = [...section.matchAll(/^\| `([A-Z_]+)` \| (.+) \| (.+) \|$/gm)];
    return rows.map(([, code]) => `${code} ${radius}`);
  });
  assert.deepEqual(
    documented.sort(),
    Object.entries(ERROR_CODES)
      .map(([code, radius]) => `${code} ${radius}`)
      .sort(),
  );
});
