/** The driver of a replay's guest, by the kind of its device. */
import assert from 'node:assert/strict';
import { NET_FEATURES } from '../../src/net/features.js';
import type { Mac, Replay } from '../replays/replay.js';
import { CardDriver } from './replay-card.js';
import { DiskDriver } from './replay-disk.js';
import type { ReplayMemory } from './replay-memory.js';
import type { Neighbour } from './replay-neighbour.js';
import type { ReplayDriver } from './replay-ring.js';

/** Who is in the same network as a card, and the card's address. */
export interface Other {
  readonly guest: Neighbour;
  readonly mac: Mac;
}

/** @param has - whether a feature is negotiated by now */
export function driverFor(
  { device }: Replay,
  memory: ReplayMemory,
  other: Other | undefined,
  has: (feature: bigint) => boolean,
): ReplayDriver {
  if (device.kind === 'disk') return new DiskDriver(memory);
  assert.ok(other !== undefined, 'a card has somebody to talk to');
  return new CardDriver(memory, device, other, () => has(NET_FEATURES.MRG_RXBUF));
}
