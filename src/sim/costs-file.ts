import { readFileSync } from 'node:fs';
import { messageOf, SidecoreError } from '../errors.js';
import { type Costs, parseCosts } from './costs.js';

/** Reads costs, alone or in a whole calibration. Throws `CONFIG_UNREADABLE` or what is wrong with them. */
export function readCosts(file: string): Costs {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const remedy = 'Write it with `sidecore sim --calibrate`.';
    throw new SidecoreError('CONFIG_UNREADABLE', `${file}: ${messageOf(error)}`, remedy, { cause: error });
  }
  const whole = typeof value === 'object' && value !== null && 'costs' in value ? value.costs : value;
  return parseCosts(whole);
}
