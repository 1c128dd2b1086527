import {
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { SidecoreError } from '../../../errors.js';
import { bootId } from '../../../host/boot-id.js';
import { requireWritable } from '../../../host/file-faults.js';
import { type MemoryMap, mapFile } from '../../../host/memory-map.js';
import { viewBytes } from '../../../host/memory-view.js';
import { reserve } from './allocate.js';
import { type ClusterMap, MAP_PAGE_BYTES } from './cluster-map.js';
import { clusterMap, liveAt, mapFileBytes, pagesOf, type Shape, stableAt } from './layout.js';

const MAGIC = 'sidecore clusters 1\n';

/** What the file says of itself, in its first page: text, so that a person can read it. */
export interface MapHeader {
  readonly kind: 'overlay' | 'snapshots';
  readonly diskBytes: number;
  readonly clusterBytes: number;
  readonly slots: number;
  /** When its bits were last in use: an identifier of the running kernel. */
  readonly boot: string;
  /** What an overlay was made on. */
  readonly base?: string;
}

/**
 * The file of a store's bitmaps, open and mapped, on the main thread. Each is there twice: the bits that are true now, which outlive this
 * process; and those that were made durable after their data were, from which one goes on after the kernel has gone down.
 */
export class MapFile {
  readonly fd: number;
  readonly #path: string;
  readonly map: MemoryMap;
  readonly header: MapHeader;
  readonly shape: Shape;
  /** It has been made just now. */
  readonly isNew: boolean;
  /** The kernel was another one when it was used last: what was not durable is gone. */
  readonly afterBoot: boolean;

  private constructor(path: string, fd: number, map: MemoryMap, header: MapHeader, isNew: boolean, afterBoot: boolean) {
    this.#path = path;
    this.fd = fd;
    this.map = map;
    this.header = header;
    this.shape = header;
    this.isNew = isNew;
    this.afterBoot = afterBoot;
  }

  /**
   * Throws `IMAGE_INVALID` if a file is not what is wanted; it need not be there. Only looks.
   *
   * @param check - throws what else is wrong with it
   */
  static look(path: string, wanted: Omit<MapHeader, 'boot'>, check: (old: MapHeader) => void = () => {}): void {
    if (!existsSync(path)) return;
    requireWritable(path);
    const fd = attempt(path, () => openSync(path, constants.O_RDONLY));
    try {
      const { size } = fstatSync(fd);
      if (size === 0) return;
      const old = readHeader(fd, path);
      requireSame(old, wanted, path, size);
      check(old);
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Opens a file, or makes it if there is none. The store's data are locked by the caller. Throws `IMAGE_INVALID` if it is not what is
   * wanted.
   */
  static open(path: string, wanted: Omit<MapHeader, 'boot'>): MapFile {
    const fd = attempt(path, () => openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
    try {
      const isNew = fstatSync(fd).size === 0;
      const old = isNew ? undefined : readHeader(fd, path);
      if (old !== undefined) requireSame(old, wanted, path, fstatSync(fd).size);
      const header = { ...wanted, boot: bootId() };
      const bytes = mapFileBytes(header);
      if (isNew) attempt(path, () => ftruncateSync(fd, bytes));
      // Its first pages, which are mapped too.
      reserve(fd, path, 0, Math.min(bytes, 2 * MAP_PAGE_BYTES));
      const map = mapFile(fd, 0, bytes);
      const afterBoot = old !== undefined && old.boot !== header.boot;
      const file = new MapFile(path, fd, map, header, isNew, afterBoot);
      if (afterBoot) for (let slot = 0; slot < header.slots; slot++) file.#goBack(slot);
      attempt(path, () => file.#writeHeader(path));
      return file;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Puts the bits of a slot back to those that are durable. */
  #goBack(slot: number): void {
    const bytes = pagesOf(this.shape) * MAP_PAGE_BYTES;
    for (let at = 0; at < bytes; at += MAP_PAGE_BYTES)
      this.#setPage(liveAt(this.shape, slot) + at, this.#readPage(stableAt(this.shape, slot) + at));
  }

  /** By a system call: where the file is memory (tmpfs), a look through the mapping takes room, and ends the process if there is none. */
  #readPage(at: number): Buffer {
    const page = Buffer.alloc(MAP_PAGE_BYTES);
    readSync(this.fd, page, 0, MAP_PAGE_BYTES, at);
    return page;
  }

  /** Writes a page that is not so already. */
  #setPage(at: number, page: Buffer): void {
    if (!this.#readPage(at).equals(page)) page.copy(viewBytes(this.map.address + at, MAP_PAGE_BYTES));
  }

  /** Makes sure that there is room for the bits of a slot. Throws `IMAGE_INVALID` if there is none. */
  reserve(slot: number): void {
    reserve(this.fd, this.#path, liveAt(this.shape, slot), pagesOf(this.shape) * MAP_PAGE_BYTES);
  }

  /** The clusters that a slot's store has. */
  mapOf(shared: SharedArrayBuffer, slot: number): ClusterMap {
    return clusterMap(this.shape, shared, this.map.address, slot);
  }

  /** Has the bits of a slot be zeros: those that are true now, or those that are durable. */
  clear(slot: number, which: 'live' | 'stable'): void {
    const begin = which === 'live' ? liveAt(this.shape, slot) : stableAt(this.shape, slot);
    const bytes = pagesOf(this.shape) * MAP_PAGE_BYTES;
    const zeros = Buffer.alloc(MAP_PAGE_BYTES);
    for (let at = begin; at < begin + bytes; at += MAP_PAGE_BYTES) this.#setPage(at, zeros);
    if (which === 'stable') fdatasyncSync(this.fd);
  }

  #writeHeader(path: string): void {
    const page = Buffer.alloc(MAP_PAGE_BYTES);
    page.write(`${MAGIC}${JSON.stringify(this.header, undefined, 1)}\n`);
    writeSync(this.fd, page, 0, MAP_PAGE_BYTES, 0);
    if (this.isNew) syncFolder(path);
    fsyncSync(this.fd);
  }

  /** It stays mapped: a helper may still be making durable what a sidecore that has died had asked for. */
  close(): void {
    closeSync(this.fd);
  }
}

/** What a map says of itself. Throws `IMAGE_INVALID` if it is none. */
export function readHeader(fd: number, path: string): MapHeader {
  const page = Buffer.alloc(MAP_PAGE_BYTES);
  readSync(fd, page, 0, MAP_PAGE_BYTES, 0);
  const text = page.toString('utf8').replace(/\0+$/, '');
  try {
    if (!text.startsWith(MAGIC)) throw new Error('it has another beginning');
    return JSON.parse(text.slice(MAGIC.length)) as MapHeader;
  } catch (error) {
    throw new SidecoreError(
      'IMAGE_INVALID',
      `${path} is no map of clusters`,
      'Name another file; this one is left as it is.',
      {
        cause: error,
      },
    );
  }
}

function requireSame(old: MapHeader, wanted: Omit<MapHeader, 'boot'>, path: string, bytes: number): void {
  const fail = (text: string, remedy: string) => {
    throw new SidecoreError('IMAGE_INVALID', `${path} ${text}`, remedy);
  };
  if (old.kind !== wanted.kind) fail(`belongs to ${old.kind}, not to ${wanted.kind}`, 'Name another file.');
  if (old.diskBytes !== wanted.diskBytes)
    fail(
      `is for a disk of ${old.diskBytes} bytes, and this one has ${wanted.diskBytes}`,
      'Use it with the disk that it was made for.',
    );
  for (const key of ['clusterBytes', 'slots'] as const)
    if (old[key] !== wanted[key])
      fail(`was made with ${key} ${old[key]}, not ${wanted[key]}`, 'That stays as it is: change the option back.');
  if (bytes !== mapFileBytes(old)) fail(`has ${bytes} bytes, and should have ${mapFileBytes(old)}`, 'It is damaged.');
}

/** Makes what has been made in a file's folder durable. */
export function syncFolder(path: string): void {
  const fd = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function attempt<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new SidecoreError(
      'IMAGE_INVALID',
      `${path} cannot be used: ${code ?? error}`,
      'See that its folder is there, and has room.',
    );
  }
}
