/**
 * What rules look at in a frame: 32-bit words at fixed places of one array, filled anew for each frame. Addresses are most
 * significant word first, one of IPv4 in the first of its four. A Mac is its upper 16, then its lower 32 bits.
 */
export const Key = {
  SOURCE: 0,
  DESTINATION: 4,
  /** Of TCP and UDP; -1 of others. */
  SOURCE_PORT: 8,
  DESTINATION_PORT: 9,
  /** Type times 256 and code; -1 of others. */
  ICMP: 10,
  PROTOCOL: 11,
  /** 4, 6, or 0 for all else. */
  FAMILY: 12,
  ETHER_TYPE: 13,
  /** Id of the outer tag; 0 without. */
  VLAN: 14,
  SOURCE_MAC: 15,
  DESTINATION_MAC: 17,
  /** TCP's: RFC 9293, 3.1. */
  TCP_FLAGS: 19,
  /** One of `Fragment`. */
  FRAGMENT: 20,
  /** Of a fragment: identification, and which bytes of the packet's payload it has: first, and one after the last. */
  FRAGMENT_ID: 21,
  FRAGMENT_START: 22,
  FRAGMENT_END: 23,
  /** Of TCP. */
  SEQUENCE: 24,
  ACKNOWLEDGMENT: 25,
  /** Of an echo: its identifier. */
  ECHO_ID: 26,
} as const;
export const KEY_WORDS = 27;

export const Fragment = { NONE: 0, FIRST: 1, LATER: 2 } as const;
