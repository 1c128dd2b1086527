import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where KVM counts, a folder for each machine: its process and a descriptor. Needs root, and debugfs. Linux, Documentation/virt/kvm */
const KVM_FOLDER = '/sys/kernel/debug/kvm';

/** Exits of a process's virtual machines so far; undefined where the kernel does not tell. */
export function exitsOf(pid: number, folder = KVM_FOLDER): number | undefined {
  try {
    const machines = readdirSync(folder).filter((name) => name.startsWith(`${pid}-`));
    if (machines.length === 0) return undefined;
    const counts = machines.map((name) => Number.parseInt(readFileSync(join(folder, name, 'exits'), 'utf8'), 10));
    return counts.every(Number.isFinite) ? counts.reduce((sum, count) => sum + count, 0) : undefined;
  } catch {
    return undefined;
  }
}

/** Of several processes together; undefined if any of them is not known. */
export function exitsOfAll(pids: readonly number[], folder = KVM_FOLDER): number | undefined {
  const counts = pids.map((pid) => exitsOf(pid, folder));
  return counts.includes(undefined) ? undefined : counts.reduce((sum: number, count) => sum + count!, 0);
}
