import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check, seeded } from '../../test/support/seed.js';
import { MAC_AGE_S, MAC_PORTS_MAX, MAC_PROBES_MAX } from '../limits.js';
import { Learn, MAC_UNKNOWN, MacTable } from './mac-table.js';

const secrets = [0x1234_5678, 0x9abc_def0] as const;
const quotasOf = (entriesMax: number) => new Int32Array(MAC_PORTS_MAX).fill(entriesMax);

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
      table.expect(0, high, low, 1, 0);
      assert.equal(table.lookup(0, high, low, 0), MAC_UNKNOWN);
    }
  });

  it('follows a guest that has moved', () => {
    const table = new MacTable({ secrets });
    table.learn(0, 0x5254, 1, 3, 0);
    assert.equal(table.learn(0, 0x5254, 1, 9, 10), Learn.MOVED);
    assert.equal(table.lookup(0, 0x5254, 1, 10), 9);
  });

  it('forgets what it has not seen for long', () => {
    const table = new MacTable({ secrets, ageS: 300, slots: 64 });
    table.learn(0, 0x5254, 1, 3, 100);
    table.learn(0, 0x5254, 2, 3, 100);
    table.learn(0, 0x5254, 2, 3, 350);
    assert.equal(table.lookup(0, 0x5254, 1, 400), 3);
    assert.equal(table.lookup(0, 0x5254, 1, 401), MAC_UNKNOWN);
    assert.equal(table.lookup(0, 0x5254, 2, 401), 3);
    let swept = 0;
    for (let i = 0; i < 8; i++) swept += table.sweep(10, 401);
    assert.equal(swept, 1);
  });
});

describe('expected addresses', () => {
  it('are known for good, until they are heard from elsewhere', () => {
    const table = new MacTable({ secrets });
    table.learn(0, 0x5254, 1, 9, 0);
    table.expect(0, 0x5254, 1, 3, 0);
    assert.equal(table.learn(0, 0x5254, 1, 3, 5), Learn.KNOWN);
    table.sweep(2 ** 17, 2 ** 31);
    assert.equal(table.lookup(0, 0x5254, 1, 2 ** 31), 3);
    assert.equal(table.learn(0, 0x5254, 1, 9, 2 ** 31), Learn.MOVED);
    assert.equal(table.lookup(0, 0x5254, 1, 2 ** 31), 9);
    assert.equal(table.lookup(0, 0x5254, 1, 2 ** 31 + MAC_AGE_S + 1), MAC_UNKNOWN, 'it ages now');
  });

  it('find room among learned ones, but not among their like', () => {
    const table = new MacTable({ secrets, slots: MAC_PROBES_MAX });
    for (let low = 1; low <= 200; low++) table.learn(0, 0x5254, low, low % 3, low);
    for (let low = 1000; low < 1200; low++) table.expect(0, 0x5254, low, 5, 200);
    const known = (from: number, to: number) => {
      let count = 0;
      for (let low = from; low < to; low++) if (table.lookup(0, 0x5254, low, 200) !== MAC_UNKNOWN) count++;
      return count;
    };
    assert.equal(known(1000, 1200), 2 * MAC_PROBES_MAX - 1);
    assert.equal(known(1, 201), 0);
    assert.equal(table.learn(0, 0x5254, 1, 1, 200), Learn.REFUSED);
  });

  it('count against nobody, before they move and after', () => {
    const table = new MacTable({ secrets, quotas: quotasOf(10) });
    for (let low = 1; low <= 50; low++) table.expect(0, 0x5254, low, 3, 0);
    for (let low = 100; low < 110; low++) assert.equal(table.learn(0, 0x5254, low, 3, 0), Learn.ADDED);
    for (let low = 1; low <= 10; low++) assert.equal(table.learn(0, 0x5254, low, 4, 0), Learn.MOVED);
    assert.equal(table.learn(0, 0x5254, 11, 4, 0), Learn.REFUSED, 'it has as many as it may');
    // Port 3 has lost none of those that it may have, and won none.
    table.sweep(2 ** 17, MAC_AGE_S + 1);
    for (let low = 200; low < 210; low++) assert.equal(table.learn(0, 0x5254, low, 3, 1000), Learn.ADDED);
    for (let low = 300; low < 320; low++) table.learn(0, 0x5254, low, 3, 1000);
    let count = 0;
    for (let low = 200; low < 320; low++) if (table.lookup(0, 0x5254, low, 1000) === 3) count++;
    assert.equal(count, 10);
  });
});

describe('a flood of addresses', () => {
  it('takes up no more than its port may have, and pushes out nobody', () => {
    seeded(1, (random) => {
      const table = new MacTable({ secrets: [random.word(), random.word()], slots: 4096, quotas: quotasOf(256) });
      const quiet: number[] = [];
      for (let low = 1; low <= 400; low++) {
        assert.equal(table.learn(0, 0x5254, low, 1 + (low % 4), 0), Learn.ADDED);
        quiet.push(low);
      }
      const flood = Array.from({ length: 200_000 }, (_, i) => [0x0200 | (i & 0xfe), random.word()] as const);
      for (const [i, [high, low]] of flood.entries()) table.learn(0, high, low, 7, i % 100);
      assert.ok(flood.filter(([high, low]) => table.lookup(0, high, low, 100) === 7).length <= 256);
      for (const low of quiet) assert.equal(table.lookup(0, 0x5254, low, 100), 1 + (low % 4));
      // What comes later still finds room, nearly always.
      let refused = 0;
      for (let low = 1000; low < 1400; low++) if (table.learn(0, 0x5254, low, 1 + (low % 4), 100) < 0) refused++;
      assert.ok(refused < 8, `${refused} of 400 refused`);
    });
  });

  it('leaves room for nearly all addresses while a quarter of the table is full', () => {
    seeded(2, (random) => {
      const table = new MacTable({ secrets: [random.word(), random.word()], quotas: quotasOf(2 ** 15) });
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
    const places = Array.from({ length: 100 }, (_, i) => table.lookup(0, 0x5254, 1 + i, 0));
    assert.deepEqual(
      [places.filter((port) => port === 1).length, places.filter((port) => port === 7).length],
      [90, 10],
    );
  });
});

describe('a small table under anything', () => {
  interface Known {
    port: number;
    seenS: number;
    expected: boolean;
  }
  const PORTS = 4;
  const QUOTA = 6;
  const AGE_S = 20;
  const address = fc.record({ vlan: fc.nat(1), low: fc.nat(20) });
  const port = fc.nat(PORTS - 1);
  const steps = fc.array(
    fc.oneof(
      { weight: 10, arbitrary: fc.record({ what: fc.constant('learn' as const), at: address, port }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('expect' as const), at: address, port }) },
      { weight: 3, arbitrary: fc.record({ what: fc.constant('sweep' as const), at: address, port }) },
    ),
    { minLength: 1, maxLength: 150, size: 'max' },
  );

  /** Runs the steps on a table and on a map that follows what the table says it did, and compares after each. */
  function run(list: typeof steps extends fc.Arbitrary<infer T> ? T : never): void {
    const table = new MacTable({ secrets, slots: 8, quotas: quotasOf(QUOTA), ageS: AGE_S });
    const known = new Map<string, Known>();
    const name = ({ vlan, low }: { vlan: number; low: number }) => `${vlan} ${low}`;
    const found = (key: string, now: number) => {
      const [vlan, low] = key.split(' ').map(Number) as [number, number];
      return table.lookup(vlan, 0x5254, low, now);
    };
    for (const [step, { what, at, port }] of list.entries()) {
      const now = step * 2;
      const before = known.get(name(at));
      const fresh = (entry: Known) => entry.expected || now - entry.seenS <= AGE_S;
      for (const [key, entry] of known) if (!fresh(entry)) known.delete(key);
      if (what === 'learn') {
        const others = [...known].filter(([key, entry]) => entry.port !== port && key !== name(at));
        const result = table.learn(at.vlan, 0x5254, at.low, port, now);
        const stays = before?.expected === true && before.port === port;
        if (result >= 0) known.set(name(at), { port, seenS: now, expected: stays });
        // Nobody else has lost anything by it.
        for (const [key, entry] of others) assert.equal(found(key, now), entry.port);
      } else if (what === 'expect') {
        table.expect(at.vlan, 0x5254, at.low, port, now);
        if (found(name(at), now) === port) known.set(name(at), { port, seenS: now, expected: true });
      } else {
        table.sweep(7, now);
      }
      // What was pushed out by its own port, or by one that is expected, is gone from the map too; nothing else may be gone or appear.
      for (const [key, entry] of known) {
        if (found(key, now) === entry.port) continue;
        assert.equal(found(key, now), MAC_UNKNOWN);
        assert.ok(!entry.expected, `${key} was expected`);
        known.delete(key);
      }
      for (let vlan = 0; vlan < 2; vlan++)
        for (let low = 0; low <= 20; low++)
          if (!known.has(name({ vlan, low }))) assert.equal(found(name({ vlan, low }), now), MAC_UNKNOWN);
      for (let p = 0; p < PORTS; p++) {
        const live = [...known.values()].filter((entry) => entry.port === p && !entry.expected).length;
        assert.ok(live <= QUOTA);
      }
    }
    // Swept and aged, nothing is left but what is expected.
    table.sweep(100, 10_000);
    for (const [key, entry] of known) assert.equal(found(key, 10_000), entry.expected ? entry.port : MAC_UNKNOWN);
  }

  it('says what it did, keeps its counts, and lets no port take from another', () => {
    check(fc.property(steps, run), 1000);
  });
});
