/** What is in order, but would have a firewall judge something else than what is delivered. */
import type { FilterFrame } from '../../../filter/frame-contract.js';
import { EtherType, isTagType } from '../../../net/ethernet.js';
import { IPV6_HEADER_BYTES, IpProtocol } from '../../../net/frame-layout.js';

const IPV4_HEADER_BYTES = 20;
/** Options of IPv4 that have a packet go another way than its destination says: loose and strict. RFC 791, 3.1 */
const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;
const END_OF_OPTIONS = 0;
const NO_OPERATION = 1;
/** From here on the number behind Ethernet's addresses is a type, below it a length. IEEE 802.3, 3.2.6 */
const TYPE_MIN = 0x0600;
/** LLC and SNAP before a type, without an organisation of its own. RFC 1042 */
const SNAP_HIGH = 0xaaaa_0300 | 0;

/**
 * Whether a packet is on its way to somebody else than its destination: its last one is in an option of IPv4, or in a routing header of IPv6 that
 * is not used up (RFC 5095, RFC 7126). Such options that are cut off count, too.
 */
export function isSourceRouted(frame: FilterFrame): boolean {
  const { l3, l4 } = frame;
  return frame.ipVersion === 4 ? hasRouteOption(frame, l3 + IPV4_HEADER_BYTES, l4) : hasRoutingHeader(frame, l3, l4);
}

function hasRouteOption(frame: FilterFrame, from: number, end: number): boolean {
  for (let at = from; at < end; ) {
    const kind = frame.byte(at);
    if (kind === END_OF_OPTIONS) return false;
    if (kind === LOOSE_SOURCE_ROUTE || kind === STRICT_SOURCE_ROUTE) return true;
    const bytes = kind === NO_OPERATION ? 1 : frame.byte(at + 1);
    if (kind !== NO_OPERATION && (bytes < 2 || at + bytes > end)) return true;
    at += bytes;
  }
  return false;
}

/** The framework has been through them: this ends. RFC 8200, 4.4 */
function hasRoutingHeader(frame: FilterFrame, l3: number, end: number): boolean {
  let next = frame.byte(l3 + 6);
  for (let at = l3 + IPV6_HEADER_BYTES; at < end; ) {
    const segmentsLeft = frame.byte(at + 3);
    if (next === IpProtocol.ROUTING && segmentsLeft !== 0) return true;
    const bytes = next === IpProtocol.FRAGMENT ? 8 : 8 + 8 * frame.byte(at + 1);
    next = frame.byte(at);
    at += bytes;
  }
  return false;
}

/** Whether what is no packet for us may be one for its receiver: behind more tags than are looked through, or in a frame of IEEE 802.3. */
export function isHidden(frame: FilterFrame, etherType: number): boolean {
  const { l3 } = frame;
  const isSnap = etherType < TYPE_MIN && frame.word32(l3) === SNAP_HIGH && frame.word16(l3 + 4) === 0;
  const type = isSnap ? frame.word16(l3 + 6) : etherType;
  if (isTagType(type) || type === EtherType.IPV4 || type === EtherType.IPV6) return true;
  return isSnap && type === EtherType.ARP;
}
