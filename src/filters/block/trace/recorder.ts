import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, SidecoreError } from '../../../errors.js';
import { nowNs } from '../../../host/clock.js';
import { TRACE_FILE_BYTES } from '../../../limits.js';
import { FioLog, FORMATS, type Format, type FormatParts, formatOf, isFileName, type TraceFormat } from './formats.js';
import type { TraceMemory } from './memory.js';
import { TraceReader } from './reader.js';

/** Records that are made text at once: about a millisecond of the main thread. */
const PIECE_RECORDS = 1000;
/** Pause between two looks of who follows, ms. */
const LOOK_MS = 100;

type Given = Readonly<Record<string, string>>;

interface Following {
  readonly file: string;
  readonly format: Format;
  readonly reader: TraceReader;
  ended: Promise<void>;
  /** What is written, and may be at most, bytes. */
  bytes: number;
  readonly bytesMax: number;
  stopped: boolean;
  error: string | null;
}

/** The trace of one disk on the main thread: what operators ask of it. */
export class TraceRecorder {
  readonly #memory: TraceMemory;
  readonly #parts: FormatParts;
  readonly #base: string;
  #following: Following | undefined;

  /** @param base - folder from which files start */
  constructor(memory: TraceMemory, { vm, device, base }: { vm: string; device: string; base: string }) {
    this.#memory = memory;
    this.#base = base;
    this.#parts = { vm, device, epochS: (Date.now() - nowNs() / 1e6) / 1000 };
  }

  start() {
    this.#memory.recording = true;
    return this.status();
  }

  /** Nothing is recorded any more, and nothing followed. */
  async stop() {
    this.#memory.recording = false;
    await this.#endFollowing();
    return this.status();
  }

  /** Writes all that the rings have. Returns when it is done. */
  async export(given: Given) {
    const { file, format } = this.#target(given, ['file', 'format', 'name']);
    const reader = new TraceReader(this.#memory);
    const handle = await openNew(file);
    try {
      const text = this.#textOf(format, given);
      await write(handle, text.head);
      for (let more = true; more; ) {
        const piece = this.#piece(reader, text, true);
        await write(handle, piece.text);
        more = piece.more;
      }
      await write(handle, text.tail());
    } finally {
      await handle.close();
    }
    return { file, format, ...countsOf(reader) };
  }

  /** Writes what is recorded from now on, as it comes: until it is stopped, or for some time. */
  async follow(given: Given) {
    const { file, format } = this.#target(given, ['file', 'format', 'name', 'seconds', 'max_bytes']);
    const seconds = given['seconds'] === undefined ? Number.POSITIVE_INFINITY : Number(given['seconds']);
    if (!(seconds > 0)) throw invalid('seconds', 'is a number of seconds');
    const bytesMax = Number(given['max_bytes'] ?? TRACE_FILE_BYTES);
    if (!(bytesMax > 0)) throw invalid('max_bytes', 'is a number of bytes');
    if (this.#following !== undefined && !this.#following.stopped)
      throw invalid('file', 'is followed already: stop that first');
    const handle = await openNew(file);
    const from = Array.from({ length: this.#memory.queues }, (_, queue) => this.#memory.next(queue));
    this.#memory.recording = true;
    const following: Following = {
      file,
      format,
      reader: new TraceReader(this.#memory, from),
      bytes: 0,
      bytesMax,
      stopped: false,
      error: null,
      ended: Promise.resolve(),
    };
    following.ended = this.#keepFollowing(following, handle, this.#textOf(format, given), seconds);
    this.#following = following;
    return { file, format };
  }

  async #keepFollowing(following: Following, handle: FileHandle, text: TraceFormat, seconds: number): Promise<void> {
    const end = performance.now() + 1000 * seconds;
    try {
      await write(handle, text.head);
      while (!following.stopped) {
        // Whoever is behind does not pause.
        if (await this.#copyPiece(following, handle, text, false)) continue;
        const left = end - performance.now();
        if (left <= 0) break;
        await sleep(Math.min(LOOK_MS, left));
      }
      while (await this.#copyPiece(following, handle, text, true));
      await write(handle, text.tail());
    } catch (error) {
      following.error = messageOf(error);
    } finally {
      following.stopped = true;
      await handle.close();
    }
  }

  /**
   * A piece of what there is, as text, and where the next begins: for whoever asks again and again. Without `cursor` it begins with what
   * comes from now on, or with `from=oldest` with the oldest record. `end=yes` gives also what has not ended, and the end of the text.
   */
  read(given: Given) {
    const { format } = this.#target(given, ['format', 'name', 'cursor', 'from', 'end'], false);
    const cursor = given['cursor'] === undefined ? undefined : parseCursor(given['cursor'], this.#memory.queues);
    const now = Array.from({ length: this.#memory.queues }, (_, queue) => this.#memory.next(queue));
    const from = cursor?.position ?? (given['from'] === 'oldest' ? undefined : now);
    const reader = new TraceReader(this.#memory, from);
    const text = this.#textOf(format, given, cursor);
    const ends = given['end'] === 'yes';
    let out = cursor === undefined ? text.head : '';
    const take = (record: Parameters<TraceFormat['line']>[0]) => {
      out += text.line(record);
    };
    const more = reader.read(PIECE_RECORDS, nowNs(), ends, take) === PIECE_RECORDS;
    if (ends && !more) out += text.tail();
    const times = text instanceof FioLog ? text.times : [-1, 0];
    return { text: out, cursor: `${times.join(',')};${reader.position.join(',')}`, more, ...countsOf(reader) };
  }

  status() {
    const { recording, queues, size } = this.#memory;
    const following = this.#following;
    return {
      recording,
      records_kept: Array.from({ length: queues }, (_, queue) => Math.min(size, this.#memory.next(queue))).reduce(
        (sum, count) => sum + count,
        0,
      ),
      following:
        following === undefined
          ? null
          : {
              file: following.file,
              format: following.format,
              ended: following.stopped,
              error: following.error,
              ...countsOf(following.reader),
            },
    };
  }

  async close(): Promise<void> {
    await this.#endFollowing();
  }

  async #endFollowing(): Promise<void> {
    if (this.#following === undefined) return;
    this.#following.stopped = true;
    await this.#following.ended;
  }

  /** A piece, as long as the file may grow. True if there may be more. */
  async #copyPiece(following: Following, handle: FileHandle, format: TraceFormat, all: boolean): Promise<boolean> {
    if (following.error !== null) return false;
    const { text, more } = this.#piece(following.reader, format, all);
    following.bytes += text.length;
    if (following.bytes > following.bytesMax) {
      following.error = `the file has its ${following.bytesMax} bytes`;
      following.stopped = true;
      return false;
    }
    await write(handle, text);
    return more;
  }

  #piece(reader: TraceReader, format: TraceFormat, all: boolean): { text: string; more: boolean } {
    const lines: string[] = [];
    const count = reader.read(PIECE_RECORDS, nowNs(), all, (record) => lines.push(format.line(record)));
    return { text: lines.join(''), more: count === PIECE_RECORDS };
  }

  #target(given: Given, keys: readonly string[], toFile = true): { file: string; format: Format } {
    for (const key of Object.keys(given))
      if (!keys.includes(key)) throw invalid(key, `is not known: ${keys.join(', ')}`);
    const { file = '', format = 'jsonl', name = 'any' } = given;
    if (!FORMATS.includes(format as Format)) throw invalid('format', `is ${FORMATS.join(' or ')}`);
    if (!isFileName(name)) throw invalid('name', 'has no spaces, and at most 255 bytes');
    if (toFile && file === '') throw invalid('file', 'says where to');
    return { file: resolve(this.#base, file), format: format as Format };
  }

  #textOf(format: Format, given: Given, cursor?: Cursor): TraceFormat {
    return formatOf(format, { ...this.#parts, fileName: given['name'], ...cursor });
  }
}

const countsOf = ({ records, lost, unfinished }: TraceReader) => ({ records, lost, unfinished });

const invalid = (key: string, text: string) => new SidecoreError('CONFIG_INVALID', `${key} ${text}`);

/** Where a text goes on. */
interface Cursor {
  readonly originNs: number;
  readonly lastUs: number;
  readonly position: readonly number[];
}

function parseCursor(text: string, queues: number): Cursor {
  const [[originNs, lastUs, ...more] = [], position = []] = text.split(';').map((part) => part.split(',').map(Number));
  const good =
    more.length === 0 && position.length === queues && [originNs, lastUs, ...position].every(Number.isFinite);
  if (!good) throw invalid('cursor', 'is not what the last answer said');
  return { originNs: originNs!, lastUs: lastUs!, position };
}

async function openNew(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx');
  } catch (error) {
    throw new SidecoreError('CONFIG_INVALID', `cannot make ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

async function write(handle: FileHandle, text: string): Promise<void> {
  if (text !== '') await handle.appendFile(text);
}
