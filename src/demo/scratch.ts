import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { controlSocketPath } from '../daemon/daemon.js';
import { SidecoreError } from '../errors.js';
import { OnExit } from './interruption.js';
import { TALKERS } from './plan.js';

/** Space that has to be left over, bytes: for the log, the configuration, and others. */
const SPARE_BYTES = 16 * 2 ** 20;
/**
 * Written at a time, so that the page cache gets single pages: with longer writes ext4 (since Linux 6.16) makes large folios,
 * in which every later write of 4 KiB costs three to five times as long.
 */
const CHUNK = Buffer.alloc(4096);
/** Longest path of a Unix socket, bytes (struct sockaddr_un, less the final zero). */
const SOCKET_PATH_BYTES_MAX = 107;

/** A folder for images, sockets, configuration and log, that is removed whatever the demo's end. */
export class Scratch {
  readonly path: string;
  readonly #removal: OnExit | undefined;

  /** Makes a new folder in `parent`. */
  constructor(parent: string, keep: boolean) {
    try {
      if (!existsSync(parent)) mkdirSync(parent);
      this.path = mkdtempSync(join(parent, 'sidecore-demo-'));
    } catch (error) {
      throw noSpaceOr(error, parent);
    }
    this.#removal = keep ? undefined : new OnExit(() => rmSync(this.path, { recursive: true, force: true }));
    if (Buffer.byteLength(this.socket(`guest${'9'.repeat(2)}`)) > SOCKET_PATH_BYTES_MAX) {
      this.remove();
      throw new SidecoreError(
        'SOCKET_INVALID',
        `${parent} is too long a path for sockets`,
        'Name a shorter one with --scratch.',
      );
    }
  }

  get configuration(): string {
    return join(this.path, 'sidecore.yaml');
  }

  get log(): string {
    return join(this.path, 'daemon.log');
  }

  #runDir(): string {
    return join(this.path, 'run');
  }

  get controlSocket(): string {
    return controlSocketPath(this.#runDir());
  }

  /** The vhost-user socket of a VM's disk. */
  socket(vm: string, device = 'disk0'): string {
    return join(this.#runDir(), `${vm}.${device}.sock`);
  }

  image(vm: string): string {
    return join(this.path, `${vm}.img`);
  }

  /** Writes the configuration of a daemon that serves each VM its image. */
  configure(vms: readonly string[], { mode, cpu, engine }: { mode: string; cpu: number; engine: string }): void {
    const disk = (vm: string) => `        backend: { type: file, path: ${vm}.img, engine: ${engine} }`;
    const disks = (vm: string) => [`  ${vm}:`, '    disks:', '      disk0:', disk(vm)];
    const nics = TALKERS.map((vm) => `  ${vm}: { nics: { net0: {} } }`);
    const lines = ['run_dir: run', `mode: ${mode}`, `cores: [${cpu}]`, 'vms:', ...vms.flatMap(disks), ...nics];
    writeFileSync(this.configuration, `${lines.join('\n')}\n`);
  }

  /** Makes images anew, of zeros that are written out: so a full disk is noticed here. */
  writeImages(vms: readonly string[], bytes: number): void {
    const { bavail, bsize } = statfsSync(this.path);
    const needed = vms.length * bytes + SPARE_BYTES;
    if (bavail * bsize < needed) throw noSpace(this.path, needed);
    for (const vm of vms) this.#writeImage(this.image(vm), bytes);
  }

  /** Makes an image that takes space only as it is filled. */
  makeSparseImage(vm: string, bytes: number): void {
    writeFileSync(this.image(vm), '');
    truncateSync(this.image(vm), bytes);
  }

  remove(): void {
    this.#removal?.now();
  }

  #writeImage(path: string, bytes: number): void {
    const fd = openSync(path, 'w');
    try {
      for (let at = 0; at < bytes; ) at += writeSync(fd, CHUNK, 0, Math.min(CHUNK.length, bytes - at));
    } catch (error) {
      throw noSpaceOr(error, this.path);
    } finally {
      closeSync(fd);
    }
  }
}

function noSpaceOr(error: unknown, path: string): SidecoreError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return noSpace(path);
  return new SidecoreError(
    'SYSTEM_CALL_FAILED',
    `cannot write in ${path}: ${code}`,
    'Name another folder with --scratch.',
  );
}

function noSpace(path: string, needed?: number): SidecoreError {
  const how = needed === undefined ? '' : `: the demo needs ${Math.ceil(needed / 2 ** 20)} MiB`;
  return new SidecoreError('SYSTEM_CALL_FAILED', `no space in ${path}${how}`, 'Name another folder with --scratch.');
}
