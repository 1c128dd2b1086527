/** Guest memory for tests: regions at any guest physical address, each between two canary pages of this process. */
import assert from 'node:assert/strict';
import { GuestMemory, type MappedRegion } from '../../src/guest-memory/guest-memory.js';
import { type MemoryMap, mapAnonymous, PAGE_BYTES, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';

/** What a region looks like to its guest. */
export interface RegionPlan {
  readonly guestAddress: number;
  readonly size: number;
}

/** A piece of guest memory as this process sees it. */
export interface HostPiece {
  readonly host: number;
  readonly length: number;
}

/** What lies around each region, and must stay there, and must never be seen by a guest. */
export const CANARY = 0xc5;

const canaryPage = Buffer.alloc(PAGE_BYTES, CANARY);

/** Some pages of one anonymous map, with what a test needs to write, read and translate as a plain model would. */
export class TestMemory {
  readonly regions: readonly MappedRegion[];
  readonly guest: GuestMemory;
  readonly windowBytes: number;
  readonly #map: MemoryMap;
  readonly #bytes: readonly Buffer[];
  readonly #canaries: readonly Buffer[];

  constructor(plan: readonly RegionPlan[], windowBytes: number) {
    this.windowBytes = windowBytes;
    const pages = (size: number) => Math.ceil(size / PAGE_BYTES) * PAGE_BYTES;
    const total = plan.reduce((sum, { size }) => sum + PAGE_BYTES + pages(size), PAGE_BYTES);
    this.#map = mapAnonymous(total);
    const regions: MappedRegion[] = [];
    const canaries: Buffer[] = [];
    let at = this.#map.address;
    const addCanary = () => {
      const page = viewBytes(at, PAGE_BYTES);
      page.fill(CANARY);
      canaries.push(page);
      at += PAGE_BYTES;
    };
    // From the last to the first, so that neighbours in the guest are none in this process.
    for (const { guestAddress, size } of [...plan].reverse()) {
      addCanary();
      regions.push({ guestAddress, size, userAddress: 2 ** 46 + at, hostAddress: at });
      at += pages(size);
    }
    addCanary();
    this.regions = regions;
    this.#canaries = canaries;
    this.#bytes = regions.map(({ hostAddress, size }) =>
      size < 2 ** 30 ? viewBytes(hostAddress, size) : Buffer.alloc(0),
    );
    this.guest = new GuestMemory(regions, windowBytes);
  }

  /** The pieces of a stretch of guest memory, cut where a window or a region ends; undefined if any byte is missing. */
  pieces(address: number, length: number): HostPiece[] | undefined {
    const pieces: HostPiece[] = [];
    for (let at = address, left = length; left > 0; ) {
      const region = this.regions.find(({ guestAddress, size }) => at >= guestAddress && at < guestAddress + size);
      if (region === undefined) return undefined;
      const offset = at - region.guestAddress;
      const piece = Math.min(left, region.size - offset, this.windowBytes - (offset % this.windowBytes));
      pieces.push({ host: region.hostAddress + offset, length: piece });
      at += piece;
      left -= piece;
    }
    return pieces;
  }

  write(address: number, bytes: Uint8Array): void {
    this.#each(address, bytes.length, (memory, from, at, length) => memory.set(bytes.subarray(at, at + length), from));
  }

  read(address: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    this.#each(address, length, (memory, from, at, count) => memory.copy(bytes, at, from, from + count));
    return bytes;
  }

  /** All of a region, as the device sees it too. */
  bytesOf(guestAddress: number): Buffer {
    return this.#bytes[this.regions.findIndex((region) => region.guestAddress === guestAddress)]!;
  }

  /** Fails if anything outside of the guest's memory was written. */
  checkCanaries(): void {
    for (const page of this.#canaries) assert.equal(page.compare(canaryPage), 0, 'memory around a region was written');
  }

  /** No view of it may be used afterwards. */
  release(): void {
    this.checkCanaries();
    unmap(this.#map);
  }

  #each(
    address: number,
    length: number,
    visit: (memory: Buffer, from: number, at: number, length: number) => void,
  ): void {
    for (let at = 0; at < length; ) {
      const index = this.regions.findIndex(
        ({ guestAddress, size }) => address + at >= guestAddress && address + at < guestAddress + size,
      );
      assert.ok(index >= 0, `a test reached for ${address + at}, which is no guest memory`);
      const from = address + at - this.regions[index]!.guestAddress;
      const piece = Math.min(length - at, this.regions[index]!.size - from);
      visit(this.#bytes[index]!, from, at, piece);
      at += piece;
    }
  }
}
