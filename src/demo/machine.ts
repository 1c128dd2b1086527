import { readFileSync, statSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { version } from '../daemon/version.js';

/** What the figures come from. */
export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memory_gib: number;
  readonly kernel: string;
  readonly node: string;
  readonly sidecore: string;
  /** Of the folder with the images: "ext4", "tmpfs". */
  readonly file_system: string;
}

export function describeMachine(folder: string): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cpus: all.length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    sidecore: version,
    file_system: fileSystemOf(folder),
  };
}

/** The type of a folder's file system, by its device number in the table of mounts. */
function fileSystemOf(folder: string): string {
  try {
    const { dev } = statSync(folder);
    const number = `${major(dev)}:${minor(dev)}`;
    // proc_pid_mountinfo(5): id, parent, major:minor, …, " - ", type
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((mount) => mount.split(' ')[2] === number);
    return line?.split(' - ')[1]?.split(' ')[0] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Parts of a device number, as glibc packs it. makedev(3) */
const major = (dev: number): number => Math.floor(dev / 2 ** 8) & 0xfff;
const minor = (dev: number): number => (dev & 0xff) | (Math.floor(dev / 2 ** 12) & 0xfff00);
