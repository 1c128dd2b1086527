import { InvalidArgumentError } from 'commander';
import { ConfigText, readConfigFile } from '../daemon/config-text.js';
import { mergeOptions } from '../daemon/merge-options.js';
import { SidecoreError } from '../errors.js';

export type Options = Record<string, unknown>;

/** Splits `KEY=VALUE`. */
function split(text: string): [key: string, value: string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new InvalidArgumentError('Write KEY=VALUE.');
}

/** `KEY=VALUE`, and what came before it. The value is YAML: a number, true, text, [a, list] or {keys: and values}; dots in the key are keys below keys. */
export function readOption(text: string, before: Options = {}): Options {
  const [key, value] = split(text);
  const { value: read, problems } = new ConfigText(value === '' ? '""' : value, key);
  if (problems[0] !== undefined) throw new InvalidArgumentError(`${key}: ${problems[0].text}`);
  const keys = key.split('.');
  if (keys.includes('') || keys.includes('__proto__')) throw new InvalidArgumentError(`"${key}" is no key.`);
  const option = keys.reduceRight<unknown>((below, name) => ({ [name]: below }), read) as Options;
  return mergeOptions(before, option);
}

/** `KEY=VALUE` as text, and what came before it: of a filter's command. */
export function readText(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [key, value] = split(text);
  return { ...before, [key]: value };
}

/** All of a filter's options: YAML, or JSON. */
export function readAll(text: string): Options {
  const { value, problems } = new ConfigText(text, '');
  const fault = problems[0]?.text ?? (isMap(value) ? undefined : 'expects keys and values');
  if (fault !== undefined) throw new InvalidArgumentError(`Options: ${fault}.`);
  return value as Options;
}

/** The same from a file. Throws `CONFIG_INVALID` with its line. */
export function readFile(path: string): Options {
  const { value, problems } = new ConfigText(readConfigFile(path), path);
  const [first] = problems;
  if (first === undefined && isMap(value)) return value;
  const where = first === undefined ? path : `${path}:${first.line}`;
  throw new SidecoreError('CONFIG_INVALID', `${where}: ${first?.text ?? 'expects keys and values'}`);
}

const isMap = (value: unknown): value is Options =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
