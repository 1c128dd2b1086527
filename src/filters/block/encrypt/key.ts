import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { SidecoreError } from '../../../errors.js';
import { LUKS_PASSPHRASE_BYTES_MAX } from '../../../limits.js';

/** Where a passphrase is. One of them. */
export interface KeySource {
  readonly key_file?: string | undefined;
  readonly key_env?: string | undefined;
}

const LINE_FEED = 10;

/**
 * Reads a passphrase: all bytes of a file, as QEMU's `secret` and cryptsetup's `--key-file` take them, or of an environment variable.
 * @param base - folder from which a file's path starts
 * @throws SidecoreError KEY_INVALID
 */
export function readPassphrase(source: KeySource, base: string, log: (text: string) => void = () => {}): Buffer {
  const { key_file, key_env } = source;
  if ((key_file === undefined) === (key_env === undefined))
    throw new SidecoreError('KEY_INVALID', 'a key comes from either a file or an environment variable');
  const passphrase = key_file === undefined ? fromEnvironment(key_env!) : fromFile(resolve(base, key_file), log);
  const from = key_file ?? `$${key_env}`;
  if (passphrase.length === 0) throw new SidecoreError('KEY_INVALID', `the key in ${from} is empty`);
  if (passphrase.length > LUKS_PASSPHRASE_BYTES_MAX)
    throw new SidecoreError('KEY_INVALID', `the key in ${from} has more than ${LUKS_PASSPHRASE_BYTES_MAX} bytes`);
  return passphrase;
}

function fromEnvironment(name: string): Buffer {
  const value = process.env[name];
  if (value === undefined)
    throw new SidecoreError('KEY_INVALID', `there is no environment variable ${name} with the key`);
  return Buffer.from(value);
}

function fromFile(path: string, log: (text: string) => void): Buffer {
  try {
    const { mode, size } = statSync(path);
    if ((mode & 0o077) !== 0) log(`${path}: the key can be read by others than its owner (chmod 600)`);
    // Not all of what is no key.
    if (size > LUKS_PASSPHRASE_BYTES_MAX) return Buffer.alloc(LUKS_PASSPHRASE_BYTES_MAX + 1);
    return readFileSync(path);
  } catch (error) {
    throw new SidecoreError(
      'KEY_INVALID',
      `the key file ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

/**
 * What may be meant by it: as it is; and, if a line break ends it and is not the key's, without. Editors and `echo` write one, which
 * nobody types.
 */
export function candidates(passphrase: Buffer): readonly Buffer[] {
  const withoutBreak = passphrase.at(-1) === LINE_FEED && passphrase.length > 1;
  return withoutBreak ? [passphrase, passphrase.subarray(0, -1)] : [passphrase];
}
