import { closeSync, openSync, writeSync } from 'node:fs';
import { messageOf, SidecoreError } from '../../../errors.js';
import { CAPTURE_RING_BYTES, CAPTURE_SNAP_BYTES_MAX } from '../../../limits.js';
import { CaptureReader } from '../../../net/capture/capture-reader.js';
import {
  interfaceDescription,
  interfaceStatistics,
  now,
  PACKET_BLOCK_BYTES,
  sectionHeader,
  writePacket,
} from '../../../net/capture/pcapng.js';

/** Pause between two looks into the ring, ms; and what is written at a time, bytes, with room for the frame that is one too many. */
const LOOK_MS = 20;
const CHUNK_BYTES = 2 ** 18;
/** As many as a full ring has. */
const CHUNKS_MAX = CAPTURE_RING_BYTES / CHUNK_BYTES;
const CHUNK_BYTES_MAX = CHUNK_BYTES + PACKET_BLOCK_BYTES + CAPTURE_SNAP_BYTES_MAX;

/** Writes what a sidecore records into a file, as pcapng. On the main thread. */
export class CaptureFile {
  readonly #path: string;
  readonly #fd: number;
  readonly #reader: CaptureReader;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES_MAX);
  readonly #bytesMax: number;
  readonly #log: (text: string) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #began = now();
  #bytes = 0;
  #frames = 0;
  /** Why nothing more is written. */
  #end: string | undefined;

  /** Makes the file, or empties it. Throws `IO_FAILED` if it cannot. */
  constructor(
    path: string,
    ring: SharedArrayBuffer,
    options: { label: string; snapBytes: number; bytesMax: number; log: (text: string) => void },
  ) {
    this.#path = path;
    this.#bytesMax = options.bytesMax;
    this.#log = options.log;
    this.#reader = new CaptureReader(ring);
    try {
      this.#fd = openSync(path, 'w', 0o600);
    } catch (error) {
      throw new SidecoreError('IO_FAILED', `cannot write ${path}: ${messageOf(error)}`);
    }
    this.#put(Buffer.concat([sectionHeader('Sidecore'), interfaceDescription(options.label, options.snapBytes)]));
    this.#timer = setInterval(() => this.write(), LOOK_MS).unref();
  }

  /** Writes what there is: what comes meanwhile waits for the next time, so that a flood does not keep this thread from all else. */
  write(): void {
    for (let chunks = 0; chunks < CHUNKS_MAX && this.#writeChunk(); chunks++);
  }

  status() {
    const { recorded, dropped } = this.#reader;
    return {
      file: this.#path,
      bytes: this.#bytes,
      written: this.#frames,
      recorded,
      dropped,
      ended: this.#end ?? null,
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.write();
    const { recorded, dropped } = this.#reader;
    const counts = { received: recorded + dropped, dropped, written: this.#frames };
    this.#put(interfaceStatistics({ began: this.#began, ended: now(), ...counts, comment: this.#end }));
    closeSync(this.#fd);
  }

  /** Takes a chunk from the ring, which is written unless the file is at its end. False if there was nothing. */
  #writeChunk(): boolean {
    let bytes = 0;
    let frames = 0;
    while (bytes < CHUNK_BYTES) {
      const frame = this.#reader.next();
      if (frame === undefined) break;
      if (this.#end !== undefined) continue;
      const after = writePacket(this.#chunk, bytes, frame);
      if (this.#bytes + after > this.#bytesMax) {
        this.#stop(`the file has its ${this.#bytesMax} bytes`);
        continue;
      }
      bytes = after;
      frames++;
    }
    this.#reader.release();
    if (bytes === 0) return false;
    if (this.#put(this.#chunk.subarray(0, bytes))) this.#frames += frames;
    return true;
  }

  #put(bytes: Buffer): boolean {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      this.#bytes += bytes.length;
      return true;
    } catch (error) {
      this.#stop(messageOf(error));
      return false;
    }
  }

  #stop(why: string): void {
    if (this.#end === undefined) this.#log(`filter mirror writes no more to ${this.#path}: ${why}`);
    this.#end ??= why;
  }
}
