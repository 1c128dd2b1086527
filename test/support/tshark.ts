/** What Wireshark's own reader makes of a capture. */
import { spawnSync } from 'node:child_process';

/** Why there is no tshark, or false. */
export const noTshark =
  spawnSync('tshark', ['--version']).error === undefined ? false : 'tshark is not installed (see scripts/setup.mjs)';

/** A packet as tshark shows it. */
export interface PacketRead {
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  /** Its length on the wire, and what the file has of it. */
  readonly byteLength: number;
  readonly bytes: Buffer;
  readonly interfaceName: string;
  readonly direction: 'inbound' | 'outbound' | undefined;
}

const DIRECTIONS: Record<string, PacketRead['direction']> = { '0x00000001': 'inbound', '0x00000002': 'outbound' };

interface JsonPacket {
  readonly _source: {
    readonly layers: {
      readonly frame: Record<string, string> & {
        readonly 'frame.interface_id_tree': Record<string, string>;
        readonly 'frame.packet_flags_tree'?: Record<string, string>;
      };
      readonly frame_raw: readonly [hex: string];
    };
  };
}

/** All packets of a file; throws if tshark finds anything wrong with it. */
export function readPackets(file: string): PacketRead[] {
  const packets = JSON.parse(tshark('-r', file, '-T', 'json', '-x')) as JsonPacket[];
  return packets.map(({ _source: { layers } }) => {
    const { frame, frame_raw: raw } = layers;
    const [seconds, nanoseconds] = frame['frame.time_epoch']!.split('.') as [string, string];
    return {
      time: BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds),
      byteLength: Number(frame['frame.len']),
      bytes: Buffer.from(raw[0], 'hex'),
      interfaceName: frame['frame.interface_id_tree']['frame.interface_name']!,
      direction: DIRECTIONS[frame['frame.packet_flags_tree']?.['frame.packet_flags_direction'] ?? ''],
    };
  });
}

/** What the file says of the capture at its end: each exactly once, or undefined. */
export function readStatistics(file: string) {
  const field = (name: string) => ['-e', `pcapng.options.option.data.${name}`];
  const names = ['interface.received', 'interface.dropped', 'interface.delivered_to_user', 'comment'];
  const options = ['-X', 'read_format:MIME Files Format', '-T', 'fields', ...names.flatMap(field)];
  const [received, dropped, written, comment] = tshark('-r', file, ...options)
    .replace('\n', '')
    .split('\t');
  if (received === '') return undefined;
  return { received: Number(received), dropped: Number(dropped), written: Number(written), comment };
}

function tshark(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('tshark', ['-n', ...args], { encoding: 'utf8', maxBuffer: 2 ** 30 });
  const complaints = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('Running as user "root"'));
  if (status !== 0 || complaints.length > 0) throw new Error(`tshark ended with ${status}: ${complaints.join('\n')}`);
  return stdout;
}
