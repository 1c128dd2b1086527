import { copyPiece } from '../src/guest-memory/copy.js';
import { mappedStretches, type Stretch, type Stretches } from './copy-memory.js';
import { wasmCopy, wasmStretches } from './copy-wasm.js';

/** Copies `length` bytes from `from` in one stretch to `to` in the other. */
export type Copy = (source: Stretch, from: number, target: Stretch, to: number, length: number) => void;

/** One way to copy. */
export interface Way {
  readonly name: string;
  /** Lengths have to be multiples of this, bytes. */
  readonly unit: number;
  /** Positions have to be multiples of this, bytes. */
  readonly alignment: number;
  /** Shortest length that it takes, bytes. */
  readonly min?: number;
  prepare(byteLength: number): Stretches & { readonly copy: Copy };
}

const inMapped = (name: string, unit: number, copy: Copy, alignment = unit): Way => ({
  name,
  unit,
  alignment,
  prepare: (byteLength) => ({ ...mappedStretches(byteLength), copy }),
});

const inWasm = (name: string, min: number, code: readonly number[]): Way => ({
  name,
  unit: 1,
  alignment: 1,
  min,
  prepare: (byteLength) => {
    const { source, target, memory } = wasmStretches(byteLength);
    const run = wasmCopy(memory, code);
    return { source, target, copy: (s, from, t, to, length) => run(t.wasmAt + to, s.wasmAt + from, length) };
  },
});

/** All ways; the first does nothing, and shows what the loop around them takes. */
export const WAYS: readonly Way[] = [
  inMapped('the loop alone', 1, (source, from, target, to, length) => {
    if (length < 0) target.bytes[to] = source.bytes[from]!;
  }),
  inMapped('byte loop', 1, ({ bytes: source }, from, { bytes: target }, to, length) => {
    for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
  }),
  inMapped('Uint32Array loop', 4, ({ words: source }, from, { words: target }, to, length) => {
    const at = to >>> 2;
    const first = from >>> 2;
    const count = length >>> 2;
    for (let i = 0; i < count; i++) target[at + i] = source[first + i]!;
  }),
  inMapped(
    'Uint32Array loop, by four',
    16,
    ({ words: source }, from, { words: target }, to, length) => {
      let at = to >>> 2;
      let i = from >>> 2;
      for (const end = i + (length >>> 2); i < end; i += 4, at += 4) {
        target[at] = source[i]!;
        target[at + 1] = source[i + 1]!;
        target[at + 2] = source[i + 2]!;
        target[at + 3] = source[i + 3]!;
      }
    },
    4,
  ),
  inMapped('BigUint64Array loop', 8, ({ longs: source }, from, { longs: target }, to, length) => {
    const at = to >>> 3;
    const first = from >>> 3;
    const count = length >>> 3;
    for (let i = 0; i < count; i++) target[at + i] = source[first + i]!;
  }),
  inMapped(
    'BigUint64Array loop, by four',
    32,
    ({ longs: source }, from, { longs: target }, to, length) => {
      let at = to >>> 3;
      let i = from >>> 3;
      for (const end = i + (length >>> 3); i < end; i += 4, at += 4) {
        target[at] = source[i]!;
        target[at + 1] = source[i + 1]!;
        target[at + 2] = source[i + 2]!;
        target[at + 3] = source[i + 3]!;
      }
    },
    8,
  ),
  inMapped('Float64Array loop', 8, ({ doubles: source }, from, { doubles: target }, to, length) => {
    const at = to >>> 3;
    const first = from >>> 3;
    const count = length >>> 3;
    for (let i = 0; i < count; i++) target[at + i] = source[first + i]!;
  }),
  inMapped(
    'DataView loop, 64 bits',
    8,
    ({ view: source }, from, { view: target }, to, length) => {
      for (let i = 0; i < length; i += 8) target.setBigUint64(to + i, source.getBigUint64(from + i, true), true);
    },
    1,
  ),
  inMapped(
    'DataView loop, 32 bits',
    4,
    ({ view: source }, from, { view: target }, to, length) => {
      for (let i = 0; i < length; i += 4) target.setInt32(to + i, source.getInt32(from + i, true), true);
    },
    1,
  ),
  inMapped('Buffer.copy', 1, ({ bytes: source }, from, { bytes: target }, to, length) => {
    source.copy(target, to, from, from + length);
  }),
  inMapped('set(subarray)', 1, ({ bytes: source }, from, { bytes: target }, to, length) => {
    target.set(source.subarray(from, from + length), to);
  }),
  // local.get 0, 1, 2; memory.copy
  inWasm('wasm memory.copy', 1, [0x00, 0x20, 0, 0x20, 1, 0x20, 2, 0xfc, 0x0a, 0, 0]),
  inWasm('wasm loop, 128 bits', 16, [
    // One local i; do { v128.store(to + i, v128.load(from + i)) } while ((i += 16) < length - 16)
    ...[0x01, 0x01, 0x7f, 0x03, 0x40],
    ...[0x20, 0, 0x20, 3, 0x6a, 0x20, 1, 0x20, 3, 0x6a, 0xfd, 0x00, 0, 0, 0xfd, 0x0b, 0, 0],
    ...[0x20, 3, 0x41, 16, 0x6a, 0x22, 3, 0x20, 2, 0x41, 16, 0x6b, 0x48, 0x0d, 0, 0x0b],
    // The last 16 bytes, which may overlap: v128.store(to + length - 16, v128.load(from + length - 16))
    ...[0x20, 0, 0x20, 2, 0x6a, 0x41, 16, 0x6b, 0x20, 1, 0x20, 2, 0x6a, 0x41, 16, 0x6b],
    ...[0xfd, 0x00, 0, 0, 0xfd, 0x0b, 0, 0],
  ]),
  {
    name: 'copyPiece',
    unit: 1,
    alignment: 1,
    prepare: (byteLength) => {
      const { source, target } = mappedStretches(byteLength);
      const windows = ({ bytes, words, longs }: Stretch) => ({ bytes: [bytes], words: [words], longs: [longs] });
      const [sources, targets] = [windows(source), windows(target)];
      return {
        source,
        target,
        copy: (_s, from, _t, to, length) => copyPiece(sources, 0, from, targets, 0, to, length),
      };
    },
  },
];
