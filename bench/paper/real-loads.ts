/** What real guests are made to do: a script each, and what its output says. */

/** What one guest has measured itself. */
export interface GuestResult {
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  /** Mean of a request with one in flight, ns; undefined where the tool does not say. */
  readonly latencyNs?: number;
}

export interface RealLoad {
  readonly key: 'block' | 'stream' | 'ping';
  readonly title: string;
  /** What a request is, for kicks and calls: what the daemon counts. */
  readonly request: string;
  readonly stream: boolean;
  /** @param port - of the partner's servers, one for each guest */
  script(seconds: number, partner: string, port: number): string;
  read(output: string, seconds: number): GuestResult;
}

/** Before the guest's kernel is asked what it has done so far, s. */
const BLOCK_WARM_UP_S = 0.5;
/** Of each read, bytes. */
const BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;

/** The kernel's counters of a disk and its clock. Linux, Documentation/block/stat: reads, merged, sectors, ms in which they waited. */
const COUNTERS = 'cat /sys/block/vda/stat /proc/uptime';

/** What two looks at `COUNTERS` say. Exported for its test. */
export function readBlock(output: string): GuestResult {
  const rows = output
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const [before, start, after, end] = rows;
  if (rows.length !== 4 || rows.flat().some(Number.isNaN))
    throw new Error(`the guest's counters are no such: ${output}`);
  const seconds = end![0]! - start![0]!;
  const [reads, , sectors, waitedMs] = after!.map((value, i) => value - before![i]!);
  return {
    perSecond: reads! / seconds,
    bytesPerSecond: (sectors! * SECTOR_BYTES) / seconds,
    latencyNs: (waitedMs! * 1e6) / Math.max(1, reads!),
  };
}

/** What iperf3 -J says, as far as it is read. */
interface IperfReport {
  readonly error?: string;
  readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
}

export function readStream(output: string): GuestResult {
  const { error, end } = JSON.parse(output) as IperfReport;
  const bits = end?.sum_received?.bits_per_second;
  if (error !== undefined || bits === undefined)
    throw new Error(`iperf3: ${error ?? 'says nothing of what was received'}`);
  return { perSecond: bits / 8 / PACKET_BYTES, bytesPerSecond: bits / 8 };
}

/** A full packet: only that requests/s has a meaning for streams too. */
const PACKET_BYTES = 1500;
const PING_BYTES = 56;

export function readPing(output: string, seconds: number): GuestResult {
  const received = Number(/(\d+) packets received/.exec(output)?.[1]);
  const averageMs = Number(/min\/avg\/max = [\d.]+\/([\d.]+)\//.exec(output)?.[1]);
  if (!(received > 0) || Number.isNaN(averageMs)) throw new Error(`ping has no answer: ${output}`);
  const perSecond = received / seconds;
  return { perSecond, bytesPerSecond: perSecond * PING_BYTES, latencyNs: averageMs * 1e6 };
}

export const REAL_LOADS: readonly RealLoad[] = [
  {
    key: 'block',
    title: 'Block: reads of 4 KiB, depth 1 (dd, O_DIRECT)',
    request: 'a read',
    stream: false,
    script: (seconds) =>
      [
        `(while :; do dd if=/dev/vda of=/dev/null bs=${BLOCK_BYTES} iflag=direct 2> /dev/null; done) & loop=$!`,
        `sleep ${BLOCK_WARM_UP_S}; ${COUNTERS}; sleep ${seconds}; ${COUNTERS}`,
        'kill $loop; killall dd; wait 2> /dev/null; true',
      ].join('\n'),
    read: readBlock,
  },
  {
    key: 'ping',
    title: 'Network: request and response (ping, one in flight)',
    request: 'a question with its answer',
    stream: false,
    script: (seconds, partner) => `ping -A -q -w ${seconds} ${partner}`,
    read: readPing,
  },
  {
    key: 'stream',
    title: 'Network: TCP stream (iperf3)',
    request: 'a packet that the guest has sent, up to 64 KiB',
    stream: true,
    // A server that is still busy with the client before says so, and is asked again.
    script: (seconds, partner, port) =>
      [
        `run() { iperf3 -J -c ${partner} -p ${port} -t ${seconds} -O 0.3 > /tmp/iperf; }`,
        'run || { sleep 1; run; } || true',
        'cat /tmp/iperf',
      ].join('\n'),
    read: readStream,
  },
];
