/** Packed rings as no driver would make them: one for each fault that stops a queue. VIRTIO 1.3, 2.8 */
import { RequestType } from '../../src/guest/index.js';
import { signal } from '../../src/host/eventfd.js';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { DESCRIPTOR_BYTES, DescriptorFlag } from '../../src/virtio/ring-layout.js';
import type { FaultyRing } from './hostile-ring.js';
import type { TestGuest, TestQueue } from './test-guest.js';

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const HEADER_BYTES = 16;

/** Writes whatever it likes into one packed ring. */
export class HostilePackedRing {
  readonly size: number;
  /** Guest memory to point at: a good header, and behind it room for anything. */
  readonly room: number;
  readonly #guest: TestGuest;
  readonly #queue: TestQueue;
  #next: number;
  #first: { at: number; flags: number } | undefined;

  constructor(guest: TestGuest, queue: TestQueue) {
    this.#guest = guest;
    this.#queue = queue;
    this.size = queue.driver.ring.size;
    this.#next = (3 * queue.submitted) % (2 * this.size);
    this.room = guest.ram.allocate(16 * 1024, 4096);
    guest.ram.words[this.room >>> 2] = RequestType.IN;
  }

  get memoryEnd(): number {
    return this.#guest.ram.byteLength;
  }

  /** Writes the next descriptor of the ring. Its chain is seen when `show` is called. */
  put(address: number | bigint, length: number, flags: number, id = 0): void {
    const { bytes } = this.#guest.ram;
    const at = this.#queue.driver.ring.descriptors + (this.#next % this.size) * DESCRIPTOR_BYTES;
    const whole = flags | (this.#next < this.size ? AVAIL : USED);
    this.#next = (this.#next + 1) % (2 * this.size);
    this.#write(at, address, length, id);
    if (this.#first === undefined) this.#first = { at, flags: whole };
    else bytes.writeUInt16LE(whole, at + 14);
  }

  /** Writes a descriptor of an indirect table. */
  putInto(table: number, index: number, address: number | bigint, length: number, flags: number): void {
    const at = table + index * DESCRIPTOR_BYTES;
    this.#write(at, address, length, 0);
    this.#guest.ram.bytes.writeUInt16LE(flags, at + 14);
  }

  /** A sound request for one sector, in three descriptors. */
  putRequest(id: number): void {
    this.put(this.room, HEADER_BYTES, NEXT, id);
    this.put(this.room + 4096, 512, NEXT | WRITE, id);
    this.put(this.room + 64, 1, WRITE, id);
  }

  /** Shows what was put, and kicks, whether or not anybody wants a kick. */
  show(): void {
    if (this.#first !== undefined) this.#guest.ram.bytes.writeUInt16LE(this.#first.flags, this.#first.at + 14);
    this.#first = undefined;
    signal(this.#queue.driver.kickFd);
  }

  #write(at: number, address: number | bigint, length: number, id: number): void {
    const { bytes } = this.#guest.ram;
    bytes.writeBigUInt64LE(BigInt(address), at);
    bytes.writeUInt32LE(length, at + 8);
    bytes.writeUInt16LE(id, at + 12);
  }
}

function fault(what: string, code: FaultyRing['code'], put: (ring: HostilePackedRing) => void): FaultyRing {
  return {
    what,
    code,
    make(guest, queue) {
      const ring = new HostilePackedRing(guest, queue);
      put(ring);
      ring.show();
    },
  };
}

export const PACKED_RING_FAULTS: readonly FaultyRing[] = [
  fault('a chain runs into one that is in flight', 'AVAIL_INDEX_INVALID', (ring) => {
    ring.putRequest(1);
    for (let i = 3; i < ring.size; i++) ring.put(ring.room, 16, NEXT);
  }),
  fault('a buffer id is one too large', 'HEAD_OUT_OF_RANGE', (ring) => ring.putRequest(ring.size)),
  fault('a buffer id is as large as can be', 'HEAD_OUT_OF_RANGE', (ring) => ring.putRequest(0xffff)),
  fault('a buffer id is in flight already', 'HEAD_IN_FLIGHT', (ring) => {
    ring.putRequest(3);
    ring.putRequest(3);
  }),
  fault('a chain has no end', 'CHAIN_TOO_LONG', (ring) => {
    for (let i = 0; i < ring.size; i++) ring.put(ring.room, 16, NEXT);
  }),
  fault('a chain has no end, without data', 'CHAIN_TOO_LONG', (ring) => {
    for (let i = 0; i < ring.size; i++) ring.put(ring.room, 0, NEXT);
  }),
  fault('an indirect table of no descriptor', 'INDIRECT_INVALID', (ring) => ring.put(ring.room + 8192, 0, INDIRECT)),
  fault('an indirect table of half a descriptor', 'INDIRECT_INVALID', (ring) =>
    ring.put(ring.room + 8192, 24, INDIRECT),
  ),
  fault('an indirect table and more', 'INDIRECT_INVALID', (ring) => {
    ring.put(ring.room, 16, INDIRECT | NEXT);
    ring.put(ring.room, 16, 0);
  }),
  fault('an indirect table after something else', 'INDIRECT_INVALID', (ring) => {
    ring.put(ring.room, 16, NEXT);
    ring.put(ring.room, 16, INDIRECT);
  }),
  fault('an address outside guest memory', 'ADDRESS_INVALID', (ring) => ring.put(ring.memoryEnd, 16, 0)),
  fault('an address at the end of all addresses', 'ADDRESS_INVALID', (ring) => ring.put(2n ** 64n - 16n, 16, 0)),
  fault('an address and a length that together wrap', 'ADDRESS_INVALID', (ring) => ring.put(2n ** 64n - 8n, 16, 0)),
  fault('data that end behind guest memory', 'ADDRESS_INVALID', (ring) => ring.put(ring.memoryEnd - 8, 16, 0)),
  fault('data of 4 GiB', 'ADDRESS_INVALID', (ring) => ring.put(0, 0xffffffff, 0)),
  fault('an indirect table outside guest memory', 'ADDRESS_INVALID', (ring) =>
    ring.put(ring.memoryEnd - 16, 32, INDIRECT),
  ),
  fault('something to read after something to write', 'DIRECTION_INVALID', (ring) => {
    ring.put(ring.room + 64, 1, WRITE | NEXT);
    ring.put(ring.room, 16, 0);
  }),
  fault('more pieces than a chain may have', 'SEGMENTS_EXCEEDED', (ring) => {
    const table = ring.room + 8192;
    const count = CHAIN_SEGMENTS_MAX + 8;
    for (let i = 0; i < count; i++) ring.putInto(table, i, ring.room, 16, 0);
    ring.put(table, count * DESCRIPTOR_BYTES, INDIRECT);
  }),
  fault('a table of 4 GiB, all empty', 'SEGMENTS_EXCEEDED', (ring) => {
    ring.put(ring.room + 4096 + 64, 0xfffffff0, INDIRECT);
  }),
  fault('no room for a status', 'REQUEST_MALFORMED', (ring) => ring.put(ring.room, 16, 0)),
  fault('no header', 'REQUEST_MALFORMED', (ring) => ring.put(ring.room, 513, WRITE)),
  fault('half a header', 'REQUEST_MALFORMED', (ring) => {
    ring.put(ring.room, 8, NEXT);
    ring.put(ring.room + 64, 1, WRITE);
  }),
  fault('nothing at all', 'REQUEST_MALFORMED', (ring) => ring.put(0, 0, 0)),
];
