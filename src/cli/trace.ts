import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import type { ListedDevice } from '../daemon/filter-changes.js';
import { SidecoreError } from '../errors.js';
import { CAPTURE_SECONDS_MAX } from '../limits.js';
import { OutputFile } from './capture-output.js';
import { deviceLabel } from './device-label.js';
import { helpText } from './help-text.js';
import { onStopSignal } from './stop-signals.js';

const STDOUT = '-';
/** The filter that has the records. */
const FILTER = 'trace';
/** Pause when there was nothing new, ms. */
const PAUSE_MS = 100;

interface TraceCommandOptions {
  readonly format: string;
  readonly out: string;
  readonly seconds?: number;
  readonly fileName?: string;
  readonly runDir: string;
}

/** What the filter answers to `read`; its counts are those of the piece. */
interface Piece {
  readonly text: string;
  readonly cursor: string;
  readonly more: boolean;
  readonly records: number;
  readonly lost: number;
  readonly unfinished: number;
}

export const traceCommand = new Command('trace')
  .description('Show what a disk is asked for, request by request, until Ctrl-C.')
  .argument('<vm/disk>', 'which disk', deviceLabel('DISK'))
  .addOption(
    new Option('-f, --format <format>', 'JSON lines, or what `fio --read_iolog` replays')
      .choices(['jsonl', 'fio'])
      .default('jsonl'),
  )
  .option('-o, --out <file>', 'where to; - is standard output', STDOUT)
  .option('--seconds <seconds>', 'end after so long', seconds)
  .option('--file-name <name>', 'format fio: the file or device that the replay is to use (default: VM-DISK)')
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .addHelpText(
    'after',
    helpText(`
Examples:
  sidecore trace web1/root | jq -c 'select(.latency_ns > 1e6)'
  sidecore trace web1/root -f fio -o web1.fio --seconds 60
  fio --name=replay --read_iolog=web1.fio --replay_redirect=/dev/nvme0n1 --ioengine=io_uring --direct=1

A disk that has no filter \`trace\` gets one for that time, nearest to its guest.`),
  )
  .action(trace);

async function trace(disk: string, { format, out, seconds, fileName, runDir }: TraceCommandOptions): Promise<void> {
  const socket = controlSocketPath(runDir);
  const post = <T>(what: string, body: object) => askDaemon<T>(socket, 'POST', `/filters/${what}`, body);
  const ask = async <T>(command: string, given: object = {}) => {
    const { answer } = await post<{ answer: T }>('ask', { device: disk, which: FILTER, command, given });
    return answer;
  };
  let stopped = false;
  const aborter = new AbortController();
  onStopSignal(() => {
    stopped = true;
    aborter.abort();
  });
  const { devices } = await post<{ devices: ListedDevice[] }>('list', { device: disk });
  if (devices[0]!.kind === 'frame') {
    const remedy = `For its frames: \`sidecore capture ${disk}\`; or its filter \`trace\`, with \`sidecore filter ask\`.`;
    throw new SidecoreError('CONFIG_INVALID', `${disk} is a network card, and only disks are traced`, remedy);
  }
  const isThere = devices[0]!.filters.some(({ name }) => name === FILTER);
  if (!isThere) await post('add', { device: disk, filter: { use: FILTER }, at: 0, base: process.cwd() });
  const sum = { records: 0, lost: 0, unfinished: 0 };
  try {
    if (isThere) await ask('start');
    // Later than the question: who mistypes a name keeps the file.
    const output = out === STDOUT ? undefined : new OutputFile(out);
    process.stderr.write(`sidecore: traces ${disk}${seconds === undefined ? '; Ctrl-C ends it' : ''}\n`);
    const end = performance.now() + 1000 * (seconds ?? Number.POSITIVE_INFINITY);
    const given = { format, ...(fileName === undefined ? {} : { name: fileName }) };
    let cursor: string | undefined;
    for (let last = false, done = false; !done; ) {
      const piece: Piece = await ask('read', {
        ...given,
        ...(cursor === undefined ? {} : { cursor }),
        ...(last ? { end: 'yes' } : {}),
      });
      cursor = piece.cursor;
      for (const key of ['records', 'lost', 'unfinished'] as const) sum[key] += piece[key];
      await (output === undefined ? print(piece.text) : output.write(Buffer.from(piece.text)));
      if (last) done = !piece.more;
      else if (stopped || performance.now() >= end) last = true;
      else if (!piece.more) await pause(Math.min(PAUSE_MS, end - performance.now()), aborter.signal);
    }
    output?.close();
  } finally {
    if (!isThere) await post('remove', { device: disk, which: FILTER });
  }
  const { records, lost, unfinished } = sum;
  const more = unfinished === 0 ? '' : `; of ${unfinished} it is not known how they ended`;
  process.stderr.write(`sidecore: ${records} requests, ${lost} lost${more}\n`);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => {});
}

const print = (text: string) => new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));

function seconds(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= CAPTURE_SECONDS_MAX) return value;
  throw new InvalidArgumentError(`Write seconds, up to ${CAPTURE_SECONDS_MAX}.`);
}
