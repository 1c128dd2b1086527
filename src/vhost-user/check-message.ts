import { SidecoreError } from '../errors.js';
import type { Message } from './connection.js';
import { Flag, type MessageName, messageRow, PAYLOADS, PROTOCOL_FEATURES } from './messages.js';

/** Holds a message against its row of the table. Throws for one that does not fit. */
export function checkMessage(name: MessageName, { flags, payload, fds }: Message, protocolFeatures: bigint): void {
  const row = messageRow(name);
  const { bytes, exact } = PAYLOADS[row.payload];
  if ((flags & Flag.VERSION_MASK) !== Flag.VERSION)
    throw new SidecoreError('MESSAGE_INVALID', `${name} has version ${flags & 3}, not 1`);
  if (payload.length < bytes || (exact && payload.length > bytes)) {
    throw new SidecoreError('MESSAGE_INVALID', `${name} has ${payload.length} bytes, its payload has ${bytes}`);
  }
  if (fds.length > row.fdsMax) {
    throw new SidecoreError(
      'MESSAGE_FDS',
      `${name} came with ${fds.length} descriptors, at most ${row.fdsMax} are its`,
    );
  }
  if (row.needs !== undefined && (protocolFeatures & PROTOCOL_FEATURES[row.needs]) === 0n) {
    throw new SidecoreError(
      'MESSAGE_INVALID',
      `${name} needs the protocol feature ${row.needs}, which was not negotiated`,
    );
  }
}
