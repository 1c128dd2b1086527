import type { FilterFrame } from '../../../filter/frame-contract.js';
import { IPV6_HEADER_BYTES, IpProtocol } from '../../../net/frame-layout.js';
import type { Connections } from './connections.js';
import { KEY_WORDS, Key } from './key.js';
import { PROTOCOLS } from './values.js';

/** Bytes of an ICMP error before the packet that it is about. RFC 792, RFC 4443 */
const ERROR_HEADER_BYTES = 8;
const IPV4_HEADER_BYTES = 20;
/** Bytes of the inner packet's payload that are looked at: ports, or type and identifier. */
const INNER_BYTES = 8;

/** Errors: unreachable (and too big), time exceeded, parameter problem. */
export function isIcmpError(key: Int32Array): boolean {
  const type = key[Key.ICMP]! >> 8;
  return key[Key.FAMILY] === 4 ? type === 3 || type === 11 || type === 12 : type >= 1 && type <= 4;
}

/** Tells whether an ICMP error is about a frame of a known connection that its receiver has sent. */
export class Related {
  readonly #inner = new Int32Array(KEY_WORDS);

  find(frame: FilterFrame, key: Int32Array, outbound: boolean, connections: Connections): boolean {
    const inner = this.#inner;
    const at = frame.l4 + ERROR_HEADER_BYTES;
    const end = Math.min(frame.byteLength, frame.headBytes);
    const family = key[Key.FAMILY]!;
    let l4: number;
    let words: number;
    let source: number;
    if (family === 4) {
      if (at + IPV4_HEADER_BYTES > end) return false;
      const versionAndWords = frame.byte(at);
      l4 = at + (versionAndWords & 0xf) * 4;
      if (versionAndWords >>> 4 !== 4 || l4 < at + IPV4_HEADER_BYTES) return false;
      if ((frame.word16(at + 6) & 0x1fff) !== 0) return false;
      inner[Key.PROTOCOL] = frame.byte(at + 9);
      source = at + 12;
      words = 1;
    } else {
      if (at + IPV6_HEADER_BYTES > end || frame.byte(at) >>> 4 !== 6) return false;
      l4 = at + IPV6_HEADER_BYTES;
      inner[Key.PROTOCOL] = frame.byte(at + 6);
      source = at + 8;
      words = 4;
    }
    if (l4 + INNER_BYTES > end) return false;
    for (let i = 0; i < words; i++) {
      const from = frame.word32(source + 4 * i);
      // It goes to whoever sent what it is about.
      if (from !== key[Key.DESTINATION + i]) return false;
      inner[Key.SOURCE + i] = from;
      inner[Key.DESTINATION + i] = frame.word32(source + 4 * (words + i));
    }
    const protocol = inner[Key.PROTOCOL]!;
    if (protocol === IpProtocol.TCP || protocol === IpProtocol.UDP) {
      inner[Key.SOURCE_PORT] = frame.word16(l4);
      inner[Key.DESTINATION_PORT] = frame.word16(l4 + 2);
    } else if (protocol === (family === 4 ? PROTOCOLS.icmp : PROTOCOLS.icmpv6)) {
      const type = frame.byte(l4);
      if (family === 4 ? type !== 8 && type !== 0 : type !== 128 && type !== 129) return false;
      inner[Key.SOURCE_PORT] = -1;
      inner[Key.ICMP] = type << 8;
      inner[Key.ECHO_ID] = frame.word16(l4 + 4);
    } else return false;
    inner[Key.FAMILY] = family;
    inner[Key.VLAN] = key[Key.VLAN]!;
    return connections.find(inner, !outbound) >= 0;
  }
}
