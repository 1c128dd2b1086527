import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { BLOCK_FILTERS } from '../src/filters/block/index.js';
import { NET_FILTERS } from '../src/filters/net/index.js';
import { allowedCpus } from '../src/host/affinity.js';
import { costTables } from './filter-costs.js';
import { BLOCK_ENTRIES } from './filter-entries.js';
import { benchFilters, SHORT } from './filters.js';
import { FRAME_ENTRIES } from './frame-entries.js';
import type { Report } from './report.js';

const skip = allowedCpus().length < 2 ? 'needs two CPUs' : false;

describe('the benchmark of filters', { skip, timeout: 240_000 }, () => {
  let report: Report;
  const said: string[] = [];
  const folders = () => readdirSync('/dev/shm').filter((name) => name.startsWith('sidecore-bench-'));
  const found = folders();
  before(async () => {
    report = await benchFilters({
      quick: false,
      only: '',
      node: process.execPath,
      progress: (line) => said.push(line),
      timing: SHORT,
    });
  });

  it('knows all filters of ours', () => {
    const known = Object.keys(BLOCK_FILTERS);
    assert.deepEqual(new Set(BLOCK_ENTRIES.map(({ use }) => use)), new Set(known));
    assert.deepEqual(new Set(FRAME_ENTRIES.map(({ use }) => use)), new Set(Object.keys(NET_FILTERS)));
  });

  it('measures all of them, alone and in a daemon', () => {
    const names = report.rows.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { name, does } of BLOCK_ENTRIES)
      assert.equal(names.filter((row) => row.startsWith(`${name}: `)).length, 5 * does.length, name);
    for (const { name, loses } of FRAME_ENTRIES)
      assert.equal(names.filter((row) => row.startsWith(`${name} (frames)`)).length, loses ? 5 : 6, name);
  });

  it('has a figure in each row, and a verdict where there is a goal', () => {
    for (const { name, ours, peer, goal, holds, note = '' } of report.rows) {
      // In so short a window nothing may be done on a busy machine.
      assert.ok(Number.isFinite(ours) && Number.isFinite(peer ?? 0), `${name}: ${ours}, ${peer}, ${note}`);
      const isUndecided = note.startsWith('disturbed throughout');
      assert.equal(holds === null, goal === null || isUndecided, name);
    }
    const goals = report.rows.filter(({ goal }) => goal !== null).map(({ name }) => name);
    for (const part of [
      'chain of 8, each filter down and up',
      'to pass on',
      'chain of 8 against',
      'luks',
      'firewall, 1000 rules',
      'loops',
    ])
      assert.ok(
        goals.some((name) => name.includes(part)),
        part,
      );
  });

  it('changes filters under load', () => {
    assert.equal(report.rows.filter(({ name }) => name.startsWith('a filter is changed')).length, 4);
  });

  it('gives the tables of costs', () => {
    const tables = costTables(report);
    for (const { name } of [...BLOCK_ENTRIES, ...FRAME_ENTRIES])
      assert.match(tables, new RegExp(`\\| ${quoted(name)}`));
    assert.doesNotMatch(tables, /NaN|undefined|Infinity/);
  });

  it('leaves nothing behind', () => {
    assert.deepEqual(folders(), found);
  });
});

const quoted = (text: string): string => text.replace(/[()]/g, '\\$&');
