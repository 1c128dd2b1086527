/** What scripts/setup.mjs brought, and the tests that cannot run without it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Cleanup, CleanupSteps, repositoryRoot } from '../support/daemon.js';

/** A path below `.cache`. */
export const cached = (...names: string[]): string => join(repositoryRoot, '.cache', ...names);

/** Needs in `missing.json` that guests do without. */
const NOT_FOR_GUESTS: readonly string[] = ['node26', 'strace', 'tshark', 'iproute2'];

/** Why no real guest can run here, or undefined if it can. */
export function whyNoGuest(): string | undefined {
  let missing: { need: string }[];
  try {
    missing = JSON.parse(readFileSync(cached('missing.json'), 'utf8'));
  } catch {
    return 'run `node scripts/setup.mjs` first';
  }
  const names = missing.map(({ need }) => need).filter((need) => !NOT_FOR_GUESTS.includes(need));
  return names.length === 0 ? undefined : `missing: ${names.join(', ')} (see scripts/setup.mjs)`;
}

/** What a test with a real guest may ask of its surroundings. */
export type GuestTestContext = Cleanup & Pick<TestContext, 'skip'>;

/**
 * QEMU itself has crashed, or lost a timer of a guest with several CPUs, which then never gets on. Without KVM, versions before 8.2 do so now and then when a machine's memory map changes, at boot or
 * reboot: one thread reads the map that another is replacing (`memory_region_dispatch_write` of a region that is not there).
 */
export class QemuCrash extends Error {}

/** A test in which QEMU crashes is begun anew; one of ours that makes it crash does so each time. */
const ATTEMPTS_MAX = 3;

/** A test with a real guest: where one cannot run it is skipped, saying why; in CI it fails instead. */
export function guestTest(name: string, timeoutMs: number, body: (test: GuestTestContext) => Promise<void>): void {
  const why = whyNoGuest();
  const isCi = process.env.CI === 'true';
  const skip = why !== undefined && !isCi ? why : false;
  test(name, { timeout: ATTEMPTS_MAX * timeoutMs, skip }, async (context) => {
    if (why !== undefined) throw new Error(why);
    for (let attempt = 1; !(await attempted(context, body, attempt === ATTEMPTS_MAX)); attempt++) {
      context.diagnostic('QEMU crashed or lost a timer: once more');
    }
  });
}

/** Runs a test's body once; false if QEMU crashed in it and this was not the last attempt. */
async function attempted(
  context: TestContext,
  body: (test: GuestTestContext) => Promise<void>,
  last: boolean,
): Promise<boolean> {
  const cleanup = new CleanupSteps();
  try {
    await body({ after: (clean) => cleanup.after(clean), skip: (message) => context.skip(message) });
    return true;
  } catch (error) {
    if (last || !(error instanceof QemuCrash)) throw error;
    return false;
  } finally {
    await cleanup.run();
  }
}
