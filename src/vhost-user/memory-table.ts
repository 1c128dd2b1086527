import { fstatSync } from 'node:fs';
import { SidecoreError } from '../errors.js';
import type { MappedRegion } from '../guest-memory/guest-memory.js';
import { type MemoryMap, mapFile, PAGE_BYTES, retire, sealAgainstShrinking, unmap } from '../host/memory-map.js';
import { MEMORY_BYTES_MAX, MEMORY_REGIONS_MAX } from '../limits.js';
import type { RegionMessage } from './codec.js';

interface Entry {
  readonly region: MappedRegion;
  readonly map: MemoryMap;
  /** Which stretch of which file it is. */
  readonly source: string;
  /** How often it was added: QEMU up to 8.0 does so for each queue pair of a network card, and takes it away as often. */
  times: number;
}

/** Guest physical addresses stay below 2^52, so that a double holds them exactly. */
const ADDRESS_MAX = 2n ** 52n;

/** What a ring's descriptors are aligned to. A region that begins elsewhere could not be reached as words. VIRTIO 1.3, 2.7 */
const REGION_ALIGNMENT = 16n;

let nextId = 1;

/**
 * The guest memory of one session: the regions that its front end has shared, mapped in this process. Each change is
 * checked whole before anything of the old table is given up.
 *
 * Whoever changes the table makes sure that no sidecore uses the old one: it first detaches all queues.
 */
export class MemoryTable {
  /** Changes with the table; threads keep views of memory under this number. */
  id = nextId++;
  readonly #allowUnsealed: boolean;
  #entries: Entry[] = [];

  /** @param allowUnsealed - trust the front end not to cut its memory short, which would end this process */
  constructor(allowUnsealed: boolean) {
    this.#allowUnsealed = allowUnsealed;
  }

  get regions(): MappedRegion[] {
    return this.#entries.map((entry) => entry.region);
  }

  /** Replaces the whole table. */
  async set(regions: readonly RegionMessage[], fds: readonly number[]): Promise<void> {
    if (regions.length !== fds.length) {
      throw new SidecoreError(
        'MESSAGE_FDS',
        `memory table of ${regions.length} regions came with ${fds.length} descriptors`,
      );
    }
    const fresh: Entry[] = [];
    try {
      for (const [index, region] of regions.entries()) fresh.push(await this.#map(region, fds[index]!, fresh));
    } catch (error) {
      for (const entry of fresh) unmap(entry.map);
      throw error;
    }
    const old = this.#entries;
    this.#replace(fresh);
    for (const entry of old) retire(entry.map);
  }

  /** Adds a region; the same one again is noted, and stays until it was removed as often. */
  async add(region: RegionMessage, fd: number): Promise<void> {
    const known = this.#find(region);
    if (known !== undefined && known.source === sourceOf(region, fd)) {
      known.times++;
      return;
    }
    this.#replace([...this.#entries, await this.#map(region, fd, this.#entries)]);
  }

  /** Removes the region with the same addresses and size. */
  remove(region: RegionMessage): void {
    const entry = this.#find(region);
    if (entry === undefined)
      throw new SidecoreError('MEMORY_TABLE_INVALID', 'the region to remove is not in the table');
    if (--entry.times > 0) return;
    this.#replace(this.#entries.filter((other) => other !== entry));
    retire(entry.map);
  }

  clear(): void {
    const old = this.#entries;
    this.#replace([]);
    for (const entry of old) retire(entry.map);
  }

  #find({ guestAddress, userAddress, size }: RegionMessage): Entry | undefined {
    return this.#entries.find(
      ({ region }) =>
        BigInt(region.guestAddress) === guestAddress &&
        BigInt(region.userAddress) === userAddress &&
        BigInt(region.size) === size,
    );
  }

  #replace(entries: Entry[]): void {
    this.#entries = entries;
    this.id = nextId++;
  }

  async #map(message: RegionMessage, fd: number, others: readonly Entry[]): Promise<Entry> {
    const invalid = (why: string) => new SidecoreError('MEMORY_TABLE_INVALID', `memory region refused: ${why}`);
    const { guestAddress, size, userAddress, mmapOffset } = message;
    if (others.length >= MEMORY_REGIONS_MAX) throw invalid(`more than ${MEMORY_REGIONS_MAX} regions`);
    if (size === 0n) throw invalid('it is empty');
    if (mmapOffset % REGION_ALIGNMENT !== 0n)
      throw invalid(`offset ${mmapOffset} in its file is no multiple of ${REGION_ALIGNMENT}`);
    for (const start of [guestAddress, userAddress, mmapOffset]) {
      if (start + size > ADDRESS_MAX) throw invalid(`address ${start} and size ${size} reach beyond 2^52`);
    }
    const region = { guestAddress: Number(guestAddress), size: Number(size), userAddress: Number(userAddress) };
    const total = others.reduce((sum, entry) => sum + entry.region.size, region.size);
    if (total > MEMORY_BYTES_MAX) throw invalid(`more than ${MEMORY_BYTES_MAX} bytes of guest memory in all`);
    for (const { region: other } of others) {
      if (overlap(region.guestAddress, other.guestAddress, region.size, other.size))
        throw invalid('it overlaps another');
    }

    // Sealed before it is measured: in between it could be cut short.
    if (!(await sealAgainstShrinking(fd)) && !this.#allowUnsealed) {
      throw new SidecoreError(
        'MEMORY_UNSEALED',
        'guest memory refused: its file can be cut short by the VMM, which would end this daemon and all its guests',
        'Share memory as a memfd that can be sealed (QEMU: memory-backend-memfd), or trust this VM: `unsealed_memory: allow`.',
      );
    }
    const file = fstatSync(fd);
    const offset = Number(mmapOffset);
    if (file.size < offset + region.size)
      throw invalid(`its file has ${file.size} bytes, ${offset + region.size} are needed`);
    // Huge pages are mapped in whole pages of their own size.
    const page = Math.max(PAGE_BYTES, file.blksize);
    const start = Math.floor(offset / page) * page;
    const length = Math.ceil((offset - start + region.size) / page) * page;
    const map = mapFile(fd, start, length);
    const source = sourceOf(message, fd);
    return { region: { ...region, hostAddress: map.address + offset - start }, map, source, times: 1 };
  }
}

function sourceOf({ mmapOffset }: RegionMessage, fd: number): string {
  const { dev, ino } = fstatSync(fd);
  return `${dev}:${ino}:${mmapOffset}`;
}

function overlap(start: number, otherStart: number, size: number, otherSize: number): boolean {
  return start < otherStart + otherSize && otherStart < start + size;
}
