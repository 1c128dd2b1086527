import type { Logger } from 'pino';
import type { ErrorCode } from '../errors.js';

/** Pause between two log lines about one kind of fault of one device, ms: a guest cannot write our log. */
const LOG_PAUSE_MS = 10_000;

/** The faults of one device: all are counted, few are logged. */
export class FaultLog {
  readonly counts: Partial<Record<ErrorCode, number>> = {};
  /** The last fault, for `status`. */
  last: { code: ErrorCode; text: string; at: string } | undefined;
  readonly #log: Logger;
  readonly #logged = new Map<ErrorCode, { at: number; unsaid: number }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  add(code: ErrorCode, text: string): void {
    this.counts[code] = (this.counts[code] ?? 0) + 1;
    this.last = { code, text, at: new Date().toISOString() };
    const now = Date.now();
    const before = this.#logged.get(code);
    if (before !== undefined && now - before.at < LOG_PAUSE_MS) {
      before.unsaid++;
      return;
    }
    const more = before === undefined || before.unsaid === 0 ? '' : ` (and ${before.unsaid} more of these before)`;
    this.#logged.set(code, { at: now, unsaid: 0 });
    this.#log.warn({ code }, `${text} [${code}]${more}`);
  }
}
