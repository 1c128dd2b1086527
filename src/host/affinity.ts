import { readdirSync } from 'node:fs';
import { SidecoreError } from '../errors.js';
import { check, declare } from './libc.js';

const schedGetAffinity = declare('int sched_getaffinity(int pid, size_t size, void *mask)');
const schedSetAffinity = declare('int sched_setaffinity(int pid, size_t size, void *mask)');
const gettid = declare('int gettid()');

/** Bytes of a CPU mask: 1024 CPUs, the C library's own cpu_set_t. */
const MASK_BYTES = 128;

function maskOf(cpus: readonly number[]): Uint8Array {
  const mask = new Uint8Array(MASK_BYTES);
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  return mask;
}

/** The CPUs that this process may run on, ascending. Read it before anything is pinned. */
export function allowedCpus(): number[] {
  const mask = new Uint8Array(MASK_BYTES);
  check(schedGetAffinity(0, MASK_BYTES, mask), 'sched_getaffinity');
  const cpus: number[] = [];
  for (let cpu = 0; cpu < MASK_BYTES * 8; cpu++) if ((mask[cpu >> 3]! & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
  return cpus;
}

/** Pins the calling thread. */
export function pinThisThread(cpus: readonly number[]): void {
  check(schedSetAffinity(0, MASK_BYTES, maskOf(cpus)), `cannot pin to CPU ${cpus.join(', ')}`, 'CPU_UNUSABLE');
}

/** Moves another thread of this process. None, whose id is zero, one that has ended, and no CPUs are no error. */
export function moveThread(threadId: number, cpus: readonly number[]): void {
  if (threadId !== 0) schedSetAffinity(threadId, MASK_BYTES, maskOf(cpus));
}

/** The calling thread's id, as /proc/self/task and top know it. */
export function threadId(): number {
  return gettid();
}

/**
 * Moves every thread of this process that exists now (V8's helpers among them), or of another one, to the given CPUs. Called
 * before the sidecores start, so that nothing of ours runs on their CPUs.
 */
export function pinAllThreads(cpus: readonly number[], pid: number | 'self' = 'self'): void {
  const mask = maskOf(cpus);
  // A thread may end between the listing and the call: its error means nothing.
  for (const task of readdirSync(`/proc/${pid}/task`)) schedSetAffinity(Number(task), MASK_BYTES, mask);
}

/**
 * Says clearly which of the wanted CPUs cannot be used.
 *
 * @param where - how another is named: "under `cores:`"
 */
export function requireCpus(wanted: readonly number[], where: string, allowed: readonly number[]): void {
  const missing = wanted.filter((cpu) => !allowed.includes(cpu));
  if (missing.length === 0) return;
  throw new SidecoreError(
    'CPU_UNUSABLE',
    `CPU ${missing.join(', ')} cannot be used: this process may run on CPU ${allowed.join(', ')}`,
    `Choose another ${where}, or widen the process’s CPU set (taskset, cgroup cpuset, AllowedCPUs=).`,
  );
}
