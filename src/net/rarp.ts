import { EthernetOffset, isStation, macHigh, macLow } from './ethernet.js';

/** Reverse address resolution. RFC 903 */
const RARP_TYPE = 0x8035;
const FRAME_BYTES = 60;
/** Ethernet, IPv4, lengths of their addresses, "request reverse". RFC 826 and 903 */
const REQUEST = Buffer.from('0001080006040003', 'hex');
const PACKET_AT = 14;
const SENDER_AT = PACKET_AT + 8;
const TARGET_AT = PACKET_AT + 18;

/** A frame to everybody, from which switches learn where an address is; undefined if the address is no station's. */
export function rarpFrame(mac: Uint8Array): Buffer | undefined {
  const bytes = Buffer.from(mac);
  if (!isStation(macHigh(bytes, 0), macLow(bytes, 0))) return undefined;
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.fill(0xff, EthernetOffset.DESTINATION, EthernetOffset.SOURCE);
  frame.writeUInt16BE(RARP_TYPE, EthernetOffset.TYPE);
  REQUEST.copy(frame, PACKET_AT);
  for (const at of [EthernetOffset.SOURCE, SENDER_AT, TARGET_AT]) bytes.copy(frame, at);
  return frame;
}
