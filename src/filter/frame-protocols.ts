/** Bits of TCP's flags. RFC 9293, 3.1 */
export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 } as const;

/** Protocols whose header begins with two ports, besides TCP and UDP. IANA, "Protocol Numbers" */
export const DCCP = 33;
export const SCTP = 132;
export const UDP_LITE = 136;
