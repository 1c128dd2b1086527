import { Key } from './key.js';
import type { Mac, Rule } from './options.js';
import { buildTrie, sharedArray, type TriePrefix } from './prefix-trie.js';
import type { Prefix, Range } from './values.js';

/** Versions of IP, and all else. */
export const FAMILIES = [4, 6, 0] as const;
export type Family = (typeof FAMILIES)[number];

/** The rules that frames of one direction and family may match, in order, as places among all rules. */
export function rulesFor(rules: readonly Rule[], outbound: boolean, family: Family): number[] {
  return rules.flatMap((rule, at) => ((outbound ? rule.outbound : rule.inbound) && mayMatch(rule, family) ? [at] : []));
}

const ETHER_TYPE_OF = { 4: 0x0800, 6: 0x86dd } as const;

function mayMatch(rule: Rule, family: Family): boolean {
  const { from, to, protocols, ports, sourcePorts, icmp, etherTypes } = rule;
  if (family === 0)
    return (
      [from, to, protocols, ports, sourcePorts, icmp].every((list) => list === undefined) &&
      (etherTypes?.some((type) => type !== 0x0800 && type !== 0x86dd) ?? true)
    );
  if (etherTypes !== undefined && !etherTypes.includes(ETHER_TYPE_OF[family])) return false;
  const has = (list: readonly Prefix[] | undefined) => list?.some((prefix) => prefix.family === family) ?? true;
  return has(from) && has(to) && protocols?.[family].length !== 0 && icmp?.[family].length !== 0;
}

/** How a field of a key leads to a row. Plain data. */
export type Field =
  | { readonly kind: 'trie'; readonly at: number; readonly nodes: Int32Array; readonly root: number }
  /** Two steps: the upper byte leads to a page, the lower to a row. Below zero: `none`. */
  | { readonly kind: 'pages'; readonly at: number; readonly pages: Int32Array; readonly none: number };

/**
 * The rules of one direction and family as bit sets: each field of a frame leads to a row of them, the rules that it satisfies, and
 * those that all rows have match. The first rule is the uppermost bit. Rows begin with a summary, of which each bit says whether a
 * word is other than zero. Plain data.
 */
export interface RuleSet {
  /** Places among all rules. */
  readonly rules: Int32Array;
  readonly words: number;
  /** Of the summary; zero if there is none. */
  readonly summaryWords: number;
  readonly rows: Int32Array;
  readonly fields: readonly Field[];
}

/** So few words are looked at without a summary. */
const PLAIN_WORDS_MAX = 4;

export function compileRuleSet(all: readonly Rule[], outbound: boolean, family: Family): RuleSet {
  const places = rulesFor(all, outbound, family);
  const rules = places.map((place) => all[place]!);
  const words = Math.ceil(rules.length / 32);
  const summaryWords = words > PLAIN_WORDS_MAX ? Math.ceil(words / 32) : 0;
  const rows: number[] = [];
  const known = new Map<string, number>();

  const add = (set: Uint32Array, rule: number) => {
    set[rule >> 5]! |= 0x8000_0000 >>> (rule & 31);
  };
  const rowOf = (set: Uint32Array): number => {
    const name = set.join();
    let row = known.get(name);
    if (row === undefined) {
      row = rows.length;
      known.set(name, row);
      const summary = new Uint32Array(summaryWords);
      if (summaryWords > 0) set.forEach((word, at) => word !== 0 && add(summary, at));
      rows.push(...summary, ...set);
    }
    return row;
  };
  /** The set of those about which this says nothing. */
  const setOf = (matches: (rule: Rule) => boolean) => {
    const set = new Uint32Array(words);
    rules.forEach((rule, at) => matches(rule) && add(set, at));
    return set;
  };

  const fields: Field[] = [];
  const trie = (
    at: number,
    prefixesOf: (rule: Rule) => readonly { words: readonly number[]; bits: number }[] | undefined,
  ) => {
    const prefixes = rules.flatMap((rule, i): TriePrefix[] =>
      (prefixesOf(rule) ?? []).map((prefix) => ({ ...prefix, rule: i })),
    );
    if (prefixes.length === 0) return;
    const base = setOf((rule) => prefixesOf(rule) === undefined);
    fields.push({ kind: 'trie', at, ...buildTrie(prefixes, base, add, rowOf) });
  };
  const pages = (at: number, rangesOf: (rule: Rule) => readonly Range[] | undefined) => {
    if (rules.every((rule) => rangesOf(rule) === undefined)) return;
    const base = setOf((rule) => rangesOf(rule) === undefined);
    fields.push({ kind: 'pages', at, pages: buildPages(rules, rangesOf, base, add, rowOf), none: rowOf(base) });
  };

  if (family !== 0) {
    const addresses = (list: readonly Prefix[] | undefined) => list?.filter((prefix) => prefix.family === family);
    const single = (list: readonly number[] | undefined) => list?.map((value): Range => [value, value]);
    pages(Key.DESTINATION_PORT, ({ ports }) => ports);
    trie(Key.SOURCE, ({ from }) => addresses(from));
    trie(Key.DESTINATION, ({ to }) => addresses(to));
    pages(Key.SOURCE_PORT, ({ sourcePorts }) => sourcePorts);
    pages(Key.ICMP, ({ icmp }) => icmp?.[family]);
    pages(Key.PROTOCOL, ({ protocols }) => single(protocols?.[family]));
  } else {
    pages(Key.ETHER_TYPE, ({ etherTypes }) => etherTypes?.map((type): Range => [type, type]));
  }
  const macs = (list: readonly Mac[] | undefined) => list?.map((mac) => ({ words: mac, bits: 64 }));
  trie(Key.SOURCE_MAC, ({ fromMacs }) => macs(fromMacs));
  trie(Key.DESTINATION_MAC, ({ toMacs }) => macs(toMacs));
  pages(Key.VLAN, ({ vlans }) => vlans);
  // Rules that say nothing but a direction.
  if (fields.length === 0 && rules.length > 0) {
    const every = rowOf(setOf(() => true));
    fields.push({
      kind: 'pages',
      at: Key.PROTOCOL,
      pages: sharedArray(Array.from({ length: 512 }, (_, i) => (i < 256 ? 256 : every))),
      none: every,
    });
  }
  return { rules: sharedArray(places), words, summaryWords, rows: sharedArray(rows), fields };
}

/** 256 places of pages, then the pages: 256 rows each. Pages that are alike are one. */
function buildPages(
  rules: readonly Rule[],
  rangesOf: (rule: Rule) => readonly Range[] | undefined,
  base: Uint32Array,
  add: (set: Uint32Array, rule: number) => void,
  rowOf: (set: Uint32Array) => number,
): Int32Array {
  const ranges = rules.flatMap((rule, at) => (rangesOf(rule) ?? []).map(([low, high]) => ({ low, high, at })));
  // Between two bounds nothing changes.
  const bounds = [...new Set([0, 65_536, ...ranges.flatMap(({ low, high }) => [low, high + 1])])].sort((a, b) => a - b);
  const rows = new Int32Array(65_536);
  for (const [i, from] of bounds.slice(0, -1).entries()) {
    const set = Uint32Array.from(base);
    for (const { low, high, at } of ranges) if (low <= from && from <= high) add(set, at);
    rows.fill(rowOf(set), from, bounds[i + 1]);
  }
  const out: number[] = Array<number>(256).fill(0);
  const known = new Map<string, number>();
  for (let page = 0; page < 256; page++) {
    const some = rows.subarray(256 * page, 256 * (page + 1));
    const name = some.join();
    let place = known.get(name);
    if (place === undefined) {
      place = out.length;
      known.set(name, place);
      for (const row of some) out.push(row);
    }
    out[page] = place;
  }
  return sharedArray(out);
}
