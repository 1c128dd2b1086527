import { readFileSync } from 'node:fs';
import { nowNs } from './clock.js';
import { syscall } from './libc.js';

const SYS_MEMBARRIER = process.arch === 'arm64' ? 283 : 324;
const PRIVATE_EXPEDITED = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED = 1 << 4;

let registered: boolean | undefined;

/**
 * How long all CPUs that run threads of this process take to answer an interrupt, ns: a few thousand, or as long as a hypervisor
 * gives the CPU of one of them to others. Zero where the kernel does not offer it. membarrier(2)
 */
export function pingCpus(): number {
  registered ??= syscall(SYS_MEMBARRIER, REGISTER_PRIVATE_EXPEDITED) === 0;
  if (!registered) return 0;
  const begunNs = nowNs();
  syscall(SYS_MEMBARRIER, PRIVATE_EXPEDITED);
  return nowNs() - begunNs;
}

/**
 * Whether a thread of this process waits in a system call that it has made. One that the kernel has stopped for a page of memory
 * has made none. False of a thread that is not there, or of which nothing can be read. proc_pid_syscall(5)
 */
export function waitsInCall(threadId: number): boolean {
  try {
    const text = readFileSync(`/proc/self/task/${threadId}/syscall`, 'latin1');
    return /^\d/.test(text);
  } catch {
    return false;
  }
}
