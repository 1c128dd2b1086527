import { createSealedMemory, mapFile } from '../src/host/memory-map.js';
import { viewBytes, viewWords32, viewWords64 } from '../src/host/memory-view.js';

/** Mapped memory to copy from or to, in every view that a way of copying may want. */
export interface Stretch {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly longs: BigUint64Array;
  readonly doubles: Float64Array;
  readonly view: DataView;
  /** Where it begins in the WebAssembly memory that lies over it; 0 if there is none. */
  readonly wasmAt: number;
}

/** Two stretches, as two guests' memory would be. */
export interface Stretches {
  readonly source: Stretch;
  readonly target: Stretch;
}

export function stretchAt(address: number, byteLength: number, wasmAt = 0): Stretch {
  const bytes = viewBytes(address, byteLength);
  return {
    bytes,
    words: viewWords32(address, byteLength),
    longs: viewWords64(address, byteLength),
    doubles: new Float64Array(bytes.buffer, bytes.byteOffset, byteLength >>> 3),
    view: new DataView(bytes.buffer, bytes.byteOffset, byteLength),
    wasmAt,
  };
}

/** Memory that is mapped as a guest's is. */
export function mappedStretches(byteLength: number): Stretches {
  const map = () => mapFile(createSealedMemory('copy', byteLength), 0, byteLength);
  const [source, target] = [map(), map()];
  return { source: stretchAt(source.address, byteLength), target: stretchAt(target.address, byteLength) };
}
