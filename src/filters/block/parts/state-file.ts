import { closeSync, existsSync, fstatSync, openSync, readSync, renameSync, unlinkSync } from 'node:fs';
import { lockImage } from '../../../block/backends/file/lock.js';
import { messageOf, SidecoreError } from '../../../errors.js';
import { bootId } from '../../../host/boot-id.js';
import { requireWritable } from '../../../host/file-faults.js';
import {
  allocateFile,
  type MemoryMap,
  mapAnonymous,
  mapFile,
  PAGE_BYTES,
  syncMap,
  unmap,
} from '../../../host/memory-map.js';
import { viewBytes } from '../../../host/memory-view.js';

/** How a state file was left: there was none, in order, by a process that was killed, or by a host that went down. */
export type Found = 'new' | 'clean' | 'killed' | 'host-down';

/** What a state file is for. */
export interface StateShape {
  /** Which filter's, at most 16 ASCII letters. */
  readonly magic: string;
  /** Whose: another one's state means nothing. At most 256 bytes. */
  readonly identity: string;
  /** Of the state itself, which begins with a page. */
  readonly bytes: number;
}

/** Byte offsets in a file's first page. The state begins with the next one. */
const Head = { MAGIC: 0, IDENTITY: 16, BYTES: 272, CLEAN: 280, BOOT: 284 } as const;
const MAGIC_BYTES = 16;
const IDENTITY_BYTES = 256;
const BOOT_BYTES = 36;

/** State of a filter that outlives this process, as memory: a mapped file. Its address is good in every thread. */
export interface StateFile {
  readonly address: number;
  readonly found: Found;
  /** How many filters have it: one, or the second one takes the first one's place. */
  readonly users: number;
  close(): void;
}

interface OpenState extends StateFile {
  readonly identity: string;
  readonly owner: SharedArrayBuffer;
  users: number;
}

/** Those of this process: a filter that takes another's place opens its file while that still uses it. */
const open = new Map<string, OpenState>();

/** Memory in place of files. */
const inMemory = new WeakMap<SharedArrayBuffer, OpenState>();

/**
 * Opens a state file, or makes it. What was written to it is there after the process was killed, but not, or only partly, after the
 * host went down, unless it had been closed.
 *
 * @param path - undefined: memory only
 * @param owner - what the filter's queues share: one that takes another's place, with the same memory, gets the same state
 * @param recover - makes the state what it has to be after it was found so; if this process is killed meanwhile, it is found so again
 */
export function openStateFile(
  path: string | undefined,
  shape: StateShape,
  owner: SharedArrayBuffer,
  recover: (address: number, found: Found) => void,
): StateFile {
  const known = path === undefined ? inMemory.get(owner) : open.get(path);
  if (known !== undefined) {
    if (known.owner !== owner || known.identity !== shape.identity)
      throw new SidecoreError('IMAGE_BUSY', `${path} is in use by another filter, of ${known.identity}`);
    known.users++;
    return known;
  }
  if (path === undefined) return memoryState(shape, owner, recover);
  const state = openFile(path, shape, owner, recover);
  open.set(path, state);
  return state;
}

/** Throws what would keep a state file from being opened: looks only. */
export function checkStateFile(path: string, shape: Pick<StateShape, 'magic'>): void {
  requireWritable(path);
  if (!existsSync(path)) return;
  const fd = openSync(path, 'r');
  try {
    requireMagic(readPage(fd), path, shape);
  } finally {
    closeSync(fd);
  }
}

function memoryState(
  { bytes, identity }: StateShape,
  owner: SharedArrayBuffer,
  recover: (address: number, found: Found) => void,
): StateFile {
  const map = mapAnonymous(Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES);
  const state: OpenState = {
    address: map.address,
    found: 'new',
    identity,
    owner,
    users: 1,
    close() {
      if (--this.users > 0) return;
      inMemory.delete(owner);
      unmap(map);
    },
  };
  recover(map.address, 'new');
  inMemory.set(owner, state);
  return state;
}

function openFile(
  path: string,
  shape: StateShape,
  owner: SharedArrayBuffer,
  recover: (address: number, found: Found) => void,
): OpenState {
  let fd = -1;
  try {
    fd = openIfThere(path);
    if (fd < 0) return makeFile(path, shape, owner, recover);
    lockImage(fd, path, false);
    const head = readHead(fd, path, shape);
    if (head === undefined) {
      const state = makeFile(path, shape, owner, recover);
      closeSync(fd);
      return state;
    }
    const found = head.clean ? 'clean' : head.boot === bootId() ? 'killed' : 'host-down';
    const map = mapFile(fd, 0, fstatSync(fd).size);
    recover(map.address + PAGE_BYTES, found);
    writeHead(map, shape, false);
    return opened(path, fd, map, shape, owner, found);
  } catch (error) {
    if (fd >= 0) closeSync(fd);
    if (error instanceof SidecoreError) throw error;
    throw new SidecoreError('IMAGE_INVALID', `${path} cannot be used: ${messageOf(error)}`);
  }
}

/** Returns a descriptor; negative if there is no such file. */
function openIfThere(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return -1;
    throw error;
  }
}

/** As another file first, so that one of this name is whole. */
function makeFile(
  path: string,
  shape: StateShape,
  owner: SharedArrayBuffer,
  recover: (address: number, found: Found) => void,
): OpenState {
  const draft = `${path}.new`;
  const fd = openSync(draft, 'w+', 0o600);
  try {
    const length = PAGE_BYTES + Math.ceil(shape.bytes / PAGE_BYTES) * PAGE_BYTES;
    allocateFile(fd, length);
    lockImage(fd, path, false);
    const map = mapFile(fd, 0, length);
    recover(map.address + PAGE_BYTES, 'new');
    writeHead(map, shape, false);
    syncMap(map);
    renameSync(draft, path);
    return opened(path, fd, map, shape, owner, 'new');
  } catch (error) {
    closeSync(fd);
    unlinkSync(draft);
    throw error;
  }
}

function opened(
  path: string,
  fd: number,
  map: MemoryMap,
  shape: StateShape,
  owner: SharedArrayBuffer,
  found: Found,
): OpenState {
  return {
    address: map.address + PAGE_BYTES,
    found,
    identity: shape.identity,
    owner,
    users: 1,
    close() {
      if (--this.users > 0) return;
      open.delete(path);
      // The state first, then that it is whole.
      syncMap(map);
      writeHead(map, shape, true);
      syncMap(map);
      unmap(map);
      closeSync(fd);
    },
  };
}

/** Undefined if it is another's. Throws if it is no such file at all. */
function readHead(fd: number, path: string, shape: StateShape): { clean: boolean; boot: string } | undefined {
  const head = readPage(fd);
  requireMagic(head, path, shape);
  const text = (at: number, length: number) => textAt(head, at, length);
  const size = PAGE_BYTES + Math.ceil(shape.bytes / PAGE_BYTES) * PAGE_BYTES;
  const isSame =
    text(Head.IDENTITY, IDENTITY_BYTES) === shape.identity &&
    head.readDoubleLE(Head.BYTES) === shape.bytes &&
    fstatSync(fd).size === size;
  if (!isSame) return undefined;
  return { clean: head.readUInt32LE(Head.CLEAN) === 1, boot: text(Head.BOOT, BOOT_BYTES) };
}

function readPage(fd: number): Buffer {
  const page = Buffer.alloc(PAGE_BYTES);
  readSync(fd, page, 0, PAGE_BYTES, 0);
  return page;
}

const textAt = (page: Buffer, at: number, length: number) => page.toString('utf8', at, at + length).replace(/\0+$/, '');

function requireMagic(page: Buffer, path: string, { magic }: Pick<StateShape, 'magic'>): void {
  if (textAt(page, Head.MAGIC, MAGIC_BYTES) === magic) return;
  throw new SidecoreError(
    'IMAGE_INVALID',
    `${path} is no file of the filter ${magic.split(' ').at(-1)}`,
    'Name another file; this one is left as it is.',
  );
}

function writeHead(map: MemoryMap, { magic, identity, bytes }: StateShape, clean: boolean): void {
  const head = viewBytes(map.address, PAGE_BYTES);
  head.fill(0, Head.MAGIC, Head.IDENTITY + IDENTITY_BYTES);
  head.write(magic, Head.MAGIC);
  head.write(identity, Head.IDENTITY, IDENTITY_BYTES, 'utf8');
  head.writeDoubleLE(bytes, Head.BYTES);
  head.writeUInt32LE(clean ? 1 : 0, Head.CLEAN);
  head.write(bootId(), Head.BOOT, BOOT_BYTES, 'latin1');
}
