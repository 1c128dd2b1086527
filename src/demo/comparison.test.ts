import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EXAMPLE_RUNS, EXAMPLE_SETTING, exampleRun } from '../../test/support/demo-runs.js';
import { caveats, comparative, MEASURES, measureText, ratios, verdicts, whatWasCompared } from './comparison.js';

describe('the comparison', () => {
  it('is in ratios that are above 1 where the sidecore is better', () => {
    assert.deepEqual(ratios(EXAMPLE_RUNS[0]!, EXAMPLE_RUNS[2]!), { iops: 4, p50: 4, p99: 1 });
  });

  it('says it in a sentence for each run but the last', () => {
    assert.deepEqual(verdicts(EXAMPLE_RUNS), [
      'With guests that poll as well, the sidecore gave 4.0 times the IOPS of a thread per disk, at a median latency of 20.0 µs instead of 80.0 (4.0 times lower); kicks for each request 0.000 instead of 0.250, calls 0.000 instead of 0.250.',
      'With guests that sleep in both cases, the sidecore gave 2.0 times the IOPS of a thread per disk, at a median latency of 40.0 µs instead of 80.0 (2.0 times lower); kicks for each request 0.000 instead of 0.250, calls 0.250 instead of 0.250.',
    ]);
  });

  it('does not flatter', () => {
    const slower = [exampleRun('polled', { iops: 50_000, p50_us: 100 }), exampleRun('baseline', { p50_us: 50 })];
    assert.match(verdicts(slower)[0]!, /gave 0\.50 times the IOPS.*\(2\.0 times higher\)/);
    assert.deepEqual([1.02, 0.98, 1.5, 0.5].map(comparative), [
      'the same',
      'the same',
      '1.5 times lower',
      '2.0 times higher',
    ]);
  });

  it('says what was run, and that data were checked', () => {
    const text = whatWasCompared(EXAMPLE_SETTING, EXAMPLE_RUNS).join('\n');
    for (const part of [
      '2 built-in guests',
      'CPU 2',
      'CPU 3',
      '4 in flight',
      '70% reads',
      '4 KiB',
      '1,680,000 reads',
    ]) {
      assert.ok(text.includes(part), `${part} in ${text}`);
    }
  });

  it('shows what is not known as a dash', () => {
    const run = exampleRun('polled', { calls_per_request: null }, { work_share: null });
    const texts = Object.fromEntries(MEASURES.map((measure) => [measure.key, measureText(measure, run)]));
    assert.deepEqual(
      { calls: texts['calls'], work: texts['work'], iops: texts['iops'] },
      { calls: '-', work: '-', iops: '100,000' },
    );
  });
});

describe('caveats', () => {
  it('are none on a quiet machine, or where nothing is known', () => {
    assert.deepEqual(caveats(EXAMPLE_SETTING, EXAMPLE_RUNS), []);
    assert.deepEqual(caveats(EXAMPLE_SETTING, [exampleRun('polled', {}, { others: null })]), []);
  });

  it('name what others had of each CPU', () => {
    const runs = [exampleRun('polled', {}, { others: { load: 0.1, core: 0.5 } }), exampleRun('baseline')];
    assert.match(caveats(EXAMPLE_SETTING, runs)[0]!, /busy.*CPU 2, run by run: 10%, 0%; of CPU 3: 50%, 1%/);
  });

  it('say that one CPU is not enough', () => {
    assert.match(caveats({ ...EXAMPLE_SETTING, loadCpu: 3 }, [])[0]!, /Only one CPU/);
  });
});
