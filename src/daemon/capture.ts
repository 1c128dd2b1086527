import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { CAPTURE_SNAP_BYTES_MAX } from '../limits.js';
import { CaptureReader } from '../net/capture/capture-reader.js';
import { createCaptureRing } from '../net/capture/capture-ring.js';
import {
  interfaceDescription,
  interfaceStatistics,
  type Moment,
  now,
  PACKET_BLOCK_BYTES,
  sectionHeader,
  writePacket,
} from '../net/capture/pcapng.js';
import type { CaptureSpec } from '../sidecore/messages.js';
import { version } from './version.js';

/** Pause between two looks into a ring that was empty, ms. */
const LOOK_MS = 5;
/** What is taken from a ring before the control plane gets its turn, bytes; and room for it, and for the frame that is one too many. */
const CHUNK_BYTES = 2 ** 18;
const CHUNK_BYTES_MAX = CHUNK_BYTES + PACKET_BLOCK_BYTES + CAPTURE_SNAP_BYTES_MAX;

/** What is captured: a network card, wherever it is served. */
export interface CaptureTarget {
  /** "VM/card" */
  readonly label: string;
  /** Has what passes it recorded. */
  capture(spec: Omit<CaptureSpec, 'port'>): Promise<void>;
  /** Ends that; resolves when nothing more is recorded. */
  uncapture(): Promise<void>;
}

export interface CaptureOptions {
  /** Most that is kept of a frame. */
  readonly snapBytes: number;
  /** It ends after so many frames, and after so many seconds. */
  readonly frames?: number | undefined;
  readonly seconds?: number | undefined;
}

/** One capture: takes what a sidecore records of a port, and sends it to whoever asked, as pcapng. */
export class Capture {
  readonly target: CaptureTarget;
  /** Frames that were sent. */
  frames = 0;
  readonly #options: CaptureOptions;
  readonly #response: ServerResponse;
  readonly #ring = createCaptureRing();
  readonly #reader = new CaptureReader(this.#ring);
  readonly #chunk = Buffer.alloc(CHUNK_BYTES_MAX);
  #comment: string | undefined;
  /** It was told to end: settled when nothing more is recorded. */
  #uncaptured: Promise<void> | undefined;
  /** When that was. */
  #ended: Moment | undefined;

  constructor(target: CaptureTarget, options: CaptureOptions, response: ServerResponse) {
    this.target = target;
    this.#options = options;
    this.#response = response;
  }

  /** Frames that passed while there was no room for them. */
  get dropped(): number {
    return this.#reader.dropped;
  }

  /** Captures until it is told to end, has what was asked for, or nobody reads it any more. */
  async run(head: Record<string, string>): Promise<void> {
    const { label } = this.target;
    const { snapBytes, seconds } = this.#options;
    const response = this.#response;
    await this.target.capture({ ring: this.#ring, snapBytes });
    const began = now();
    response.writeHead(200, head);
    response.write(Buffer.concat([sectionHeader(`Sidecore ${version}`), interfaceDescription(label, snapBytes)]));
    const timer = seconds === undefined ? undefined : setTimeout(() => this.end(), 1000 * seconds);
    while (!response.destroyed) {
      const last = this.#ended !== undefined;
      if (await this.#pass()) continue;
      if (last) break;
      await sleep(LOOK_MS);
    }
    clearTimeout(timer);
    this.end();
    await this.#uncaptured;
    const { recorded, dropped } = this.#reader;
    const counts = { received: recorded + dropped, dropped, written: this.frames, comment: this.#comment };
    response.end(interfaceStatistics({ began, ended: this.#ended ?? began, ...counts }));
  }

  /**
   * No more frames are recorded; what was recorded is still sent.
   *
   * @param comment - for whoever reads it: why, if it was not asked for
   */
  end(comment?: string): void {
    if (this.#uncaptured !== undefined) return;
    this.#comment = comment;
    this.#uncaptured = this.target.uncapture().then(() => {
      this.#ended = now();
    });
  }

  /** What was not sent by now is lost. */
  abandon(): void {
    this.#response.destroy();
  }

  /** Sends some of what was recorded, once the reader has room for more; false if there is nothing. */
  async #pass(): Promise<boolean> {
    const response = this.#response;
    const bytes = this.#take();
    if (bytes === 0) return false;
    // A copy: the response keeps it until it is sent.
    if (response.write(Buffer.from(this.#chunk.subarray(0, bytes)))) await turn();
    else if (!response.destroyed) await drained(response);
    return true;
  }

  /** Fills the chunk. Returns how many bytes there are in it. */
  #take(): number {
    const { frames: framesMax = Number.POSITIVE_INFINITY } = this.#options;
    let bytes = 0;
    while (bytes < CHUNK_BYTES && this.frames < framesMax) {
      const frame = this.#reader.next();
      if (frame === undefined) break;
      bytes = writePacket(this.#chunk, bytes, frame);
      this.frames++;
    }
    this.#reader.release();
    if (this.frames >= framesMax) this.end();
    return bytes;
  }
}

/** Waits until a response takes more, or is not read any more. */
async function drained(response: ServerResponse): Promise<void> {
  const waiting = new AbortController();
  const { signal } = waiting;
  await Promise.race([once(response, 'drain', { signal }), once(response, 'close', { signal })]).catch(() => {});
  waiting.abort();
}
