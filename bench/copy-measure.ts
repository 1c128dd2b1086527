import { threadCpuNs } from '../src/host/clock.js';
import { WAYS, type Way } from './copy-ways.js';

/** Where source and target lie beside a multiple of 64 bytes. */
export const ALIGNMENTS = [
  [0, 0],
  [4, 4],
  [2, 2],
  [0, 4],
  [0, 2],
  [0, 1],
] as const;
export const SIZES = [16, 32, 64, 128, 256, 512, 1024, 1504, 2048, 4096, 16_384, 65_536] as const;

/** Buffers of each side, as many as a ring has, one after the other, as drivers use them. */
const BUFFERS = 256;
/** From one buffer to the next, bytes: DPDK's, so that not all fall on the same lines of the cache. */
const STRIDE_BYTES_MIN = 2304;
const MEMORY_BYTES = BUFFERS * 65_536 + 65_536;
const RUNS = 15;
const RUN_NS = 1.5e6;
const WARM_UPS = 20;

/** Median CPU time of a copy by size and alignment, ns; null where a way cannot do it. In a process of its own, so that V8 sees one way. */
function measure(way: Way): (number | null)[][] {
  const { source, target, copy } = way.prepare(MEMORY_BYTES);
  for (let i = 0; i < MEMORY_BYTES; i += 4096) source.bytes[i] = target.bytes[i] = i >>> 12;

  const run = (copies: number, from: number, to: number, length: number, buffers: number, stride: number): number => {
    const before = threadCpuNs();
    for (let i = 0; i < copies; i++) {
      const at = (i & (buffers - 1)) * stride;
      copy(source, at + from, target, at + to, length);
    }
    return (threadCpuNs() - before) / copies;
  };

  const median = (length: number, from: number, to: number): number => {
    const stride = Math.max(STRIDE_BYTES_MIN, ((length + 63) & ~63) + 256);
    // What is in flight of large frames is less: they stay in the cache too.
    const buffers = length <= 2048 ? BUFFERS : BUFFERS / 16;
    const once = run(1000, from, to, length, buffers, stride);
    const copies = Math.min(100_000, Math.max(100, Math.ceil(RUN_NS / once)));
    const times = Array.from({ length: RUNS }, () => run(copies, from, to, length, buffers, stride));
    return times.sort((a, b) => a - b)[RUNS >> 1]!;
  };

  const can = (length: number, from: number, to: number) =>
    length >= (way.min ?? 1) && length % way.unit === 0 && from % way.alignment === 0 && to % way.alignment === 0;
  const each = <T>(run: (length: number, from: number, to: number) => T) =>
    ALIGNMENTS.map(([from, to]) => SIZES.map((length) => (can(length, from, to) ? run(length, from, to) : null)));
  // V8 is to have compiled it for all of these before any counts.
  for (let i = 0; i < WARM_UPS; i++) each((length, from, to) => run(500, from, to, length, 16, 65_536));
  return each(median);
}

const name = process.argv[2];
const way = WAYS.find((one) => one.name === name);
if (way !== undefined) process.stdout.write(JSON.stringify(measure(way)));
