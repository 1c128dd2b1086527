import { NET_FILTERS } from '../src/filters/net/index.js';

/** A frame filter as it is measured. */
export interface FrameEntry {
  /** As rows call it. */
  readonly name: string;
  /** As configurations do. */
  readonly use: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** It may lose a question or its answer, or hold it back. */
  readonly loses?: boolean;
  /** It keeps so many frames for its side on the main thread, which empties that between rounds when it is measured alone. */
  readonly keeps?: number;
}

/** Limits that nobody reaches. */
const PLENTY = { bytes_per_second: 2e10, frames_per_second: 2e10 };

/** As security groups are: each lets some network to some port. What the benchmark's frames need comes last. */
export const securityGroup = (count: number): readonly object[] => [
  ...Array.from({ length: count - 1 }, (_, i) => ({
    in: 'accept',
    protocol: 'tcp',
    port: 1000 + i,
    from: `10.${100 + (i >> 6)}.${i & 63}.0/24`,
  })),
  { in: 'accept', protocol: 'udp', port: 9 },
];

/** All of ours, each as it may be used: limits that are not reached, hardly anything lost. */
const ALL: readonly FrameEntry[] = [
  { name: 'meter', use: 'meter', options: {} },
  { name: 'rate-limit', use: 'rate-limit', options: { outbound: PLENTY, inbound: PLENTY } },
  { name: 'firewall, 10 rules', use: 'firewall', options: { rules: securityGroup(10) } },
  { name: 'firewall, 1000 rules', use: 'firewall', options: { rules: securityGroup(1000) } },
  {
    name: 'impair',
    use: 'impair',
    options: { outbound: { loss: 0.001, duplicate: 0.001 }, inbound: { loss: 0.001 } },
    loses: true,
  },
  // In a daemon the file has its size soon, and what follows is lost: at such rates most of it is, in any case.
  { name: 'mirror', use: 'mirror', options: { file: 'mirror.pcapng', max_bytes: 2 ** 28 }, keeps: 2048 },
  { name: 'trace', use: 'trace', options: {} },
];

export const FRAME_ENTRIES: readonly FrameEntry[] = ALL.filter(({ use }) => use in NET_FILTERS);
