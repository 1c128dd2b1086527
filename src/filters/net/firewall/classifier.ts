import { freshFunction } from '../../../filter/fresh-function.js';
import { Key } from './key.js';
import type { Rule } from './options.js';
import { lookUp } from './prefix-trie.js';
import { compileRuleSet, type Family, type Field, type RuleSet, rulesFor } from './rule-set.js';
import { maskOf, type Prefix, type Range } from './values.js';

/** The place of the first rule that a key matches, among all rules; -1 if none does. */
export type Classify = (key: Int32Array) => number;

/** One direction and family, ready to be made a function of on any thread. Plain data. */
export type Plan =
  | { readonly kind: 'code'; readonly source: string }
  | { readonly kind: 'table'; readonly set: RuleSet };

/** Comparisons up to which rules are written out as code: beyond that the table is faster. docs/firewall.md has the figures. */
const CODE_COMPARISONS_MAX = 48;

/** @param comparisonsMax - for measurements: up to so many, code is made */
export function planRules(
  rules: readonly Rule[],
  outbound: boolean,
  family: Family,
  comparisonsMax = CODE_COMPARISONS_MAX,
): Plan {
  const code = new RuleCode(rules, rulesFor(rules, outbound, family), family);
  if (code.comparisons <= comparisonsMax) return { kind: 'code', source: code.source };
  return { kind: 'table', set: compileRuleSet(rules, outbound, family) };
}

/** Makes the function of a plan: each a function of its own, of what its rules look at and nothing else. */
export function makeClassifier(plan: Plan): Classify {
  // Nothing of it comes from outside: it is made of numbers.
  if (plan.kind === 'code') return freshFunction('key', plan.source) as Classify;
  const { set } = plan;
  const make = freshFunction('set', 'lookUp', tableSource(set)) as (set: RuleSet, look: typeof lookUp) => Classify;
  return make(set, lookUp);
}

/** The text of a function over a table. */
export function tableSource({ fields, words, summaryWords }: RuleSet): string {
  const numbers = fields.map((_, i) => i);
  const constants = fields.map((field, i) =>
    field.kind === 'trie' ? `const n${i} = set.fields[${i}].nodes;` : `const p${i} = set.fields[${i}].pages;`,
  );
  const row = (field: Field, i: number) =>
    field.kind === 'trie'
      ? `const r${i} = lookUp(n${i}, ${field.root}, key, ${field.at});`
      : `const v${i} = key[${field.at}];
  const r${i} = v${i} < 0 ? ${field.none} : p${i}[p${i}[v${i} >>> 8] + (v${i} & 255)];`;
  const and = (offset: string) => numbers.map((i) => `rows[r${i} + ${offset}]`).join(' & ');
  const plain = Array.from(
    { length: words },
    (_, at) => `
  word = ${and(String(at))};
  if (word !== 0) return rules[${32 * at} + Math.clz32(word)];`,
  );
  const summarized = Array.from(
    { length: summaryWords },
    (_, at) => `
  summary = ${and(String(at))};
  while (summary !== 0) {
    const bit = Math.clz32(summary);
    const at = ${summaryWords + 32 * at} + bit;
    word = ${and('at')};
    if (word !== 0) return rules[${1024 * at} + 32 * bit + Math.clz32(word)];
    summary &= ~(0x80000000 >>> bit);
  }`,
  );
  return `'use strict';
const { rows, rules } = set;
${constants.join('\n')}
return (key) => {
  ${fields.map(row).join('\n  ')}
  let word = 0;
  let summary = 0;${(summaryWords > 0 ? summarized : plain).join('')}
  return -1;
};`;
}

/** Rules as one condition after the other. */
class RuleCode {
  comparisons = 0;
  readonly source: string;
  readonly #family: Family;

  constructor(rules: readonly Rule[], places: readonly number[], family: Family) {
    this.#family = family;
    const lines = places.map((place) => {
      const conditions = this.#conditions(rules[place]!).join(' && ');
      return `if (${conditions || 'true'}) return ${place};`;
    });
    this.source = `'use strict';\n${lines.join('\n')}\nreturn -1;`;
  }

  #conditions(rule: Rule): string[] {
    const family = this.#family;
    const single = (list: readonly number[] | undefined) => list?.map((value): Range => [value, value]);
    const macs = (list: Rule['fromMacs'], at: number) =>
      this.#any(list, ([high, low]) => `key[${at}] === ${high} && key[${at + 1}] === ${low}`);
    const ip =
      family === 0
        ? [this.#ranges(single(rule.etherTypes), Key.ETHER_TYPE)]
        : [
            this.#ranges(single(rule.protocols?.[family]), Key.PROTOCOL),
            this.#ranges(rule.ports, Key.DESTINATION_PORT),
            this.#ranges(rule.sourcePorts, Key.SOURCE_PORT),
            this.#ranges(rule.icmp?.[family], Key.ICMP),
            this.#prefixes(rule.from, Key.SOURCE),
            this.#prefixes(rule.to, Key.DESTINATION),
          ];
    const all = [
      ...ip,
      this.#ranges(rule.vlans, Key.VLAN),
      macs(rule.fromMacs, Key.SOURCE_MAC),
      macs(rule.toMacs, Key.DESTINATION_MAC),
    ];
    return all.filter((one): one is string => one !== undefined);
  }

  #any<T>(list: readonly T[] | undefined, condition: (one: T) => string): string | undefined {
    if (list === undefined) return undefined;
    this.comparisons += list.length;
    return `(${list.map((one) => `(${condition(one)})`).join(' || ')})`;
  }

  #ranges(list: readonly Range[] | undefined, at: number): string | undefined {
    return this.#any(list, ([low, high]) =>
      low === high ? `key[${at}] === ${low}` : `key[${at}] >= ${low} && key[${at}] <= ${high}`,
    );
  }

  #prefixes(list: readonly Prefix[] | undefined, at: number): string | undefined {
    const own = list?.filter(({ family }) => family === this.#family);
    return this.#any(own, ({ words, bits }) => {
      const parts = words.flatMap((word, i) => {
        const mask = maskOf(bits - 32 * i);
        const value = `key[${at + i}]`;
        return mask === 0 ? [] : [mask === -1 ? `${value} === ${word}` : `(${value} & ${mask}) === ${word}`];
      });
      return parts.join(' && ') || 'true';
    });
  }
}
