import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check, seeded } from '../../test/support/seed.js';
import { MAC_PROBES_MAX } from '../limits.js';
import { Learn, MAC_UNKNOWN, MacTable } from './mac-table.js';

const secrets = [0x1234_5678, 0x9abc_def0] as const;

describe('a MAC table', () => {
  it('finds what it has learned, by VLAN and address', () => {
    const table = new MacTable({ secrets });
    assert.equal(table.lookup(0, 0x5254, 1, 0), MAC_UNKNOWN);
    assert.equal(table.learn(0, 0x5254, 1, 3, 0), Learn.ADDED);
    assert.equal(table.learn(0, 0x5254, 1, 3, 0), Learn.KNOWN);
    assert.equal(table.learn(4094, 0x5254, 1, 4, 0), Learn.ADDED);
    assert.equal(table.learn(0, 0x5254, 0xffff_ffff, 5, 0), Learn.ADDED);
    assert.equal(table.lookup(0, 0x5254, 1, 0), 3);
    assert.equal(table.lookup(4094, 0x5254, 1, 0), 4);
    assert.equal(table.lookup(0, 0x5254, -1, 0), 5);
    assert.equal(table.lookup(0, 0x5254, 0xffff_ffff, 0), 5);
    assert.equal(table.lookup(1, 0x5254, 1, 0), MAC_UNKNOWN);
    assert.equal(table.lookup(0, 0x5255, 1, 0), MAC_UNKNOWN);
  });

  it('never learns addresses of groups, nor none', () => {
    const table = new MacTable({ secrets });
    for (const [high, low] of [
      [0, 0],
      [0xffff, 0xffff_ffff],
      [0x0100, 0x5e00_00fb],
      [0x3333, 1],
    ] as const) {
      assert.equal(table.learn(0, high, low, 1, 0), Learn.REFUSED);
      assert.equal(table.lookup(0, high, low, 0), MAC_UNKNOWN);
    }
    assert.equal(table.learnedOn(1), 0);
  });

  it('follows a guest that has moved', () => {
    const table = new MacTable({ secrets });
    table.learn(0, 0x5254, 1, 3, 0);
    assert.equal(table.learn(0, 0x5254, 1, 9, 10), Learn.MOVED);
    assert.equal(table.lookup(0, 0x5254, 1, 10), 9);
    assert.deepEqual([table.learnedOn(3), table.learnedOn(9)], [0, 1]);
  });

  it('forgets what it has not seen for long', () => {
    const table = new MacTable({ secrets, ageS: 300, slots: 64 });
    table.learn(0, 0x5254, 1, 3, 100);
    table.learn(0, 0x5254, 2, 3, 100);
    table.learn(0, 0x5254, 2, 3, 350);
    assert.equal(table.lookup(0, 0x5254, 1, 400), 3);
    assert.equal(table.lookup(0, 0x5254, 1, 401), MAC_UNKNOWN);
    assert.equal(table.lookup(0, 0x5254, 2, 401), 3);
    assert.equal(table.learnedOn(3), 2);
    let swept = 0;
    for (let i = 0; i < 8; i++) swept += table.sweep(10, 401);
    assert.equal(swept, 1);
    assert.equal(table.learnedOn(3), 1);
  });

  it('forgets a port', () => {
    const table = new MacTable({ secrets });
    for (let low = 1; low <= 500; low++) table.learn(low % 7, 0x5254, low, low % 5, 0);
    assert.ok(table.pin(0, 0x5254, 1000, 2, 0));
    table.flushPort(2);
    assert.equal(table.lookup(0, 0x5254, 1000, 0), MAC_UNKNOWN);
    for (let low = 1; low <= 500; low++) {
      assert.equal(table.lookup(low % 7, 0x5254, low, 0), low % 5 === 2 ? MAC_UNKNOWN : low % 5);
    }
    assert.equal(table.learnedOn(2), 0);
    assert.equal(table.entries(0, 1000).length, 400);
  });

  it('shows what it knows', () => {
    const table = new MacTable({ secrets });
    table.learn(5, 0x5254, 0xffff_0001, 3, 100);
    table.pin(6, 0x5254, 2, 4, 100);
    const entries = table.entries(130, 10).sort((a, b) => a.vlan - b.vlan);
    assert.deepEqual(entries, [
      { vlan: 5, high: 0x5254, low: 0xffff_0001, port: 3, pinned: false, idleS: 30 },
      { vlan: 6, high: 0x5254, low: 2, port: 4, pinned: true, idleS: 0 },
    ]);
    assert.equal(table.entries(130, 1).length, 1);
    assert.equal(table.entries(401, 10).length, 1);
  });
});

describe('pinned addresses', () => {
  it('are nobody else’s, whatever he sends', () => {
    const table = new MacTable({ secrets });
    table.learn(0, 0x5254, 1, 9, 0);
    assert.ok(table.pin(0, 0x5254, 1, 3, 0));
    assert.deepEqual([table.learnedOn(9), table.learnedOn(3)], [0, 0]);
    assert.equal(table.learn(0, 0x5254, 1, 9, 5), Learn.PINNED_ELSEWHERE);
    assert.equal(table.learn(0, 0x5254, 1, 3, 5), Learn.KNOWN);
    assert.equal(table.lookup(0, 0x5254, 1, 2 ** 31), 3);
    table.sweep(2 ** 17, 2 ** 31);
    assert.equal(table.lookup(0, 0x5254, 1, 2 ** 31), 3);
    table.forget(0, 0x5254, 1);
    assert.equal(table.lookup(0, 0x5254, 1, 5), MAC_UNKNOWN);
    assert.equal(table.learn(0, 0x5254, 1, 9, 5), Learn.ADDED);
  });

  it('find room among learned ones, but not among their like', () => {
    const table = new MacTable({ secrets, slots: MAC_PROBES_MAX });
    for (let low = 1; low <= 200; low++) table.learn(0, 0x5254, low, low % 3, low);
    let pinned = 0;
    for (let low = 1000; low < 1200; low++) if (table.pin(0, 0x5254, low, 5, 200)) pinned++;
    assert.equal(pinned, 2 * MAC_PROBES_MAX - 1);
    assert.deepEqual([table.learnedOn(0), table.learnedOn(1), table.learnedOn(2), table.learnedOn(5)], [0, 0, 0, 0]);
    assert.equal(table.learn(0, 0x5254, 1, 1, 200), Learn.REFUSED);
  });
});

describe('a flood of addresses', () => {
  it('takes up no more than its port may have, and pushes out nobody', () => {
    seeded(1, (random) => {
      const table = new MacTable({ secrets: [random.word(), random.word()], slots: 4096, portEntriesMax: 256 });
      const quiet: number[] = [];
      for (let low = 1; low <= 400; low++) {
        assert.equal(table.learn(0, 0x5254, low, 1 + (low % 4), 0), Learn.ADDED);
        quiet.push(low);
      }
      for (let i = 0; i < 200_000; i++) table.learn(0, 0x0200 | (i & 0xfe), random.word(), 7, i % 100);
      assert.ok(table.learnedOn(7) <= 256);
      for (const low of quiet) assert.equal(table.lookup(0, 0x5254, low, 100), 1 + (low % 4));
      // What comes later still finds room, nearly always.
      let refused = 0;
      for (let low = 1000; low < 1400; low++) if (table.learn(0, 0x5254, low, 1 + (low % 4), 100) < 0) refused++;
      assert.ok(refused < 8, `${refused} of 400 refused`);
    });
  });

  it('leaves room for nearly all addresses while a quarter of the table is full', () => {
    seeded(2, (random) => {
      const table = new MacTable({ secrets: [random.word(), random.word()], portEntriesMax: 2 ** 15 });
      // Counted upwards in steps, as addresses are handed out.
      for (let low = 0; low < 2 ** 14; low++) table.learn(0, 0x5254, low << 8, low & 63, 0);
      let lost = 0;
      for (let low = 0; low < 2 ** 14; low++) if (table.lookup(0, 0x5254, low << 8, 0) !== (low & 63)) lost++;
      assert.ok(lost < 2 ** 14 / 100, `${lost} of ${2 ** 14} lost`);
    });
  });

  it('cannot take over more addresses than its port may have', () => {
    const table = new MacTable({ secrets });
    table.setQuota(7, 10);
    for (let low = 1; low <= 100; low++) table.learn(0, 0x5254, low, 1, 0);
    for (let low = 1; low <= 100; low++) table.learn(0, 0x5254, low, 7, 0);
    assert.deepEqual([table.learnedOn(1), table.learnedOn(7)], [90, 10]);
  });
});

describe('a small table under anything', () => {
  interface Known {
    port: number;
    seenS: number;
    pinned: boolean;
  }
  const PORTS = 4;
  const QUOTA = 6;
  const AGE_S = 20;
  const address = fc.record({ vlan: fc.nat(1), low: fc.nat(20) });
  const port = fc.nat(PORTS - 1);
  const steps = fc.array(
    fc.oneof(
      { weight: 10, arbitrary: fc.record({ what: fc.constant('learn' as const), at: address, port }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('pin' as const), at: address, port }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('forget' as const), at: address, port }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('flush' as const), at: address, port }) },
      { weight: 3, arbitrary: fc.record({ what: fc.constant('sweep' as const), at: address, port }) },
    ),
    { minLength: 1, maxLength: 150, size: 'max' },
  );

  /** Runs the steps on a table and on a map that follows what the table says it did, and compares after each. */
  function run(list: typeof steps extends fc.Arbitrary<infer T> ? T : never): void {
    const table = new MacTable({ secrets, slots: 8, portEntriesMax: QUOTA, ageS: AGE_S });
    const known = new Map<string, Known>();
    const name = ({ vlan, low }: { vlan: number; low: number }) => `${vlan} ${low}`;
    for (const [step, { what, at, port }] of list.entries()) {
      const now = step * 2;
      const before = known.get(name(at));
      const fresh = (entry: Known | undefined) => entry !== undefined && (entry.pinned || now - entry.seenS <= AGE_S);
      if (what === 'learn') {
        const others = [...known].filter(([key, entry]) => entry.port !== port && fresh(entry) && key !== name(at));
        const result = table.learn(at.vlan, 0x5254, at.low, port, now);
        if (before?.pinned && before.port !== port) assert.equal(result, Learn.PINNED_ELSEWHERE);
        else if (result >= 0) known.set(name(at), { port, seenS: now, pinned: before?.pinned ?? false });
        // Nobody else has lost anything by it.
        for (const [key, entry] of others) {
          const [vlan, low] = key.split(' ').map(Number) as [number, number];
          assert.equal(table.lookup(vlan, 0x5254, low, now), entry.port);
        }
      } else if (what === 'pin') {
        if (table.pin(at.vlan, 0x5254, at.low, port, now)) known.set(name(at), { port, seenS: now, pinned: true });
      } else if (what === 'forget') {
        table.forget(at.vlan, 0x5254, at.low);
        known.delete(name(at));
      } else if (what === 'flush') {
        table.flushPort(port);
        for (const [key, entry] of known) if (entry.port === port) known.delete(key);
      } else {
        table.sweep(7, now);
      }
      const entries = table.entries(now, 100);
      // What was pushed out by its own port, or by a pin, is gone from the map too; nothing else may be gone or appear.
      for (const [key, entry] of known) {
        const found = entries.some(({ vlan, low }) => name({ vlan, low }) === key);
        if (!found) assert.ok(!entry.pinned || !fresh(entry), `${key} was pinned`);
        if (!found) known.delete(key);
      }
      for (const { vlan, low, port: where, pinned } of entries) {
        const entry = known.get(name({ vlan, low }))!;
        assert.deepEqual({ port: where, pinned }, { port: entry.port, pinned: entry.pinned });
        assert.equal(table.lookup(vlan, 0x5254, low, now), where);
      }
      for (let p = 0; p < PORTS; p++) {
        const live = entries.filter((entry) => entry.port === p && !entry.pinned).length;
        assert.ok(table.learnedOn(p) >= live && table.learnedOn(p) <= QUOTA);
      }
    }
    // Swept and aged, nothing is left but what is pinned, and the counts agree.
    table.sweep(100, 10_000);
    for (let p = 0; p < PORTS; p++) assert.equal(table.learnedOn(p), 0);
    assert.ok(table.entries(10_000, 100).every(({ pinned }) => pinned));
  }

  it('says what it did, keeps its counts, and lets no port take from another', () => {
    check(fc.property(steps, run), 1000);
  });
});
