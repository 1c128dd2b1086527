import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Progress } from './progress.js';

describe('progress of the evaluation', () => {
  const make = (terminal: boolean) => {
    const written: string[] = [];
    const clock = { ms: 0 };
    const progress = new Progress(1000, { write: (text) => written.push(text), terminal, nowMs: () => clock.ms });
    return { progress, written, clock };
  };

  it('knows what is left by what the first part took', () => {
    const { progress, clock } = make(false);
    assert.doesNotMatch(progress.line(), /left/);
    clock.ms = 30_000;
    progress.did(250);
    assert.match(progress.line(), / 25% 1:30 left/);
    progress.did(5000);
    assert.match(progress.line(), /100% 0:00 left/);
  });

  it('draws over its line on a terminal, and removes it', () => {
    const { progress, written } = make(true);
    progress.say('one');
    progress.did(500);
    progress.clear();
    assert.ok(written[0]!.startsWith('\r') && written[0]!.includes('one'));
    assert.match(written[1]!, / 50% .*one/);
    assert.deepEqual(written.slice(2), ['\r\x1b[K']);
    progress.clear();
    assert.equal(written.length, 3);
  });

  it('writes a line for each thing elsewhere', () => {
    const { progress, written } = make(false);
    progress.say('one');
    progress.did(500);
    progress.say('two');
    assert.equal(written.length, 2);
    assert.ok(written.every((line) => line.endsWith('\n') && !line.includes('\x1b')));
  });
});
