import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { repositoryRoot, scratchDirectory } from '../../test/support/daemon.js';
import type { Result } from '../sim/result.js';

const MAIN = join(repositoryRoot, 'dist/src/cli/main.js');

const sim = (...args: string[]) =>
  spawnSync(process.execPath, [MAIN, 'sim', ...args], { encoding: 'utf8', timeout: 60_000 });

describe('sidecore sim', () => {
  it('prints the same for the same seed', () => {
    const args = ['--guests', '3', '--bulk', '1', '--idle', '2', '--ms', '1', '--seed', '5'];
    const first = sim(...args);
    assert.equal(first.stderr, '');
    assert.match(first.stdout, /^guests +number +requests\/s/);
    assert.match(first.stdout, /trace [0-9a-f]{8}, seed 5/);
    assert.equal(sim(...args).stdout, first.stdout);
  });

  it('takes costs from a file, alone or with all of a calibration', (test) => {
    const file = join(scratchDirectory(test), 'costs.json');
    const rate = () => {
      const { stdout, stderr } = sim('--ms', '1', '--json', '--costs', file);
      assert.equal(stderr, '');
      return (JSON.parse(stdout) as Result).perSecond;
    };
    writeFileSync(file, '{"requestNs": 100}');
    const fast = rate();
    writeFileSync(file, '{"format": 1, "costs": {"requestNs": 5000}}');
    assert.ok(rate() < fast / 4);
  });

  it('says what is wrong', (test) => {
    const file = join(scratchDirectory(test), 'costs.json');
    writeFileSync(file, '{"requestNs": -1}');
    const wrong = sim('--costs', file);
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /requestNs is no time/);
    assert.equal(sim('--guests', '0').status, 1);
    assert.equal(sim('--cores', '0').status, 2);
    assert.match(sim('--costs', join(file, 'none')).stderr, /CONFIG_UNREADABLE/);
  });
});
