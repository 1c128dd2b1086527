import { closeSync, openSync, readSync } from 'node:fs';
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { type ErrorCode, SidecoreError } from '../errors.js';

/** Bytes of a configuration file: twenty thousand disks, and two or three seconds of parsing. */
const FILE_BYTES_MAX = 4 * 2 ** 20;
/** Values of a configuration, those behind aliases counted each time: a short file may not fill the memory. */
const VALUES_MAX = 1_000_000;

/** Where a key is: the keys from the top of the file down to it. */
export type KeyPath = readonly (string | number)[];

/** Something that is wrong with a configuration, and where. */
export interface ConfigProblem {
  readonly code: ErrorCode;
  readonly file: string;
  /** Line of the key, or of the nearest one above it that is there; zero if it is about no line. */
  readonly line: number;
  /** Dotted path of the key. */
  readonly key: string;
  readonly text: string;
  /** What to do; empty if the text says it. */
  readonly remedy: string;
}

/** A problem as people read it: `FILE:LINE: key: what is wrong`. One that is about no line names the file itself. */
export function problemLine({ file, line, key, text }: Omit<ConfigProblem, 'code'>): string {
  return line === 0 ? text : `${file}:${line}: ${key}: ${text}`;
}

/** A configuration file's values, plain data, and the line of each key. */
export class ConfigText {
  readonly file: string;
  /** What is wrong with the file as YAML. The value is good only if there is nothing. */
  readonly problems: ConfigProblem[] = [];
  readonly value: unknown;
  readonly #lines = new Map<string, number>();
  readonly #counter = new LineCounter();
  readonly #anchors = new Map<string, Node>();
  /** Nodes inside which the walk is. */
  readonly #inside = new Set<unknown>();
  #values = 0;

  constructor(text: string, file: string) {
    this.file = file;
    if (bracketDepth(text) > BRACKETS_MAX) {
      this.#complain([], 'is nested too deeply');
      return;
    }
    try {
      this.value = this.#read(text);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#complain([], 'is nested too deeply');
    }
  }

  /** The line of a key, or of the nearest one above it that is there. */
  lineOf(keys: KeyPath): number {
    for (let length = keys.length; length > 0; length--) {
      const line = this.#lines.get(keys.slice(0, length).join('\0'));
      if (line !== undefined) return line;
    }
    return 1;
  }

  /** Makes a problem of a key. */
  problem(keys: KeyPath, text: string, remedy = '', code: ErrorCode = 'CONFIG_INVALID'): ConfigProblem {
    return { code, file: this.file, line: this.lineOf(keys), key: keys.join('.') || 'configuration', text, remedy };
  }

  #complain(keys: KeyPath, text: string): void {
    this.problems.push(this.problem(keys, text));
  }

  #read(text: string): unknown {
    // Duplicate keys are found below, where their path is known.
    const document = parseDocument(text, { lineCounter: this.#counter, prettyErrors: false, uniqueKeys: false });
    // Later errors mostly follow from the first.
    const error = [...document.errors, ...document.warnings][0];
    if (error !== undefined) {
      const line = this.#counter.linePos(error.pos[0]).line;
      const said = YAML_ERRORS[error.code] ?? error.message;
      this.problems.push({ ...this.problem([], said), line, key: 'YAML' });
      return undefined;
    }
    if (document.contents === null) {
      this.#complain([], 'is empty');
      return undefined;
    }
    return this.#value(document.contents, []);
  }

  #value(node: unknown, keys: KeyPath): unknown {
    if (++this.#values > VALUES_MAX) {
      if (this.#values === VALUES_MAX + 1)
        this.#complain(keys, `here the file exceeds ${VALUES_MAX} values, those behind aliases counted each time`);
      return undefined;
    }
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target !== undefined && !this.#inside.has(target)) return this.#value(target, keys);
      this.#complain(
        keys,
        target === undefined ? `*${node.source} has no &${node.source} before it` : `*${node.source} is inside itself`,
      );
      return undefined;
    }
    if ((isMap(node) || isSeq(node) || isScalar(node)) && node.anchor !== undefined)
      this.#anchors.set(node.anchor, node);
    // A key of a map in braces may have no value at all.
    if (node === null || isScalar(node)) return node?.value ?? null;
    this.#inside.add(node);
    const value = isMap(node) ? this.#map(node, keys) : this.#list(node as YAMLSeq, keys);
    this.#inside.delete(node);
    return value;
  }

  #list(node: YAMLSeq, keys: KeyPath): unknown[] {
    return node.items.map((item, index) => {
      const itemKeys = [...keys, index];
      this.#mark(itemKeys, item as Node);
      return this.#value(item, itemKeys);
    });
  }

  #map(node: YAMLMap, keys: KeyPath): Record<string, unknown> {
    // Without a prototype every key is a key, `__proto__` too.
    const values: Record<string, unknown> = Object.create(null);
    const merged: unknown[] = [];
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.source ?? key.value) : undefined;
      if (name === '<<') {
        merged.push(...(isSeq(value) ? value.items : [value]));
        continue;
      }
      if (name === undefined || name === '__proto__') {
        this.#complain(keys, name === undefined ? 'a key has to be a plain word' : `${name} cannot be a key`);
        continue;
      }
      const path = [...keys, name];
      if (name in values) {
        const line = this.#counter.linePos((key as Node).range![0]).line;
        this.problems.push({ ...this.problem(path, `is here twice, first on line ${this.lineOf(path)}`), line });
        continue;
      }
      this.#mark(path, key as Node);
      values[name] = this.#value(value, path);
    }
    for (const source of merged) this.#merge(values, source, keys);
    return values;
  }

  /** `<<: *anchor`: takes over the keys of another map that are not there yet. */
  #merge(values: Record<string, unknown>, source: unknown, keys: KeyPath): void {
    const others = this.#value(source, keys);
    if (typeof others !== 'object' || others === null || Array.isArray(others)) {
      this.#complain(keys, '<< takes the alias of a map');
      return;
    }
    for (const [name, value] of Object.entries(others)) if (!(name in values)) values[name] = value;
  }

  #mark(keys: KeyPath, node: Node): void {
    const path = keys.join('\0');
    if (!this.#lines.has(path)) this.#lines.set(path, this.#counter.linePos(node.range![0]).line);
  }
}

/** Brackets inside brackets. The parser's recursion would end on the stack's last page, where V8 may not survive it. */
const BRACKETS_MAX = 100;

/** Most brackets open at once, those in texts counted too. */
function bracketDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '[' || character === '{') deepest = Math.max(deepest, ++depth);
    else if (character === ']' || character === '}') depth = Math.max(0, depth - 1);
  }
  return deepest;
}

/** What the parser says less plainly. */
const YAML_ERRORS: Record<string, string> = {
  TAB_AS_INDENT: 'a tab cannot indent: use spaces',
  RESOURCE_EXHAUSTION: 'is nested too deeply',
  MULTIPLE_DOCS: 'a second document starts here (---): put everything into one',
};

/** Reads a whole file, bounded, as UTF-8. Throws `CONFIG_UNREADABLE`. */
export function readConfigFile(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readBounded(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const remedy = 'Name the configuration with -c FILE. examples/ has some to start from.';
    throw new SidecoreError('CONFIG_UNREADABLE', `cannot read ${path}: ${READ_ERRORS[code ?? ''] ?? code}`, remedy);
  }
  if (bytes.length > FILE_BYTES_MAX) {
    throw new SidecoreError(
      'CONFIG_UNREADABLE',
      `cannot read ${path}: it has more than ${FILE_BYTES_MAX} bytes`,
      'Is it the right file?',
    );
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SidecoreError('CONFIG_UNREADABLE', `cannot read ${path}: it is no UTF-8 text`, 'Is it the right file?');
  }
}

const READ_ERRORS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
};

/** At most one byte more than is allowed, from files that do not say how long they are, too. */
function readBounded(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(FILE_BYTES_MAX + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count) {
      count = readSync(fd, bytes, length, bytes.length - length, null);
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
