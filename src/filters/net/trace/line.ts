import { FrameDirection } from '../../../filter/index.js';
import { formatMac, macHigh, macLow, readBe16 } from '../../../net/ethernet.js';
import { FrameLayout, findLayout, IpProtocol } from '../../../net/frame-layout.js';
import type { TraceRecord } from './ring.js';

const MAC_BYTES = 6;
/** Offsets in IP's headers, bytes. RFC 791, 3.1; RFC 8200, 3 */
const IPV4_ADDRESSES = 12;
const IPV6_ADDRESSES = 8;

/** A frame as a line of JSON shows it. What is not there, or was not kept, is left out. */
export function traceLine(record: TraceRecord): Record<string, unknown> {
  const { seconds, nanoseconds, direction, byteLength, vlan, bytes } = record;
  const layout = new FrameLayout();
  const fault = findLayout(bytes, bytes.length, layout, 1);
  const line: Record<string, unknown> = {
    number: record.number,
    time: `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, '0')}Z`,
    direction: direction === FrameDirection.OUTBOUND ? 'outbound' : 'inbound',
    bytes: byteLength,
    destination: formatMac(macHigh(bytes, 0), macLow(bytes, 0)),
    source: formatMac(macHigh(bytes, MAC_BYTES), macLow(bytes, MAC_BYTES)),
  };
  if (vlan !== 0) line['vlan'] = vlan;
  const { l3, l4, ipVersion, protocol } = layout;
  if (l3 >= 14)
    line['type'] = `0x${readBe16(bytes, l3 - 2)
      .toString(16)
      .padStart(4, '0')}`;
  if (fault === 0 && ipVersion !== 0) {
    const [text, size, at] = ipVersion === 4 ? [ipv4Text, 4, l3 + IPV4_ADDRESSES] : [ipv6Text, 16, l3 + IPV6_ADDRESSES];
    line['ip_source'] = text(bytes, at);
    line['ip_destination'] = text(bytes, at + size);
    if (protocol >= 0) line['protocol'] = protocol;
    if (layout.fragment) line['fragment'] = true;
    if ((protocol === IpProtocol.TCP || protocol === IpProtocol.UDP) && l4 + 4 <= bytes.length) {
      line['source_port'] = readBe16(bytes, l4);
      line['destination_port'] = readBe16(bytes, l4 + 2);
    }
    if (protocol === IpProtocol.TCP && l4 + 14 <= bytes.length) line['tcp_flags'] = bytes[l4 + 13];
  }
  line['head'] = bytes.toString('hex');
  return line;
}

const ipv4Text = (bytes: Buffer, at: number): string => bytes.subarray(at, at + 4).join('.');

/** As eight groups; the longest run of zeros is written `::`. RFC 5952, 4 */
function ipv6Text(bytes: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => readBe16(bytes, at + 2 * i));
  let from = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > longest) [from, longest] = [i, end - i];
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  return from < 0 ? hex(groups) : `${hex(groups.slice(0, from))}::${hex(groups.slice(from + longest))}`;
}
