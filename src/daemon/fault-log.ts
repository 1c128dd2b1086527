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
  readonly #logged = new Map<string, { at: number; unsaid: number }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @param times - how many faults the text tells of */
  add(code: ErrorCode, text: string, times = 1): void {
    this.counts[code] = (this.counts[code] ?? 0) + times;
    this.last = { code, text, at: new Date().toISOString() };
    this.#say('warn', code, `${text} [${code}]`, times);
  }

  /** What is no fault, and yet a front end's doing: it is logged as rarely. */
  note(kind: string, text: string): void {
    this.#say('info', kind, text, 1);
  }

  #say(level: 'warn' | 'info', kind: string, text: string, times: number): void {
    const now = Date.now();
    const before = this.#logged.get(kind);
    if (before !== undefined && now - before.at < LOG_PAUSE_MS) {
      before.unsaid += times;
      return;
    }
    const more = before === undefined || before.unsaid === 0 ? '' : ` (and ${before.unsaid} more of these before)`;
    this.#logged.set(kind, { at: now, unsaid: 0 });
    this.#log[level](level === 'warn' ? { code: kind } : {}, `${text}${more}`);
  }
}
