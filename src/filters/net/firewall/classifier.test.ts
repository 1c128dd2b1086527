import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { firstMatch, type WrittenRule } from '../../../../test/model/firewall-rules.js';
import { keyOf, randomPacket, randomRule, readFirewall } from '../../../../test/support/firewall.js';
import { check, Random } from '../../../../test/support/seed.js';
import { makeClassifier, planRules, tableSource } from './classifier.js';
import type { Rule } from './options.js';
import { compileRuleSet, FAMILIES } from './rule-set.js';

const COUNTS = [0, 1, 2, 5, 31, 32, 33, 100, 128, 129, 300];

function classifiers(rules: readonly Rule[], comparisonsMax: number) {
  const functions = [true, false].map((outbound) =>
    Object.fromEntries(
      // As another thread gets them.
      FAMILIES.map((family) => [
        family,
        makeClassifier(structuredClone(planRules(rules, outbound, family, comparisonsMax))),
      ]),
    ),
  );
  return (outbound: boolean, family: number, key: Int32Array) => functions[outbound ? 0 : 1]![family]!(key);
}

describe('compiled rules', () => {
  it('find the rule that reading them one by one finds, as a table and as code', () => {
    let hits = 0;
    let asked = 0;
    check(
      fc.property(fc.integer(), fc.constantFrom(...COUNTS), (seed, count) => {
        const random = new Random(seed);
        const written = Array.from({ length: count }, () => randomRule(random));
        const { rules } = readFirewall({ rules: written });
        const table = classifiers(rules, -1);
        const code = classifiers(rules, Number.POSITIVE_INFINITY);
        for (let i = 0; i < 100; i++) {
          const packet = randomPacket(random);
          const key = keyOf(packet);
          const expected = firstMatch(written, packet);
          const text = () =>
            JSON.stringify({ packet, expected, rule: written[expected] }, (_, value) =>
              typeof value === 'bigint' ? value.toString(16) : value,
            );
          assert.equal(table(packet.outbound, packet.family, key), expected, `table: ${text()}`);
          if (count <= 100) assert.equal(code(packet.outbound, packet.family, key), expected, `code: ${text()}`);
          asked++;
          if (expected >= 0) hits++;
        }
      }),
      150,
    );
    assert.ok(hits > asked / 10 && hits < (asked * 99) / 100, `${hits} of ${asked} matched`);
  });

  it('of which only the last matches, or none, are found beyond the first summary', () => {
    const written: WrittenRule[] = Array.from({ length: 2100 }, (_, i) => ({
      in: 'accept',
      protocol: 'tcp',
      port: i,
      from: `10.${i >> 8}.${i & 255}.0/24`,
    }));
    const { rules } = readFirewall({ rules: written });
    const find = classifiers(rules, -1);
    const random = new Random(1);
    const packet = { ...randomPacket(random), outbound: false, family: 4 as const, protocol: 6, sourcePort: 1 };
    for (const i of [0, 31, 32, 1023, 1024, 2099]) {
      const source = BigInt((10 << 24) + (i << 8) + 7);
      assert.equal(find(false, 4, keyOf({ ...packet, source, port: i })), i);
      assert.equal(find(false, 4, keyOf({ ...packet, source, port: i + 1 })), -1);
    }
  });

  it('are a function of what they look at, small however many they are', () => {
    const of = (count: number) =>
      readFirewall({ rules: Array.from({ length: count }, (_, port) => ({ in: 'accept', port })) }).rules;
    const many = tableSource(compileRuleSet(of(1000), false, 4));
    assert.ok(many.length < 1500, many);
    assert.ok(!many.includes('lookUp('), 'no address is looked at');
    assert.equal(planRules(of(3), false, 4).kind, 'code');
    assert.equal(planRules(of(100), false, 4).kind, 'table');
  });
});
