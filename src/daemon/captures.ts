import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { SidecoreError } from '../errors.js';
import { CAPTURE_END_MS_MAX, CAPTURES_MAX } from '../limits.js';
import { Capture, type CaptureOptions, type CaptureTarget } from './capture.js';

/** Header of the answer: by what number the capture can be ended. */
export const CAPTURE_ID_HEADER = 'sidecore-capture';

interface Running {
  readonly capture: Capture;
  /** Never rejects. */
  readonly done: Promise<void>;
}

/** All captures that run, at most one of a card. */
export class Captures {
  readonly #log: Logger;
  readonly #running = new Map<number, Running>();
  #nextId = 1;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Captures and answers a request with it. Resolves at its end; throws, and has answered nothing, if it cannot begin. */
  async run(target: CaptureTarget, options: CaptureOptions, response: ServerResponse): Promise<void> {
    const { label } = target;
    this.#requireRoom(label);
    const id = this.#nextId++;
    const capture = new Capture(target, options, response);
    const head = { 'content-type': 'application/x-pcapng', [CAPTURE_ID_HEADER]: String(id) };
    const run = capture.run(head);
    this.#running.set(id, { capture, done: run.catch(() => {}) });
    this.#log.info({ device: label }, `${label}: is captured`);
    try {
      await run;
    } finally {
      this.#running.delete(id);
      const { frames, dropped } = capture;
      this.#log.info({ device: label }, `${label}: is captured no more: ${frames} frames, ${dropped} dropped`);
    }
  }

  /** Ends a capture; nothing happens if it has ended. */
  end(id: number): void {
    this.#running.get(id)?.capture.end();
  }

  /** Ends all of them, and waits a while for those who read them. */
  async stop(): Promise<void> {
    const running = [...this.#running.values()];
    for (const { capture } of running) capture.end('the daemon stopped');
    const timer = setTimeout(() => {
      for (const { capture } of running) capture.abandon();
    }, CAPTURE_END_MS_MAX);
    await Promise.all(running.map(({ done }) => done));
    clearTimeout(timer);
  }

  #requireRoom(label: string): void {
    const running = [...this.#running.values()];
    const busy = (what: string, remedy: string) => new SidecoreError('CAPTURE_BUSY', what, remedy);
    if (running.some(({ capture }) => capture.target.label === label))
      throw busy(`${label} is being captured already`, 'End that capture first, or read what it writes.');
    if (running.length >= CAPTURES_MAX)
      throw busy(`${CAPTURES_MAX} cards are being captured already`, 'End one of these captures first.');
  }
}
