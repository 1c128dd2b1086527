import { maskOf } from './values.js';

/** A prefix and the number of the rule that names it. Words may be as many as the addresses have. */
export interface TriePrefix {
  readonly words: readonly number[];
  readonly bits: number;
  readonly rule: number;
}

/**
 * Kinds of nodes, each a stretch of one array. A number below zero is no node but a leaf: the complement of a row.
 * BRANCH: kind, shift of the byte in its word, number of that word, then 256 nodes.
 * COMPARE: kind, number of the word, mask, what it has to be, node if it is that, node if not.
 */
const Kind = { BRANCH: 0, COMPARE: 1 } as const;

/**
 * Makes a tree that tells by an address which rules name a prefix of it. What all prefixes of a place have in common is compared at
 * once, so that it has few nodes where prefixes are few, and a look takes at most two for each byte.
 *
 * @param rowOf - gives the row of a set of rules, 0 or above; sets must not be kept
 * @param base - rules that match every address: words of a bit set, changed and put back
 */
export function buildTrie(
  prefixes: readonly TriePrefix[],
  base: Uint32Array,
  add: (set: Uint32Array, rule: number) => void,
  rowOf: (set: Uint32Array) => number,
): { readonly nodes: Int32Array; readonly root: number } {
  const nodes: number[] = [];
  const root = build(prefixes, 0, base);
  return { nodes: sharedArray(nodes), root };

  /** Node of those addresses whose first `known` bits all of `some` have. */
  function build(some: readonly TriePrefix[], known: number, inherited: Uint32Array): number {
    const done = some.filter(({ bits }) => bits <= known);
    const rest = some.filter(({ bits }) => bits > known);
    let set = inherited;
    if (done.length > 0) {
      set = Uint32Array.from(inherited);
      for (const { rule } of done) add(set, rule);
    }
    if (rest.length === 0) return ~rowOf(set);
    const common = commonBits(rest);
    if (common - known >= 8 || rest.every(({ bits }) => bits === common)) return compare(rest, known, common, set);
    return branch(rest, known, set);
  }

  function compare(rest: readonly TriePrefix[], known: number, common: number, set: Uint32Array): number {
    const { words } = rest[0]!;
    const miss = ~rowOf(set);
    let node = build(rest, common, set);
    for (let word = (common - 1) >> 5; word >= known >> 5; word--) {
      const mask = maskOf(common - 32 * word) & ~maskOf(known - 32 * word);
      nodes.push(Kind.COMPARE, word, mask, words[word]! & mask, node, miss);
      node = nodes.length - 6;
    }
    return node;
  }

  function branch(rest: readonly TriePrefix[], known: number, set: Uint32Array): number {
    const byte = known >> 3;
    const word = byte >> 2;
    const shift = 24 - 8 * (byte & 3);
    const children = Array.from({ length: 256 }, (): TriePrefix[] => []);
    for (const prefix of rest) {
      const free = Math.max(8 * (byte + 1) - prefix.bits, 0);
      const first = (prefix.words[word]! >>> shift) & 0xff;
      for (let value = first; value < first + (1 << free); value++) children[value]!.push(prefix);
    }
    // Values that no prefix has, or the same short ones, have one node in common.
    const made = new Map<string, number>();
    const found = children.map((some) => {
      const short = some.every(({ bits }) => bits <= 8 * (byte + 1));
      const name = short ? some.map(({ rule }) => rule).join() : undefined;
      const before = name === undefined ? undefined : made.get(name);
      if (before !== undefined) return before;
      const node = build(some, 8 * (byte + 1), set);
      if (name !== undefined) made.set(name, node);
      return node;
    });
    nodes.push(Kind.BRANCH, shift, word, ...found);
    return nodes.length - 259;
  }
}

/** Numbers in memory that threads share, so that each of them has the same and no copy. */
export function sharedArray(values: readonly number[]): Int32Array {
  const array = new Int32Array(new SharedArrayBuffer(4 * values.length));
  array.set(values);
  return array;
}

/** Bits that all have, and that count in all. */
function commonBits(prefixes: readonly TriePrefix[]): number {
  const [first, ...others] = prefixes as [TriePrefix, ...TriePrefix[]];
  let common = first.bits;
  for (const { words, bits } of others) {
    common = Math.min(common, bits);
    for (let word = 0; 32 * word < common; word++) {
      const equal = 32 * word + Math.clz32(words[word]! ^ first.words[word]!);
      if (equal < 32 * (word + 1)) common = Math.min(common, equal);
    }
  }
  return common;
}

/** The row that the address at `at` of a key leads to. */
export function lookUp(nodes: Int32Array, root: number, key: Int32Array, at: number): number {
  let node = root;
  while (node >= 0) {
    if (nodes[node] === Kind.BRANCH)
      node = nodes[node + 3 + ((key[at + nodes[node + 2]!]! >>> nodes[node + 1]!) & 0xff)]!;
    else node = nodes[(key[at + nodes[node + 1]!]! & nodes[node + 2]!) === nodes[node + 3] ? node + 4 : node + 5]!;
  }
  return ~node;
}
