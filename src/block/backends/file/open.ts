import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { MORE_DESCRIPTORS, SidecoreError } from '../../../errors.js';
import { IoUring } from '../../../host/io-uring.js';
import { DISK_BYTES_MAX } from '../../../limits.js';
import { SECTOR_BYTES } from '../../features.js';
import type { OpenDisk } from '../backend.js';
import { IoErrors } from '../io-errors.js';
import { type EngineKind, noUring } from './engine.js';
import { formatFault } from './format.js';
import { openImageHere, stampOf } from './image.js';
import { lockImage } from './lock.js';
import { bytesOf, canPunchHoles, directAlignBytes, fileSystemKind, physicalBlockBytes, sizeOf } from './probe.js';

export interface FileOptions {
  readonly type: 'file';
  /** Of a regular file with the disk's content as it is (raw), or of a block device. */
  readonly path: string;
  /**
   * Bytes. A file that does not exist is made, sparse, with this size. One that does must have at least this size, and is
   * served whole: it may have grown since the configuration was written.
   */
  readonly size?: number | undefined;
  readonly readOnly?: boolean | undefined;
  /** Past the page cache (O_DIRECT). */
  readonly direct?: boolean | undefined;
  /** A file that is made has its folder made as well. */
  readonly makesFolder?: boolean | undefined;
  /** How the file is reached; `docs/file-back-end.md` says what `auto` takes, and why. */
  readonly engine?: 'auto' | 'io_uring' | 'sync' | undefined;
}

export interface FileSpec {
  readonly type: 'file';
  /** Open in the whole process until the disk is closed. */
  readonly fd: number;
  readonly engine: EngineKind;
  /** What addresses have to be a multiple of with O_DIRECT, bytes; 1 without. */
  readonly memoryAlignBytes: number;
  readonly canPunch: boolean;
  /** One 32-bit word, shared by all sidecores: not zero once the kernel has lost acknowledged writes. */
  readonly lostWrites: SharedArrayBuffer;
  /** Memory of its `IoErrors`. */
  readonly ioErrors: SharedArrayBuffer;
}

/** Opens and locks an image, making it first if that is asked for. */
export function openFile(options: FileOptions): OpenDisk<FileSpec> {
  if (options.engine === 'io_uring') requireUring();
  const isNew = statIfThere(options.path) === undefined;
  const fd = openImage(options);
  const undo = () => {
    if (isNew) removeIfEmpty(options.path);
  };
  try {
    return { ...describe(fd, options), undo };
  } catch (error) {
    closeSync(fd);
    undo();
    throw error;
  }
}

/** Removes an image that was made here, unless there are data in it. */
function removeIfEmpty(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.blocks === 0) unlinkSync(path);
}

function describe(fd: number, options: FileOptions): OpenDisk<FileSpec> {
  const { path, readOnly = false, direct = false, engine = 'auto' } = options;
  lockImage(fd, path, readOnly);
  const stats = fstatSync(fd);
  const sizeBytes = checkedSize(stats, options);
  const kind = fileSystemKind(path, stats);
  // Before the look for holes, which counts as writing.
  const openedStamp = stampOf(fd);
  const canPunch = !readOnly && canPunchHoles(fd, stats);
  const ioErrors = new IoErrors();
  const image = openImageHere(fd, readOnly, openedStamp);
  return {
    spec: {
      type: 'file',
      fd,
      engine: engine === 'auto' && kind.memory ? 'memory' : engine,
      memoryAlignBytes: direct ? directAlignBytes(fd, path) : 1,
      canPunch,
      lostWrites: new SharedArrayBuffer(4),
      ioErrors: ioErrors.memory,
    },
    ioErrors,
    abilities: {
      sizeBytes,
      readOnly,
      discard: canPunch,
      writeZeroes: !readOnly,
      secureErase: !readOnly && kind.inPlace,
      inOrder: false,
      physicalBlockBytes: physicalBlockBytes(stats),
    },
    image: image.image,
    resize: (wantedBytes) => resize(fd, path, readOnly, wantedBytes),
    close() {
      image.close();
      closeSync(fd);
    },
  };
}

/** Opens the file, or makes it. Returns its descriptor. */
function openImage(options: FileOptions): number {
  const { path, size, readOnly = false, direct = false, makesFolder = false } = options;
  const stats = statIfThere(path);
  let flags = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  if (direct) flags |= constants.O_DIRECT;
  if (stats === undefined) {
    if (size === undefined || readOnly) throw missing(path, readOnly);
    if (makesFolder) attempt(path, options, () => mkdirSync(dirname(path), { recursive: true }));
    return create(path, size, flags);
  }
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new SidecoreError('IMAGE_INVALID', `${path} is neither a file nor a block device`);
  }
  const fault = attempt(path, options, () => formatFault(path, size, bytesOf(stats)));
  if (fault !== undefined) throw new SidecoreError('IMAGE_INVALID', fault.text, fault.remedy);
  // A device that the host itself uses (mounted, part of a volume) is refused with EBUSY.
  if (stats.isBlockDevice() && !readOnly) flags |= constants.O_EXCL;
  return attempt(path, options, () => openSync(path, flags));
}

function statIfThere(path: string): Stats | undefined {
  return attempt(path, {}, () => statSync(path, { throwIfNoEntry: false }));
}

/** Makes a sparse file. */
function create(path: string, size: number, flags: number): number {
  if (size < SECTOR_BYTES || size > DISK_BYTES_MAX) {
    throw new SidecoreError('IMAGE_INVALID', `${path} cannot be made with a size of ${size} bytes`);
  }
  const options = { direct: (flags & constants.O_DIRECT) !== 0 };
  const fd = attempt(path, options, () => openSync(path, flags | constants.O_CREAT | constants.O_EXCL, 0o600));
  try {
    attempt(path, options, () => ftruncateSync(fd, size));
    return fd;
  } catch (error) {
    closeSync(fd);
    unlinkSync(path);
    throw error;
  }
}

function checkedSize(stats: Stats, { path, size }: FileOptions): number {
  const sizeBytes = sizeOf(stats);
  const hasBytes = bytesOf(stats);
  const isDisk = sizeBytes >= SECTOR_BYTES && sizeBytes <= DISK_BYTES_MAX;
  if (size !== undefined && sizeBytes < Math.floor(size / SECTOR_BYTES) * SECTOR_BYTES) {
    throw new SidecoreError(
      'IMAGE_INVALID',
      `${path} has ${hasBytes} bytes, less than the ${size} bytes of its disk`,
      `Is it the right file? If so, grow it (truncate -s ${size})${isDisk ? ', or leave `size` out of the disk' : ''}.`,
    );
  }
  if (!isDisk) {
    throw new SidecoreError(
      'IMAGE_INVALID',
      `${path} has ${hasBytes} bytes, which is no disk`,
      sizeBytes < SECTOR_BYTES ? 'Make it larger (truncate -s), or remove it and give the disk a `size`.' : '',
    );
  }
  return sizeBytes;
}

/** Grows the file, or takes over the size that it has. */
function resize(fd: number, path: string, readOnly: boolean, wantedBytes: number | undefined): number {
  const stats = fstatSync(fd);
  const sizeBytes = sizeOf(stats);
  if (wantedBytes === undefined || wantedBytes === sizeBytes) return sizeBytes;
  const refuse = (why: string, remedy: string) => new SidecoreError('IMAGE_INVALID', `${path} ${why}`, remedy);
  if (wantedBytes < sizeBytes) {
    throw refuse(`has ${sizeBytes} bytes and is not made smaller: data would be lost`, 'Ask for a larger size.');
  }
  if (wantedBytes > DISK_BYTES_MAX) throw refuse('cannot be made that large', `The limit is ${DISK_BYTES_MAX} bytes.`);
  if (stats.isBlockDevice()) {
    throw refuse('is a block device', 'Grow the device itself, then resize the disk without naming a size.');
  }
  if (readOnly) throw refuse('is read-only', 'Leave `read_only` out of the disk.');
  attempt(path, {}, () => ftruncateSync(fd, wantedBytes));
  return sizeOf(fstatSync(fd));
}

function requireUring(): void {
  const ring = IoUring.create(1);
  if (ring === undefined) throw noUring();
  ring.close();
}

/** Calls the operating system, and says clearly what it refuses. */
function attempt<T>(path: string, { readOnly = false, direct = false }: Partial<FileOptions>, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    switch (code) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw missing(path, readOnly);
      case 'EACCES':
      case 'EPERM':
      case 'EROFS':
        throw new SidecoreError(
          'IMAGE_PERMISSION',
          `${path} may not be ${readOnly ? 'read' : 'read and written'} by user ${process.getuid?.()} (${code})`,
          readOnly ? 'Change its owner or mode.' : 'Change its owner or mode, or make the disk `read_only`.',
        );
      case 'EFBIG':
        throw new SidecoreError(
          'IMAGE_INVALID',
          `${path} cannot be that large on its file system (${code})`,
          'Ask for less, or move the image to another file system.',
        );
      case 'EMFILE':
      case 'ENFILE':
        throw new SidecoreError('SYSTEM_CALL_FAILED', `${path} cannot be opened: ${code}`, MORE_DESCRIPTORS);
      case 'EBUSY':
      case 'ETXTBSY':
        throw new SidecoreError(
          'IMAGE_BUSY',
          `${path} is in use by this host (${code})`,
          'Unmount it, or stop what runs from it.',
        );
      case 'EINVAL':
        if (!direct) break;
        throw new SidecoreError(
          'IMAGE_INVALID',
          `${path} is on a file system without O_DIRECT`,
          'Leave `direct` out of the disk.',
        );
      default:
    }
    throw new SidecoreError('IMAGE_INVALID', `${path} cannot be used: ${message}`);
  }
}

function missing(path: string, readOnly: boolean): SidecoreError {
  const folder = dirname(path);
  if (!existsSync(folder)) {
    return new SidecoreError(
      'IMAGE_MISSING',
      `${path} cannot be: folder ${folder} does not exist`,
      'Make the folder, or correct the path.',
    );
  }
  return new SidecoreError(
    'IMAGE_MISSING',
    `${path} does not exist`,
    readOnly ? 'Check the path.' : 'Check the path, or give the disk a `size` to have it made.',
  );
}
