import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { BackendHost } from '../../src/block/backends/backend.js';
import { FileBackend } from '../../src/block/backends/file/backend.js';
import type { FileOptions, FileSpec } from '../../src/block/backends/file/open.js';
import { type BackendSpec, createBackend, openDisk } from '../../src/block/backends/index.js';
import { SECTOR_BYTES, Status } from '../../src/block/features.js';
import { IoUring } from '../../src/host/io-uring.js';
import { backendConformance, type Variant } from './backend.js';
import { BackendRig, sectorsAt } from './backend-rig.js';
import { FaultyEngine } from './faulty-engine.js';

const directory = mkdtempSync(join(tmpdir(), 'sidecore-conformance-'));
const inMemory = existsSync('/dev/shm') ? mkdtempSync('/dev/shm/sidecore-conformance-') : undefined;
after(() => {
  rmSync(directory, { recursive: true, force: true });
  if (inMemory !== undefined) rmSync(inMemory, { recursive: true, force: true });
});

const ring = IoUring.create(1);
ring?.close();
const noRing = ring === undefined ? 'the kernel refuses io_uring' : false;
const noRoot = process.getuid?.() === 0 ? false : 'only root can mount and set up loop devices';

/** Whether a command of the host works. */
function works(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

let images = 0;
const newImage = (where = directory) => join(where, `${images++}.img`);

function fileVariant(name: string, skip: string | false, options: Partial<FileOptions>, where?: string): Variant {
  return {
    name: `file, ${name}`,
    skip,
    keepsData: true,
    grows: true,
    make(size) {
      const path = newImage(where);
      return { options: { type: 'file', path, size, ...options }, release: () => rmSync(path, { force: true }) };
    },
  };
}

function loopVariant(name: string, options: Partial<FileOptions>): Variant {
  const noLoop = noRoot === false && !works('losetup', '--find') ? 'there are no loop devices' : noRoot;
  return {
    name: `block device, ${name}`,
    skip: noLoop,
    keepsData: true,
    grows: false,
    make(size) {
      const image = newImage();
      closeSync(openSync(image, 'w'));
      truncateSync(image, size);
      const path = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
      const release = () => {
        execFileSync('losetup', ['--detach', path]);
        rmSync(image);
      };
      return { options: { type: 'file', path, ...options }, release };
    },
  };
}

function faultyBackend(spec: BackendSpec, host: BackendHost): FileBackend {
  const file = spec as FileSpec;
  return new FileBackend(file, host, new FaultyEngine(file.fd));
}

/** Whether the directory's file system takes O_DIRECT. */
function noDirect(): string | false {
  const path = newImage();
  try {
    openDisk({ type: 'file', path, size: 4096, direct: true }).close();
    return false;
  } catch {
    return `${directory} is on a file system without O_DIRECT`;
  } finally {
    rmSync(path, { force: true });
  }
}

const plain = {
  skip: false as const,
  grows: false,
  make: (size: number) => ({ options: { type: 'memory', size } as const, release() {} }),
};

const VARIANTS: readonly Variant[] = [
  { ...plain, name: 'null', keepsData: false, make: (size) => ({ options: { type: 'null', size }, release() {} }) },
  { ...plain, name: 'memory', keepsData: true },
  fileVariant('io_uring', noRing, { engine: 'io_uring' }),
  fileVariant('sync', false, { engine: 'sync' }),
  fileVariant('O_DIRECT by io_uring', noRing || noDirect(), { engine: 'io_uring', direct: true }),
  fileVariant('O_DIRECT by sync', noDirect(), { engine: 'sync', direct: true }),
  fileVariant('tmpfs', inMemory === undefined ? 'there is no /dev/shm' : false, {}, inMemory),
  { ...fileVariant('system calls that fall short', false, {}), create: faultyBackend },
  { ...fileVariant('O_DIRECT by system calls that fall short', noDirect(), { direct: true }), create: faultyBackend },
  loopVariant('loop', {}),
  loopVariant('loop with O_DIRECT', { direct: true }),
];

for (const variant of VARIANTS) backendConformance(variant);

describe('a file back end without room', () => {
  const mountPoint = join(directory, 'tiny');
  const mounted =
    noRoot === false &&
    works('mkdir', mountPoint) &&
    works('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mountPoint);
  after(() => {
    if (mounted) execFileSync('umount', ['--lazy', mountPoint]);
  });
  const skip = noRoot || (mounted ? false : 'a tmpfs cannot be mounted here');
  const chunk = 96;
  const bytes = chunk * SECTOR_BYTES;

  for (const engine of ['auto', 'io_uring', 'sync'] as const) {
    it(`fails writes, and keeps what it has acknowledged (${engine})`, {
      skip: skip || (engine === 'sync' ? false : noRing),
    }, async () => {
      const path = join(mountPoint, 'disk.img');
      const disk = openDisk({ type: 'file', path, size: 8 * 2 ** 20, engine });
      const rig = new BackendRig((host) => createBackend(disk.spec, host));
      const acknowledged: number[] = [];
      let failed = 0;
      for (let i = 0; i < 40; i++) {
        rig.guest.fill(i + 1, 0, bytes);
        const status = await rig.run({
          kind: 'write',
          sector: i * chunk,
          pieces: sectorsAt(0, chunk),
          durable: i % 3 === 0,
        });
        if (status === Status.OK) acknowledged.push(i);
        else {
          assert.equal(status, Status.IOERR);
          failed++;
        }
      }
      assert.ok(acknowledged.length > 10 && failed > 10, `${acknowledged.length} good, ${failed} failed`);
      assert.equal(await rig.run({ kind: 'writeZeroes', ranges: [{ sector: 8192, sectors: 4096 }] }), Status.IOERR);
      for (const i of acknowledged) {
        assert.equal(await rig.run({ kind: 'read', sector: i * chunk, pieces: sectorsAt(0, chunk) }), Status.OK);
        assert.ok(
          rig.guest.subarray(0, bytes).every((byte) => byte === i + 1),
          `chunk ${i}`,
        );
      }
      // Room that is given back can be used again.
      assert.equal(await rig.run({ kind: 'discard', ranges: [{ sector: 0, sectors: 16384 }] }), Status.OK);
      assert.equal(await rig.run({ kind: 'write', sector: 39 * chunk, pieces: sectorsAt(0, chunk) }), Status.OK);
      assert.equal(await rig.run({ kind: 'flush' }), Status.OK);
      rig.close();
      disk.close();
      rmSync(path);
    });
  }
});

describe('a file that is cut short under its back end', () => {
  for (const engine of ['auto', 'io_uring', 'sync'] as const) {
    it(`fails reads beyond the end (${engine})`, { skip: engine === 'sync' ? false : noRing }, async () => {
      const path = newImage();
      const disk = openDisk({ type: 'file', path, size: 2 ** 20, engine });
      const rig = new BackendRig((host) => createBackend(disk.spec, host));
      truncateSync(path, 10_000);
      assert.equal(await rig.run({ kind: 'read', sector: 0, pieces: sectorsAt(0, 8) }), Status.OK);
      assert.equal(await rig.run({ kind: 'read', sector: 16, pieces: sectorsAt(0, 8) }), Status.IOERR);
      assert.equal(await rig.run({ kind: 'read', sector: 1000, pieces: sectorsAt(0, 8) }), Status.IOERR);
      assert.equal(disk.resize(), 9728);
      rig.close();
      disk.close();
    });
  }
});
