/** What scripts/setup.mjs brought, and the tests that cannot run without it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { repositoryRoot } from '../support/daemon.js';

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

/** A test with a real guest: where one cannot run it is skipped, saying why; in CI it fails instead. */
export function guestTest(name: string, timeoutMs: number, body: (test: TestContext) => Promise<void>): void {
  const why = whyNoGuest();
  const isCi = process.env.CI === 'true';
  test(name, { timeout: timeoutMs, skip: why !== undefined && !isCi ? why : false }, async (context) => {
    if (why !== undefined) throw new Error(why);
    await body(context);
  });
}
