/** KVM only where a guest has been seen to boot under it: /dev/kvm may exist and not work. */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { bootId as currentBoot } from '../../src/host/boot-id.js';
import { cached } from './needs.js';
import type { Accelerator } from './qemu.js';

const PROBE_TIMEOUT_MS = 8_000;

export interface Choice {
  readonly accelerator: Accelerator;
  /** What has been seen of KVM. */
  readonly why: string;
}

interface Seen extends Choice {
  /** The answer holds for one boot of one machine. */
  readonly bootId: string;
}

/** Boots a guest under KVM by `probe`, unless an earlier answer for this machine is in the cache. */
export async function accelerator(probe: (signal: AbortSignal) => Promise<void>): Promise<Choice> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    return { accelerator: 'tcg', why: `/dev/kvm cannot be opened (${(error as NodeJS.ErrnoException).code})` };
  }
  const file = cached('accelerator.json');
  const bootId = currentBoot();
  const known = read(file);
  if (known?.bootId === bootId) return known;
  const seen = await probe(AbortSignal.timeout(PROBE_TIMEOUT_MS)).then(
    (): Seen => ({ bootId, accelerator: 'kvm', why: 'a guest booted under KVM' }),
    (error: Error): Seen => ({ bootId, accelerator: 'tcg', why: error.message }),
  );
  writeFileSync(file, `${JSON.stringify(seen, null, 2)}\n`);
  return seen;
}

function read(file: string): Seen | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}
