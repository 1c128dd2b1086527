/** Built-in guests of a daemon that say things to each other, and wait for what they should hear. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { NetDriver, type NetDriverOptions, type NetRing } from '../../src/guest/net-driver.js';
import type { Cleanup } from '../support/daemon.js';
import { BROADCAST, makeFrame } from '../support/frames.js';

/** Nothing takes this long but what does not come. */
const LOST_MS = 20_000;
/** Looks in a row before others may do something. */
const SPINS = 200;

/** Connects a guest, which leaves with the test. */
export async function connectGuest(test: Cleanup, options: NetDriverOptions): Promise<NetDriver> {
  const guest = await NetDriver.connect(options);
  test.after(() => guest.close());
  return guest;
}

/** Sends a frame, as soon as there is a buffer for it. */
export async function send(guest: NetDriver, frame: Uint8Array): Promise<void> {
  for (const deadline = Date.now() + LOST_MS; !guest.send(frame); await turn()) {
    if (Date.now() > deadline) assert.fail('what was sent is not given back');
  }
  guest.tx.publish();
}

/** The next frame that a guest gets. */
export async function next(guest: NetDriver, what: string): Promise<Buffer> {
  const deadline = Date.now() + LOST_MS;
  for (;;) {
    for (let spin = 0; spin < SPINS; spin++) {
      const frame = guest.receive();
      if (frame !== undefined) return frame;
    }
    if (Date.now() > deadline) assert.fail(`${what}: nothing came`);
    await turn();
  }
}

/** All guests say who they are, and hear of each other: whatever came before is heard as well. */
export async function introduce(guests: readonly NetDriver[]): Promise<void> {
  for (const [number, guest] of guests.entries()) {
    const hello = makeFrame(BROADCAST, guest.mac, 60, 1000 + number);
    await send(guest, hello);
    for (const other of guests.filter((other) => other !== guest)) {
      while (!(await next(other, `guest ${number} is heard of`)).equals(hello));
    }
  }
}

/** Chains that a guest has offered in a ring and not been given back. */
export function chainsOut({ ram }: NetDriver, { ring }: NetRing): number {
  const [, offered] = ram.words16(ring.available, 4);
  return (offered! - ring.base) & 0xffff;
}
