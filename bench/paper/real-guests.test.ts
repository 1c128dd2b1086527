import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Harness } from '../../src/demo/harness.js';
import { exitsOf, exitsOfAll } from './kvm-exits.js';
import { report } from './real-guests.js';
import { readBlock, readPing, readStream } from './real-loads.js';
import { noKvm } from './real-stand.js';
import { type RealPoint, verdictsOf } from './results.js';

describe('what real guests say of their load', () => {
  it('is read from the counters of the kernel', () => {
    // reads, merged, sectors, ms; writes and the rest; then seconds since the boot, and idle ones.
    const look = (reads: number, ms: number, at: number) =>
      `   ${reads} 0 ${8 * reads} ${ms} 0 0 0 0 0 ${ms} ${ms} 0 0 0 0 0 0\n${at} 1.00\n`;
    const result = readBlock(look(1000, 50, 10.5) + look(21_000, 1050, 12.5));
    assert.deepEqual(result, { perSecond: 10_000, bytesPerSecond: 10_000 * 4096, latencyNs: 50_000 });
    assert.throws(() => readBlock('cat: no such file'), /counters/);
  });

  it('is read from iperf3', () => {
    assert.equal(readStream('{"end":{"sum_received":{"bits_per_second":8e9}}}').bytesPerSecond, 1e9);
    assert.throws(() => readStream('{"end":{},"error":"the server is busy"}'), /the server is busy/);
  });

  it('is read from ping', () => {
    const output =
      'PING 10.0.0.200 (10.0.0.200): 56 data bytes\n\n--- 10.0.0.200 ping statistics ---\n4243 packets transmitted, 4242 packets received, 0% packet loss\nround-trip min/avg/max = 0.157/0.472/5.062 ms\n';
    assert.deepEqual(readPing(output, 2), { perSecond: 2121, bytesPerSecond: 2121 * 56, latencyNs: 472_000 });
    assert.throws(() => readPing('10 packets transmitted, 0 packets received', 2), /no answer/);
  });
});

describe('exits', () => {
  it('are read from where KVM counts them, of all that is asked for or not at all', () => {
    const folder = mkdtempSync(join(tmpdir(), 'exits-'));
    try {
      for (const [name, exits] of [
        ['71-12', 100],
        ['71-13', 20],
        ['712-9', 7],
      ] as const) {
        mkdirSync(join(folder, name));
        writeFileSync(join(folder, name, 'exits'), `${exits}\n`);
      }
      assert.equal(exitsOf(71, folder), 120);
      assert.equal(exitsOfAll([71, 712], folder), 127);
      assert.equal(exitsOfAll([71, 5], folder), undefined);
      assert.equal(exitsOf(71, join(folder, 'none')), undefined);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a machine without KVM', () => {
  it('is told why in one line', () => {
    const why =
      'waiting for the guest to boot: QEMU ended (SIGABRT)\n--- console\nqemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\nqemu-system-x86_64: assertion\n';
    const { message, remedy } = noKvm(why);
    assert.equal(
      message,
      'KVM boots no guest on this machine: waiting for the guest to boot: QEMU ended (SIGABRT); qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69',
    );
    assert.match(remedy, /--tcg/);
    assert.match(noKvm('/dev/kvm cannot be opened (ENOENT)').message, /: \/dev\/kvm cannot be opened \(ENOENT\)$/);
  });
});

describe('the report on real guests', () => {
  const point = (mode: string, workload: string, perSecond: number, exits?: number): RealPoint => ({
    workload,
    mode,
    guests: 1,
    round: 0,
    perGuest: [{ perSecond, bytesPerSecond: 1500 * perSecond, latencyNs: 1e9 / perSecond }],
    requests: 1000,
    kicksPerRequest: mode === 'sidecore' ? 0 : 1,
    callsPerRequest: 1,
    ...(exits === undefined ? {} : { exitsPerRequest: 1, exitsPerSecond: exits }),
  });
  const loads = ['block', 'ping', 'stream'];
  const all = (exits?: number) =>
    loads.flatMap((load) => [point('baseline', load, 1000, exits), point('sidecore', load, 2000, exits)]);
  const harness = {} as Harness;

  it('judges by throughput, kicks and exits under KVM', () => {
    const experiment = report(all(700), { harness, accelerator: 'kvm' }, 3);
    const verdicts = verdictsOf(experiment);
    assert.equal(verdicts.length, 9);
    assert.ok(verdicts.every(({ holds }) => holds === true));
    assert.doesNotMatch(JSON.stringify(experiment), /emulated/);
    assert.ok(experiment.tables[0]!.rows.every((row) => row.at(-1) === '700'));
  });

  it('marks figures of emulated guests as such, and decides nothing by what these are slow at', () => {
    const experiment = report(all(), { harness, accelerator: 'tcg' }, 3);
    const verdicts = verdictsOf(experiment);
    assert.deepEqual(
      verdicts.map(({ holds }) => holds),
      loads.flatMap(() => [null, true]),
    );
    for (const { title, series } of experiment.figures)
      assert.ok(/emulated/.test(title) && series.every(({ name }) => /emulated/.test(name)), title);
    assert.ok(experiment.tables[0]!.rows.every((row) => row.at(-1) === '-'));
    assert.match(experiment.limits.join(), /Exits: .* does not tell/);
  });

  it('says that exits were not told where KVM runs without them', () => {
    const verdicts = verdictsOf(report(all(), { harness, accelerator: 'kvm' }, 3));
    const exits = verdicts.filter(({ claim }) => /exits/.test(claim));
    assert.equal(exits.length, 3);
    assert.ok(exits.every(({ holds, measured }) => holds === null && measured === 'nothing'));
  });
});
