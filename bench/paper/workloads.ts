import type { LoadPattern } from '../../src/guest/load.js';
import { BlockPart, DirectBlock } from './block-parts.js';
import type { Part } from './drive.js';
import { LARGE_FRAME_BYTES } from './frames.js';
import { DirectNet, NetRequestResponse, NetStream } from './net-parts.js';
import type { PaperDaemon } from './stand.js';

/** The working sets of all guests together, bytes: the same however many they are, so that caches are not what is measured. */
export const WORKING_SET_BYTES = 16 * 2 ** 20;
export const BLOCK_BYTES = 4096;

/** What guests do. */
export interface Workload {
  readonly key: string;
  readonly title: string;
  readonly device: 'disk' | 'cards';
  /** Bytes that each request moves. */
  readonly requestBytes: number;
  /** Has one request in flight: then its latency is its guest's, and its rate the inverse of it. */
  readonly single: boolean;
  /** Requests that each guest has in flight. */
  readonly inFlight: number;
  /** Moves so many bytes that it is counted in bits. */
  readonly stream: boolean;
  /** One of `count` guests, connected to a daemon. */
  connect(daemon: PaperDaemon, index: number, count: number, seed: number): Promise<Part>;
  /** The same without a back end. */
  direct(index: number, count: number, seed: number): Part;
}

const pattern = (depth: number, index: number, count: number, seed: number): LoadPattern => ({
  depth,
  requestBytes: BLOCK_BYTES,
  readShare: 1,
  workingSetBytes: WORKING_SET_BYTES / count,
  seed: seed * 1000 + index + 1,
});

/** Bytes that a disk has to have: guest `index` is there only if there are that many. */
export const diskBytesOf = (index: number): number =>
  Math.ceil(WORKING_SET_BYTES / (index + 1) / BLOCK_BYTES) * BLOCK_BYTES;

const block = (depth: number): Workload => ({
  key: `block-${depth}`,
  title: `Block: random reads of 4 KiB, depth ${depth}`,
  device: 'disk',
  requestBytes: BLOCK_BYTES,
  single: depth === 1,
  inFlight: depth,
  stream: false,
  connect: (daemon, index, count, seed) => BlockPart.connect(daemon.disk(index), pattern(depth, index, count, seed)),
  direct: (index, count, seed) => new DirectBlock(pattern(depth, index, count, seed)),
});

const stream = (key: string, title: string, frameBytes: number, frames: number): Workload => ({
  key,
  title,
  device: 'cards',
  requestBytes: frameBytes,
  single: false,
  inFlight: frames,
  stream: true,
  connect: (daemon, index) => NetStream.connect(daemon.pair(index), { frameBytes, frames }),
  direct: () => new DirectNet(frameBytes, frames, false),
});

const TALK_BYTES = 200;

export const BLOCK_1 = block(1);
export const BLOCK_32 = block(32);
/** 1,500 bytes behind Ethernet's header. */
export const STREAM_SMALL = stream('stream-1500', 'Network: stream of frames of 1,500 bytes', 1514, 64);
export const STREAM_LARGE = stream('stream-64k', 'Network: stream of 64 KiB packets (TSO)', LARGE_FRAME_BYTES, 8);
export const REQUEST_RESPONSE: Workload = {
  key: 'request-response',
  title: `Network: request and response of ${TALK_BYTES} bytes, one in flight`,
  device: 'cards',
  requestBytes: TALK_BYTES,
  single: true,
  inFlight: 1,
  stream: false,
  connect: (daemon, index) => NetRequestResponse.connect(daemon.pair(index), TALK_BYTES),
  direct: () => new DirectNet(TALK_BYTES, 16, true),
};

export const WORKLOADS: readonly Workload[] = [BLOCK_1, BLOCK_32, REQUEST_RESPONSE, STREAM_LARGE, STREAM_SMALL];

/** Connects so many guests. Nothing is left behind if that fails. */
export async function connectAll(
  workload: Workload,
  daemon: PaperDaemon,
  count: number,
  seed: number,
): Promise<Part[]> {
  const parts: Part[] = [];
  daemon.process.resume();
  try {
    for (let i = 0; i < count; i++) parts.push(await workload.connect(daemon, i, count, seed));
  } catch (error) {
    for (const part of parts) part.close();
    throw error;
  } finally {
    daemon.process.pause();
  }
  return parts;
}
