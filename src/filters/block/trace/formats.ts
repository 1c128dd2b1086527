import { RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import type { TraceRecord } from './memory.js';

export const FORMATS = ['jsonl', 'fio'] as const;
export type Format = (typeof FORMATS)[number];

/** Texts of records. */
export interface TraceFormat {
  readonly head: string;
  /** Empty if it has no way to say this. */
  line(record: TraceRecord): string;
  /** After the last. */
  tail(): string;
}

export interface FormatParts {
  readonly vm: string;
  readonly device: string;
  /** Time since 1970 at monotonic zero, s. */
  readonly epochS: number;
  /** The file that a replay is to use. */
  readonly fileName?: string | undefined;
  /** Of a text that goes on: time of its first record, ns, negative if there was none yet; and of its last, us after that. */
  readonly originNs?: number | undefined;
  readonly lastUs?: number | undefined;
}

const TYPES: Readonly<Record<number, string>> = {
  [RequestType.IN]: 'read',
  [RequestType.OUT]: 'write',
  [RequestType.FLUSH]: 'flush',
  [RequestType.DISCARD]: 'discard',
  [RequestType.WRITE_ZEROES]: 'write_zeroes',
  [RequestType.SECURE_ERASE]: 'secure_erase',
};
const STATUSES: Readonly<Record<number, string>> = {
  [Status.OK]: 'ok',
  [Status.IOERR]: 'error',
  [Status.UNSUPP]: 'unsupported',
};

/** One object a line. Times in seconds since 1970; `up`, `status` and `latency_ns` are null if it is not known how the request ended. */
export class JsonLines implements TraceFormat {
  readonly head = '';
  readonly #parts: FormatParts;

  constructor(parts: FormatParts) {
    this.#parts = parts;
  }

  line(record: TraceRecord): string {
    const { vm, device, epochS } = this.#parts;
    const { queue, type, status, downNs, upNs, sector, bytes, durable, range, ranges } = record;
    const time = (ns: number) => Number((epochS + ns / 1e9).toFixed(6));
    const ended = status !== undefined;
    return `${JSON.stringify({
      down: time(downNs),
      up: ended ? time(upNs) : null,
      vm,
      disk: device,
      queue,
      type: TYPES[type] ?? type,
      sector,
      bytes,
      ...(durable && type === RequestType.OUT ? { durable } : {}),
      ...(ranges > 1 ? { range, ranges } : {}),
      status: ended ? (STATUSES[status] ?? status) : null,
      latency_ns: ended ? Math.round(upNs - downNs) : null,
    })}\n`;
  }

  tail(): string {
    return '';
  }
}

/**
 * What `fio --read_iolog` takes, version 3: microseconds since the first record, file, action, offset and length in bytes. Requests that
 * have failed are among them, since the guest has made them. fio's HOWTO, "Trace file format".
 */
export class FioLog implements TraceFormat {
  readonly #fileName: string;
  #originNs: number;
  #last: number;

  constructor({ vm, device, fileName, originNs = -1, lastUs = 0 }: FormatParts) {
    this.#fileName = fileName ?? `${vm}-${device}`;
    this.#originNs = originNs;
    this.#last = lastUs;
  }

  /** For one that goes on. */
  get times(): readonly [originNs: number, lastUs: number] {
    return [this.#originNs, this.#last];
  }

  get head(): string {
    return `fio version 3 iolog\n0 ${this.#fileName} add\n0 ${this.#fileName} open\n`;
  }

  line({ type, downNs, sector, bytes }: TraceRecord): string {
    if (this.#originNs < 0) this.#originNs = downNs;
    const action = ACTIONS[type];
    if (action === undefined || (bytes === 0 && type !== RequestType.FLUSH)) return '';
    const us = Math.max(this.#last, Math.round((downNs - this.#originNs) / 1000));
    this.#last = us;
    const offset = type === RequestType.FLUSH ? 0 : sector * SECTOR_BYTES;
    return `${us} ${this.#fileName} ${action} ${offset} ${type === RequestType.FLUSH ? 0 : bytes}\n`;
  }

  tail(): string {
    return `${this.#last} ${this.#fileName} close\n`;
  }
}

/** fio zeroes nothing: what was to be zeroed is written. */
const ACTIONS: Readonly<Record<number, string>> = {
  [RequestType.IN]: 'read',
  [RequestType.OUT]: 'write',
  [RequestType.FLUSH]: 'sync',
  [RequestType.DISCARD]: 'trim',
  [RequestType.WRITE_ZEROES]: 'write',
  [RequestType.SECURE_ERASE]: 'trim',
};

export const formatOf = (format: Format, parts: FormatParts): TraceFormat =>
  format === 'fio' ? new FioLog(parts) : new JsonLines(parts);

/** A name that fio can read back: it separates by spaces, and has room for 256 bytes. */
export const isFileName = (name: string): boolean => /^\S{1,255}$/.test(name) && Buffer.byteLength(name) <= 255;
