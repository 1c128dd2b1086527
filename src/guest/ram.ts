import { close } from '../host/libc.js';
import { createSealedMemory, type MemoryMap, mapFile, PAGE_BYTES, unmap } from '../host/memory-map.js';
import { viewBytes, viewWords16, viewWords32 } from '../host/memory-view.js';

/**
 * The memory of a built-in guest: one shared, sealed file, handed out from the bottom. Guest physical addresses start at
 * zero, so that they are offsets too.
 */
export class GuestRam {
  readonly fd: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly #map: MemoryMap;
  #next = 0;

  constructor(byteLength: number) {
    const length = Math.ceil(byteLength / PAGE_BYTES) * PAGE_BYTES;
    this.fd = createSealedMemory('guest', length);
    this.#map = mapFile(this.fd, 0, length);
    this.bytes = viewBytes(this.#map.address, length);
    this.words = viewWords32(this.#map.address, length);
  }

  /** Address of the memory in this process: what a front end calls a user address. */
  get userAddress(): number {
    return this.#map.address;
  }

  get byteLength(): number {
    return this.#map.length;
  }

  /** A stretch of the memory as 16-bit words. */
  words16(address: number, byteLength: number): Uint16Array {
    return viewWords16(this.#map.address + address, byteLength);
  }

  /** A stretch of the memory as 32-bit words. */
  words32(address: number, byteLength: number): Uint32Array {
    return viewWords32(this.#map.address + address, byteLength);
  }

  /** Takes `byteLength` bytes; returns their guest physical address. Throws when the memory is used up. */
  allocate(byteLength: number, alignment = 64): number {
    const address = Math.ceil(this.#next / alignment) * alignment;
    if (address + byteLength > this.byteLength)
      throw new RangeError(`guest memory is used up: ${this.byteLength} bytes`);
    this.#next = address + byteLength;
    return address;
  }

  /** Gives the memory back. No view of it may be used afterwards. */
  close(): void {
    unmap(this.#map);
    close(this.fd);
  }
}
