/** The memory of a replay's guest, laid out as its VMM lays it out. */
import assert from 'node:assert/strict';
import { close } from '../../src/host/libc.js';
import { createSealedMemory, type MemoryMap, mapFile, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import type { MemorySeal, Region } from '../replays/replay.js';
import { openMemory } from './descriptors.js';

/** Memory files of a VMM, by name, and the regions that it shows its back end at the moment. */
export class ReplayMemory {
  regions: readonly Region[] = [];
  readonly #seal: MemorySeal;
  readonly #files = new Map<string, { fd: number; map: MemoryMap }>();
  readonly #lengths = new Map<string, number>();

  /** @param all - every region that will ever be shown: the files are as long as they ask for */
  constructor(seal: MemorySeal, all: readonly Region[]) {
    this.#seal = seal;
    for (const { file, mmapOffset, size } of all) {
      this.#lengths.set(file, Math.max(this.#lengths.get(file) ?? 0, mmapOffset + size));
    }
  }

  file(name: string): { fd: number; map: MemoryMap } {
    let file = this.#files.get(name);
    if (file === undefined) {
      const length = this.#lengths.get(name)!;
      const fd = this.#seal === 'sealed' ? createSealedMemory(name, length) : openMemory(length, false);
      file = { fd, map: mapFile(fd, 0, length) };
      this.#files.set(name, file);
    }
    return file;
  }

  /** Where this is in our address space, and how much follows it in the same region. */
  #find(guestAddress: number): { address: number; left: number; region: Region } {
    const region = this.regions.find(
      (one) => guestAddress >= one.guestAddress && guestAddress < one.guestAddress + one.size,
    );
    assert.ok(region !== undefined, `0x${guestAddress.toString(16)} is guest memory`);
    const offset = guestAddress - region.guestAddress;
    return {
      address: this.file(region.file).map.address + region.mmapOffset + offset,
      left: region.size - offset,
      region,
    };
  }

  userAddress(guestAddress: number): number {
    const { region } = this.#find(guestAddress);
    return region.userAddress + guestAddress - region.guestAddress;
  }

  /** A view of memory within one region. */
  view(guestAddress: number, byteLength: number): Buffer {
    const { address, left } = this.#find(guestAddress);
    assert.ok(byteLength <= left, 'it lies in one region');
    return viewBytes(address, byteLength);
  }

  /** One region comes, or goes. */
  change(region: Region, isThere: boolean): void {
    const others = this.regions.filter(({ guestAddress }) => guestAddress !== region.guestAddress);
    this.regions = isThere ? [...others, region] : others;
  }

  /** Guest physical addresses at which one region ends and another begins. */
  get borders(): number[] {
    const ends = this.regions.map(({ guestAddress, size }) => guestAddress + size);
    return ends.filter((end) => this.regions.some(({ guestAddress }) => guestAddress === end));
  }

  /** Calls back for each region's part of a stretch of memory. */
  eachPart(guestAddress: number, byteLength: number, part: (view: Buffer, at: number) => void): void {
    for (let at = 0; at < byteLength; ) {
      const length = Math.min(byteLength - at, this.#find(guestAddress + at).left);
      part(this.view(guestAddress + at, length), at);
      at += length;
    }
  }

  close(): void {
    for (const { fd, map } of this.#files.values()) {
      unmap(map);
      close(fd);
    }
  }
}
