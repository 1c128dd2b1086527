import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { ErrorCode, SidecoreError } from '../../../errors.js';
import { createEventFd } from '../../../host/eventfd.js';
import { IoUring } from '../../../host/io-uring.js';
import { close, Errno } from '../../../host/libc.js';
import { Status } from '../../features.js';
import type { BlockQueue } from '../../queue.js';
import { type BlockRequest, RequestPool } from '../../request.js';
import { FileBackend } from './backend.js';
import { type FileOptions, openFile } from './open.js';

const directory = mkdtempSync(join(tmpdir(), 'sidecore-file-'));
after(() => rmSync(directory, { recursive: true, force: true }));

let images = 0;
const fresh = () => join(directory, `${images++}.img`);

/** A file of this many bytes. */
function image(bytes: number): string {
  const path = fresh();
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
}

const options = (path: string, more: Partial<FileOptions> = {}): FileOptions => ({ type: 'file', path, ...more });

function refuses(code: ErrorCode, given: FileOptions): void {
  assert.throws(
    () => openFile(given),
    (error: SidecoreError) => {
      assert.equal(error.code, code);
      assert.ok(error.message.startsWith(given.path) && !error.message.includes('\n'), error.message);
      return true;
    },
  );
}

const isRoot = process.getuid?.() === 0;
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

describe('openFile', () => {
  it('makes a sparse file that only its owner may read', () => {
    const path = fresh();
    const disk = openFile(options(path, { size: 2 ** 30 }));
    assert.equal(disk.abilities.sizeBytes, 2 ** 30);
    const { size, blocks, mode } = statSync(path);
    assert.equal(size, 2 ** 30);
    assert.ok(blocks * 512 < 2 ** 20);
    assert.equal(mode & 0o777, 0o600);
    disk.close();
  });

  it('takes a file that is larger than the configuration says, whole, in sectors', () => {
    const disk = openFile(options(image(10_000), { size: 4096 }));
    assert.equal(disk.abilities.sizeBytes, 9728);
    disk.close();
  });

  it('says what is wrong', () => {
    refuses('IMAGE_MISSING', options(fresh()));
    refuses('IMAGE_MISSING', options(fresh(), { size: 4096, readOnly: true }));
    refuses('IMAGE_MISSING', options(join(directory, 'no', 'such', 'directory'), { size: 4096 }));
    refuses('IMAGE_INVALID', options(directory));
    refuses('IMAGE_INVALID', options('/dev/null'));
    refuses('IMAGE_INVALID', options(image(0)));
    refuses('IMAGE_INVALID', options(image(511)));
    refuses('IMAGE_INVALID', options(image(4096), { size: 8192 }));
    const tooSmall = fresh();
    refuses('IMAGE_INVALID', options(tooSmall, { size: 100 }));
    assert.equal(existsSync(tooSmall), false);
  });

  it('refuses images of other formats, but never one that says its size', () => {
    const path = fresh();
    for (const magic of ['QFI\xfb', 'KDMV', '# Disk DescriptorFile', 'vhdxfile']) {
      writeFileSync(path, magic.padEnd(4096, '\0'), 'latin1');
      refuses('IMAGE_INVALID', options(path));
      refuses('IMAGE_INVALID', options(path, { size: 8192 }));
      assert.throws(() => openFile(options(path)), { message: /image, and only raw ones are served$/ });
      // A guest may write what it likes into its disk, and this must not keep the daemon from starting.
      openFile(options(path, { size: 4096 })).close();
    }
  });

  it('says how many bytes there are, and not in sectors', () => {
    const message = (size?: number) => {
      const path = fresh();
      writeFileSync(path, 'abcdef');
      try {
        openFile(options(path, { size })).close();
      } catch (error) {
        return (error as Error).message.replace(path, '');
      }
      return '';
    };
    assert.equal(message(), ' has 6 bytes, which is no disk');
    assert.equal(message(1024), ' has 6 bytes, less than the 1024 bytes of its disk');
  });

  it('takes a new image back if the daemon does not start, unless there are data in it', () => {
    const path = fresh();
    const made = () => openFile(options(path, { size: 4096 }));
    const disk = made();
    disk.close();
    disk.undo!();
    assert.equal(existsSync(path), false);
    const used = made();
    used.close();
    writeFileSync(path, 'data'.padEnd(4096));
    used.undo!();
    const old = made();
    old.close();
    old.undo!();
    assert.equal(existsSync(path), true);
  });

  it('leaves nothing behind when a file cannot be made', () => {
    const path = fresh();
    // More than any file system holds.
    refuses('IMAGE_INVALID', options(path, { size: 2 ** 52 }));
    assert.equal(existsSync(path), false);
  });

  it('says that it may not', { skip: isRoot ? 'root may do everything' : false }, () => {
    const path = image(4096);
    chmodSync(path, 0o400);
    refuses('IMAGE_PERMISSION', options(path));
    openFile(options(path, { readOnly: true })).close();
  });

  it('says that it may not, on a read-only mount', { skip: isRoot ? false : 'only root can mount' }, (t) => {
    const place = join(directory, 'read-only');
    mkdirSync(place);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place]).status !== 0)
      return t.skip('mount is refused');
    try {
      writeFileSync(join(place, 'a'), Buffer.alloc(4096));
      execFileSync('mount', ['-o', 'remount,ro', place]);
      refuses('IMAGE_PERMISSION', options(join(place, 'a')));
      openFile(options(join(place, 'a'), { readOnly: true })).close();
    } finally {
      execFileSync('umount', ['--lazy', place]);
    }
  });
});

describe('the lock of an image', () => {
  it('keeps a second writer out, and any reader', () => {
    const path = image(4096);
    const disk = openFile(options(path));
    refuses('IMAGE_BUSY', options(path));
    refuses('IMAGE_BUSY', options(path, { readOnly: true }));
    disk.close();
    openFile(options(path)).close();
  });

  it('lets several readers in, and no writer', () => {
    const path = image(4096);
    const readers = [1, 2].map(() => openFile(options(path, { readOnly: true })));
    refuses('IMAGE_BUSY', options(path));
    for (const reader of readers) reader.close();
    openFile(options(path)).close();
  });

  it('is respected by QEMU’s tools', { skip: hasQemu ? false : 'there is no qemu-img' }, () => {
    const path = image(2 ** 20);
    const run = (tool: string, ...args: string[]) => spawnSync(tool, args, { encoding: 'utf8' });
    const copy = () => run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', path, fresh()).stderr;
    const grow = () => run('qemu-img', 'resize', '-f', 'raw', path, '2M').stderr;
    const write = () => run('qemu-io', '-f', 'raw', '-c', 'write 0 512', path).stderr;
    const refused = /Failed to get .*"write" lock/;
    const disk = openFile(options(path));
    for (const tool of [copy, grow, write]) assert.match(tool(), refused);
    disk.close();
    const reader = openFile(options(path, { readOnly: true }));
    assert.equal(copy(), '');
    for (const tool of [grow, write]) assert.match(tool(), refused);
    reader.close();
    for (const tool of [copy, grow, write]) assert.equal(tool(), '');
  });

  it('respects those of QEMU', { skip: hasQemu ? false : 'there is no qemu-io' }, () => {
    const path = image(2 ** 20);
    // While qemu-io has the image open, it runs a shell command that tells us.
    const program = `import { openFile } from ${JSON.stringify(new URL('./open.js', import.meta.url).href)};
      for (const readOnly of [false, true])
        try { openFile({ type: 'file', path: ${JSON.stringify(path)}, readOnly }).close(); console.log('opened'); }
        catch (error) { console.log(error.code); }`;
    const script = join(directory, 'open.mjs');
    writeFileSync(script, program);
    const answer = join(directory, 'answer');
    const shell = `( sleep 1; ${process.execPath} ${script} > ${answer} ) & qemu-io -f raw -c 'sleep 3000' ${path}; wait`;
    execFileSync('sh', ['-c', shell], { stdio: 'ignore' });
    assert.deepEqual(readFileSync(answer, 'utf8').trim().split('\n'), ['IMAGE_BUSY', 'IMAGE_BUSY']);
  });
});

describe('resize', () => {
  it('grows, refuses to shrink, and takes over what happened outside', () => {
    const path = image(8192);
    const disk = openFile(options(path));
    assert.equal(disk.resize(16_384), 16_384);
    assert.equal(statSync(path).size, 16_384);
    assert.throws(() => disk.resize(8192), { code: 'IMAGE_INVALID' });
    truncateSync(path, 20_000);
    assert.equal(disk.resize(), 19_968);
    disk.close();
  });

  it('says that a file cannot be that large', () => {
    const disk = openFile(options(image(8192)));
    // More than any file system holds.
    assert.throws(() => disk.resize(2 ** 52), { code: 'IMAGE_INVALID', message: /cannot be that large .*\(EFBIG\)$/ });
    disk.close();
  });

  it('does not touch a read-only image', () => {
    const disk = openFile(options(image(8192), { readOnly: true }));
    assert.throws(() => disk.resize(16_384), { code: 'IMAGE_INVALID' });
    disk.close();
  });
});

describe('a flush that fails', () => {
  it('makes all later flushes fail, on every sidecore, until the disk is opened anew', () => {
    const disk = openFile(options(fresh(), { size: 4096, engine: 'sync' }));
    const pool = new RequestPool(2);
    const host = { pool, uring: () => undefined };
    const good = new FileBackend(disk.spec, host);
    // fdatasync of an event counter fails.
    const counter = createEventFd();
    const bad = new FileBackend({ ...disk.spec, fd: counter }, host);
    const request = pool.take(0)!;
    assert.equal(good.flush(request), Status.OK);
    assert.equal(disk.ioErrors!.look(), 0);
    assert.equal(bad.flush(request), Status.IOERR);
    assert.deepEqual([disk.ioErrors!.look(), disk.ioErrors!.last], [1, Errno.EINVAL]);
    assert.equal(good.flush(request), Status.IOERR);
    assert.deepEqual([disk.ioErrors!.look(), disk.ioErrors!.last], [1, Errno.EIO]);
    assert.equal(disk.ioErrors!.look(), 0);
    good.close();
    bad.close();
    close(counter);
    disk.close();
  });
});

describe('a full ring', () => {
  const ring = IoUring.create(2, { inFlightMax: 2 });
  it('is gone round by system calls', { skip: ring === undefined ? 'the kernel refuses io_uring' : false }, () => {
    const disk = openFile(options(fresh(), { size: 4096, engine: 'io_uring' }));
    const pool = new RequestPool(8);
    const backend = new FileBackend(disk.spec, { pool, uring: () => ring });
    const statuses: number[] = [];
    const queue: Pick<BlockQueue, 'complete'> = { complete: (_request, status) => statuses.push(status) };
    const requests: BlockRequest[] = [];
    for (let i = 0; i < 5; i++) {
      const request = pool.take(0)!;
      request.queue = queue as BlockQueue;
      requests.push(request);
      const status = backend.flush(request);
      if (i >= 2) assert.equal(status, Status.OK);
    }
    while (statuses.length < 2) {
      ring!.submit();
      const count = ring!.reap();
      for (let i = 0; i < count; i++) backend.completed(requests[ring!.completedData[i]!]!, ring!.completedResult[i]!);
    }
    assert.deepEqual(statuses, [Status.OK, Status.OK]);
    backend.close();
    ring!.close();
    disk.close();
  });
});
