import { execFileSync } from 'node:child_process';
import { SidecoreError } from '../errors.js';

/** Numeric id of a user, or undefined for none. Throws if there is no such user; `key` is where the configuration names it. */
export const userId = (name: string | number | undefined, key: string): number | undefined =>
  lookUp('passwd', 'user', name, key);

/** The same for a group. */
export const groupId = (name: string | number | undefined, key: string): number | undefined =>
  lookUp('group', 'group', name, key);

function lookUp(database: string, what: string, name: string | number | undefined, key: string): number | undefined {
  if (name === undefined || typeof name === 'number') return name;
  try {
    return Number(execFileSync('getent', [database, name], { encoding: 'utf8' }).split(':')[2]);
  } catch {
    throw new SidecoreError('CONFIG_INVALID', `${key}: there is no ${what} ${name} on this machine`);
  }
}
