import { Command, InvalidArgumentError } from 'commander';
import { CAPTURE_ID_HEADER } from '../daemon/captures.js';
import { askDaemon, streamFromDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { SidecoreError } from '../errors.js';
import { CAPTURE_FRAMES_MAX, CAPTURE_SECONDS_MAX, CAPTURE_SNAP_BYTES_MAX } from '../limits.js';
import { BlockCutter } from '../net/capture/block-cutter.js';
import { type CaptureOutput, OutputFile, StandardOutput } from './capture-output.js';
import { deviceLabel } from './device-label.js';
import { helpText } from './help-text.js';
import { onStopSignal } from './stop-signals.js';

const STDOUT = '-';

interface CaptureCommandOptions {
  readonly write: string;
  readonly snapBytes?: number;
  readonly count?: number;
  readonly seconds?: number;
  readonly runDir: string;
}

export const captureCommand = new Command('capture')
  .description('Record what a network card sends and receives, for Wireshark, tshark or tcpdump, until Ctrl-C.')
  .argument('<vm/nic>', 'which card', deviceLabel('NIC'))
  .requiredOption('-w, --write <file>', 'where to, in pcapng; - is standard output', outputFile)
  .option('-s, --snap-bytes <bytes>', 'keep so much of each frame (default: all of it)', snapBytes)
  .option('-c, --count <frames>', 'end after so many', count)
  .option('--seconds <seconds>', 'end after so long', seconds)
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .addHelpText(
    'after',
    helpText(`
Examples:
  sidecore capture web1/net0 -w web1.pcapng
  sidecore capture web1/net0 -w - -s 128 | tshark -r -
  sidecore capture web1/net0 -w - | wireshark -k -i -

Other ports of a network are not captured; for a TAP device: tcpdump -i DEVICE`),
  )
  .action(capture);

async function capture(nic: string, options: CaptureCommandOptions): Promise<void> {
  const { write, snapBytes = CAPTURE_SNAP_BYTES_MAX, count: frames, seconds } = options;
  const socket = controlSocketPath(options.runDir);
  const standard = write === STDOUT ? new StandardOutput() : undefined;
  const incoming = await streamFromDaemon(socket, '/capture', { nic, snapBytes, frames, seconds });
  const end = () => {
    const id = Number(incoming.headers[CAPTURE_ID_HEADER]);
    askDaemon(socket, 'POST', '/capture/end', { id }).catch((error) => incoming.destroy(error));
  };
  // If a later signal ends the process at once, the daemon ends the capture.
  onStopSignal(end);
  const blocks = new BlockCutter();
  try {
    // Later than the question: who mistypes a name keeps the file.
    const output = standard ?? new OutputFile(write);
    process.stderr.write(`sidecore: captures ${nic}${seconds === undefined ? '; Ctrl-C ends it' : ''}\n`);
    await copy(incoming, blocks, output);
    output.close();
    process.stderr.write(summary(blocks));
  } finally {
    incoming.destroy();
  }
  if (blocks.statistics !== undefined) return;
  const what = `the daemon was lost while it captured ${nic}`;
  throw new SidecoreError('DAEMON_UNREACHABLE', what, 'What came until then was written.');
}

/** Copies whole blocks to the end of the capture, or until the daemon is lost. */
async function copy(incoming: AsyncIterable<Buffer>, blocks: BlockCutter, output: CaptureOutput): Promise<void> {
  try {
    for await (const bytes of incoming) await output.write(blocks.push(bytes));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
  }
}

function summary({ packets, statistics }: BlockCutter): string {
  const frames = `${packets} ${packets === 1 ? 'frame' : 'frames'} captured`;
  if (statistics === undefined) return `sidecore: ${frames}\n`;
  const { dropped, comment } = statistics;
  return `sidecore: ${frames}, ${dropped} dropped${comment === undefined ? '' : `; ${comment}`}\n`;
}

function outputFile(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('Name a file, or - for standard output.');
}

function whole(text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new InvalidArgumentError(`Write a whole number from ${least} to ${most}.`);
}

function snapBytes(text: string): number {
  return whole(text, 0, CAPTURE_SNAP_BYTES_MAX) || CAPTURE_SNAP_BYTES_MAX;
}

function count(text: string): number {
  return whole(text, 1, CAPTURE_FRAMES_MAX);
}

function seconds(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= CAPTURE_SECONDS_MAX) return value;
  throw new InvalidArgumentError(`Write seconds, up to ${CAPTURE_SECONDS_MAX}.`);
}
