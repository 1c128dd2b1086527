/**
 * A disk that SeaBIOS boots from: a FAT file system with syslinux, and the same kernel and initramfs as ever.
 *
 * It has no partitions, because QEMU's TCG does not see that another process has written to the guest's memory: it runs
 * what it has translated before. A partition's boot sector, which an MBR loads to where it ran itself, would be the MBR
 * again. (For the same reason these guests run no program from a disk.)
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { initramfs, KERNEL } from './initramfs.js';
import { cached } from './needs.js';
import { KERNEL_COMMAND_LINE } from './qemu.js';

const DISK_BYTES = 64 * 1024 * 1024;

/** On the kernel's command line of this disk only, so that a guest can tell where it was booted from. */
export const BOOTED_FROM_DISK = 'sidecore.boot=disk';

const SYSLINUX_CONFIG = `SERIAL 0 115200
DEFAULT linux
LABEL linux
  KERNEL /vmlinuz
  INITRD /initramfs
  APPEND ${KERNEL_COMMAND_LINE} ${BOOTED_FROM_DISK}
`;

/** The path of the image, built if its content has changed. Tests work on copies. */
export function bootDisk(): string {
  const hash = createHash('sha256').update(SYSLINUX_CONFIG).update(basename(initramfs())).update(readFileSync(KERNEL));
  const target = cached(`boot-disk-${hash.digest('hex').slice(0, 16)}.img`);
  if (existsSync(target)) return target;
  const staging = mkdtempSync(cached('boot-disk.new-'));
  try {
    const image = join(staging, 'image');
    const config = join(staging, 'syslinux.cfg');
    writeFileSync(config, SYSLINUX_CONFIG);
    writeFileSync(image, '');
    truncateSync(image, DISK_BYTES);
    fill(image, config);
    renameSync(image, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return target;
}

/** All of it without a mount, so without root. */
function fill(image: string, config: string): void {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, MTOOLS_SKIP_CHECK: '1' };
  const run = (command: string, ...args: string[]): void => {
    execFileSync(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  };
  run('mkfs.fat', '-F', '32', '-s', '1', image);
  run('mcopy', '-i', image, KERNEL, '::vmlinuz');
  run('mcopy', '-i', image, initramfs(), '::initramfs');
  run('mcopy', '-i', image, config, '::syslinux.cfg');
  run('syslinux', '--install', image);
}
