/** Rings as no driver would make them: one for each fault that stops a queue. */

import type { ErrorCode } from '../../src/errors.js';
import { RequestType } from '../../src/guest/index.js';
import { signal } from '../../src/host/eventfd.js';
import { CHAIN_SEGMENTS_MAX } from '../../src/limits.js';
import { DESCRIPTOR_BYTES, DescriptorFlag } from '../../src/virtio/ring-layout.js';
import type { TestGuest, TestQueue } from './test-guest.js';

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const HEADER_BYTES = 16;

/** Writes whatever it likes into one ring. */
export class HostileRing {
  readonly size: number;
  /** Guest memory to point at: a good header, and behind it room for anything. */
  readonly room: number;
  readonly #guest: TestGuest;
  readonly #queue: TestQueue;
  #availIndex: number;

  constructor(guest: TestGuest, queue: TestQueue) {
    this.#guest = guest;
    this.#queue = queue;
    this.#availIndex = queue.submitted;
    this.size = queue.driver.ring.size;
    this.room = guest.ram.allocate(16 * 1024, 4096);
    guest.ram.words[this.room >>> 2] = RequestType.IN;
  }

  get memoryEnd(): number {
    return this.#guest.ram.byteLength;
  }

  /** Writes a descriptor into the ring's table, or into one that lies elsewhere. */
  put(
    index: number,
    address: number | bigint,
    length: number,
    flags: number,
    next = 0,
    table = this.#queue.driver.ring.descriptors,
  ): void {
    const { bytes } = this.#guest.ram;
    const at = table + index * DESCRIPTOR_BYTES;
    bytes.writeBigUInt64LE(BigInt(address), at);
    bytes.writeUInt32LE(length, at + 8);
    bytes.writeUInt16LE(flags, at + 12);
    bytes.writeUInt16LE(next, at + 14);
  }

  /** A sound request for one sector, in three descriptors from `first` on. */
  putRequest(first: number): void {
    this.put(first, this.room, HEADER_BYTES, NEXT, first + 1);
    this.put(first + 1, this.room + 4096, 512, NEXT | WRITE, first + 2);
    this.put(first + 2, this.room + 64, 1, WRITE);
  }

  /** Makes heads available. */
  show(...heads: number[]): void {
    const { bytes } = this.#guest.ram;
    const { ring } = this.#queue.driver;
    for (const head of heads)
      bytes.writeUInt16LE(head, ring.available + 4 + 2 * (this.#availIndex++ & (this.size - 1)));
    this.advance(0);
  }

  /** Moves the available index, and kicks, whether or not anybody wants a kick. */
  advance(by: number): void {
    this.#availIndex = (this.#availIndex + by) & 0xffff;
    this.#guest.ram.bytes.writeUInt16LE(this.#availIndex, this.#queue.driver.ring.available + 2);
    signal(this.#queue.driver.kickFd);
  }
}

/** A ring of either layout that stops its queue. */
export interface FaultyRing {
  readonly what: string;
  readonly code: ErrorCode;
  /** Breaks the ring, which has nothing in flight, and kicks. */
  make(guest: TestGuest, queue: TestQueue): void;
}

interface RingFault {
  readonly what: string;
  readonly code: ErrorCode;
  readonly make: (ring: HostileRing) => void;
}

/** One descriptor, alone. */
function single(what: string, code: ErrorCode, put: (ring: HostileRing) => void): RingFault {
  return {
    what,
    code,
    make(ring) {
      put(ring);
      ring.show(0);
    },
  };
}

/** An indirect table in the ring's room, filled by `fill`, with `length` bytes as the guest says. */
function indirect(
  what: string,
  code: ErrorCode,
  length: number,
  fill: (ring: HostileRing, table: number) => void,
): RingFault {
  return single(what, code, (ring) => {
    const table = ring.room + 8192;
    fill(ring, table);
    ring.put(0, table, length, INDIRECT);
  });
}

const FAULTS: readonly RingFault[] = [
  {
    what: 'more is available than the ring holds',
    code: 'AVAIL_INDEX_INVALID',
    make: (ring) => ring.advance(ring.size + 1),
  },
  { what: 'the available index goes backwards', code: 'AVAIL_INDEX_INVALID', make: (ring) => ring.advance(-1) },
  { what: 'a head is one too large', code: 'HEAD_OUT_OF_RANGE', make: (ring) => ring.show(ring.size) },
  { what: 'a head is as large as can be', code: 'HEAD_OUT_OF_RANGE', make: (ring) => ring.show(0xffff) },
  {
    what: 'a head is available twice',
    code: 'HEAD_IN_FLIGHT',
    make(ring) {
      ring.putRequest(3);
      ring.show(3, 3);
    },
  },
  single('a chain goes in a circle of one', 'CHAIN_TOO_LONG', (ring) => ring.put(0, ring.room, 16, NEXT, 0)),
  single('a chain goes in a circle of two, without data', 'CHAIN_TOO_LONG', (ring) => {
    ring.put(0, ring.room, 0, NEXT, 1);
    ring.put(1, ring.room, 0, NEXT, 0);
  }),
  single('a chain goes on outside the table', 'NEXT_OUT_OF_RANGE', (ring) =>
    ring.put(0, ring.room, 16, NEXT, ring.size),
  ),
  indirect('an indirect chain goes on outside its table', 'NEXT_OUT_OF_RANGE', 32, (ring, table) => {
    ring.put(0, ring.room, 16, NEXT, 2, table);
  }),
  indirect('an indirect table of no descriptor', 'INDIRECT_INVALID', 0, () => {}),
  indirect('an indirect table of half a descriptor', 'INDIRECT_INVALID', 24, () => {}),
  indirect('an indirect table in an indirect table', 'INDIRECT_INVALID', 16, (ring, table) => {
    ring.put(0, table, 16, INDIRECT, 0, table);
  }),
  single('an indirect table and more', 'INDIRECT_INVALID', (ring) => ring.put(0, ring.room, 16, INDIRECT | NEXT, 1)),
  single('an address outside guest memory', 'ADDRESS_INVALID', (ring) => ring.put(0, ring.memoryEnd, 16, 0)),
  single('an address at the end of all addresses', 'ADDRESS_INVALID', (ring) => ring.put(0, 2n ** 64n - 16n, 16, 0)),
  single('an address and a length that together wrap', 'ADDRESS_INVALID', (ring) => ring.put(0, 2n ** 64n - 8n, 16, 0)),
  single('data that end behind guest memory', 'ADDRESS_INVALID', (ring) => ring.put(0, ring.memoryEnd - 8, 16, 0)),
  single('data of 4 GiB', 'ADDRESS_INVALID', (ring) => ring.put(0, 0, 0xffffffff, 0)),
  single('an indirect table outside guest memory', 'ADDRESS_INVALID', (ring) =>
    ring.put(0, ring.memoryEnd - 16, 32, INDIRECT),
  ),
  single('something to read after something to write', 'DIRECTION_INVALID', (ring) => {
    ring.put(0, ring.room + 64, 1, WRITE | NEXT, 1);
    ring.put(1, ring.room, 16, 0);
  }),
  indirect(
    'more pieces than a chain may have',
    'SEGMENTS_EXCEEDED',
    (CHAIN_SEGMENTS_MAX + 8) * DESCRIPTOR_BYTES,
    (ring, table) => {
      for (let i = 0; i < CHAIN_SEGMENTS_MAX + 8; i++) ring.put(i, ring.room, 16, NEXT, i + 1, table);
    },
  ),
  single('no room for a status', 'REQUEST_MALFORMED', (ring) => ring.put(0, ring.room, 16, 0)),
  single('no header', 'REQUEST_MALFORMED', (ring) => ring.put(0, ring.room, 513, WRITE)),
  single('half a header', 'REQUEST_MALFORMED', (ring) => {
    ring.put(0, ring.room, 8, NEXT, 1);
    ring.put(1, ring.room + 64, 1, WRITE);
  }),
  single('nothing at all', 'REQUEST_MALFORMED', (ring) => ring.put(0, 0, 0, 0)),
];

export const RING_FAULTS: readonly FaultyRing[] = FAULTS.map(({ what, code, make }) => ({
  what,
  code,
  make: (guest, queue) => make(new HostileRing(guest, queue)),
}));
