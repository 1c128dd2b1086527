/** A thread that reads a capture's ring while another writes it: says at the end what was wrong with what it read. */
import { parentPort, workerData } from 'node:worker_threads';
import { CaptureReader } from '../../src/net/capture/capture-reader.js';

/** What the thread is given: the ring, and after how many frames, written or dropped, it ends. */
export interface CaptureThreadSetup {
  readonly ring: SharedArrayBuffer;
  readonly frames: number;
}

export interface CaptureThreadReport {
  readonly read: number;
  readonly faults: readonly string[];
}

/** Frames begin with their number; all else follows from it. */
export const FRAME_HEAD_BYTES = 18;
export const byteOf = (number: number, at: number): number => (number * 7 + at) & 0xff;

function read({ ring, frames }: CaptureThreadSetup): CaptureThreadReport {
  const reader = new CaptureReader(ring);
  const faults: string[] = [];
  let read = 0;
  let last = -1;
  for (;;) {
    const over = reader.recorded + reader.dropped === frames;
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      const { bytes, at, keptBytes, byteLength } = frame;
      const number = bytes.readUInt32LE(at + 14);
      if (number <= last) faults.push(`frame ${number} after ${last}`);
      last = number;
      if (keptBytes !== byteLength) faults.push(`frame ${number} has ${keptBytes} of ${byteLength} bytes`);
      for (let i = FRAME_HEAD_BYTES; i < keptBytes; i++) {
        if (bytes[at + i] === byteOf(number, i)) continue;
        faults.push(`frame ${number} is wrong at ${i}`);
        break;
      }
      if (++read % 16 === 0) reader.release();
      if (faults.length > 10) return { read, faults };
    }
    reader.release();
    if (over) return { read, faults };
  }
}

parentPort?.postMessage(read(workerData as CaptureThreadSetup));
