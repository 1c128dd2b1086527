import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { declare, errno, errorText } from '../../src/host/libc.js';

const unshare = declare('int unshare(int flags)');
const CLONE_NEWNS = 0x00020000;
const CLONE_NEWNET = 0x40000000;

/**
 * Puts this thread, and all processes and threads that it starts from then on, into a network namespace of their own, which is gone
 * when they have ended: a test may make devices there, and no other test sees them. Returns why that cannot be done, if it cannot.
 */
export function enterNetworkNamespace(): string | false {
  if (process.getuid!() !== 0) return 'needs root, for a network namespace of its own';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  try {
    ip('-V');
  } catch {
    return 'ip (package iproute2) is not installed';
  }
  // With mounts of its own, because /sys shows the devices of the namespace in which it was mounted.
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) return `no namespace can be made: ${errorText(errno())}`;
  try {
    execFileSync('mount', ['--make-rslave', '/'], { stdio: 'pipe' });
    execFileSync('mount', ['-t', 'sysfs', 'sysfs', '/sys'], { stdio: 'pipe' });
  } catch (error) {
    return `/sys cannot be mounted: ${(error as Error).message}`;
  }
  return false;
}

/** Runs `ip` with these words; returns what it prints. Throws if it fails. */
export function ip(...words: string[]): string {
  return execFileSync('ip', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** What `ip` knows of a device; undefined if it is not there. */
export function link(device: string): Link | undefined {
  const links = JSON.parse(ip('-d', '-j', 'link', 'show')) as Link[];
  return links.find(({ ifname }) => ifname === device);
}

export interface Link {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly address: string;
  readonly master?: string;
  readonly linkinfo?: {
    readonly info_kind: string;
    readonly info_data: {
      readonly multi_queue: boolean;
      readonly vnet_hdr: boolean;
      readonly persist: boolean;
      readonly user?: string;
      readonly group?: string;
      readonly numqueues?: number;
    };
  };
}
