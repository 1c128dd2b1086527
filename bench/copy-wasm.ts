import { declare } from '../src/host/libc.js';
import { createSealedMemory } from '../src/host/memory-map.js';
import { type Stretches, stretchAt } from './copy-memory.js';

/** What is used of the WebAssembly JavaScript interface, which Node's types leave out. */
interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
type WasmCopy = (to: number, from: number, length: number) => void;
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Memory: new (limits: { initial: number; maximum: number; shared: true }) => WasmMemory;
    Module: new (code: Uint8Array) => object;
    Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
  };
};

const WASM_PAGE_BYTES = 65_536;
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;

const memmove = declare('intptr_t memmove(void *to, const void *from, size_t length)');
const mmap = declare('intptr_t mmap(intptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)');

/** The same mapped over the pages of one shared WebAssembly.Memory, for its own instructions to reach. */
export function wasmStretches(byteLength: number): Stretches & { readonly memory: WasmMemory } {
  const pages = (2 * byteLength) / WASM_PAGE_BYTES;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const all = new Uint8Array(memory.buffer);
  // The C function gives back where it was to copy to.
  const address = Number(memmove(all, all, 0));
  const stretch = (at: number) => {
    const fd = createSealedMemory('copy', byteLength);
    const mapped = Number(mmap(address + at, byteLength, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, 0));
    if (mapped !== address + at) throw new Error('memory cannot be mapped over a WebAssembly.Memory');
    return stretchAt(mapped, byteLength, at);
  };
  return { source: stretch(0), target: stretch(byteLength), memory };
}

/** A module of one function (to, from, length) with that body, over shared memory. WebAssembly Core 2.0, 5.5 */
export function wasmCopy(memory: WasmMemory, code: readonly number[]): WasmCopy {
  const pages = memory.buffer.byteLength / WASM_PAGE_BYTES;
  const leb = [(pages & 0x7f) | 0x80, pages >>> 7];
  const body = [...code, 0x0b];
  const section = (id: number, ...content: number[]) => [id, content.length, ...content];
  const module = new WebAssembly.Module(
    Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, 1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0),
      ...section(2, 1, 1, 0x6d, 1, 0x6d, 2, 3, ...leb, ...leb),
      ...section(3, 1, 0),
      ...section(7, 1, 1, 0x63, 0, 0),
      ...section(10, 1, body.length, ...body),
    ]),
  );
  const instance = new WebAssembly.Instance(module, { m: { m: memory } });
  return instance.exports['c'] as WasmCopy;
}
