import { readFileSync } from 'node:fs';
import { allowedCpus, pinAllThreads, requireCpus } from '../host/affinity.js';

/** Which CPU does what during the demo. */
export class Placement {
  readonly allowed: readonly number[];
  readonly coreCpu: number;
  /** Where the guests' load runs; the sidecore's own if there is no other. */
  readonly loadCpu: number;

  /** @param wantedCpu - for the sidecore; by default the last one allowed */
  constructor(wantedCpu?: number) {
    this.allowed = allowedCpus();
    if (wantedCpu !== undefined) requireCpus([wantedCpu], 'with --cpu', this.allowed);
    this.coreCpu = wantedCpu ?? this.allowed.at(-1)!;
    this.loadCpu = chooseLoadCpu(this.allowed, this.coreCpu, siblingsOf(this.coreCpu));
  }

  get shared(): boolean {
    return this.coreCpu === this.loadCpu;
  }

  /** Lets children that are started now run everywhere: they inherit this process's CPUs. */
  release(): void {
    pinAllThreads(this.allowed);
  }

  /** Moves this process away from the sidecore, and from the load too if there are CPUs enough. */
  settle(): void {
    const apart = this.allowed.filter((cpu) => cpu !== this.coreCpu && cpu !== this.loadCpu);
    pinAllThreads(apart.length > 0 ? apart : [this.loadCpu]);
  }
}

/** The nearest CPU to the sidecore's that is not the other half of the same core. */
export function chooseLoadCpu(allowed: readonly number[], coreCpu: number, siblings: readonly number[]): number {
  const others = allowed.filter((cpu) => cpu !== coreCpu);
  const apart = others.filter((cpu) => !siblings.includes(cpu));
  const near = (a: number, b: number) => Math.abs(a - coreCpu) - Math.abs(b - coreCpu);
  return [...(apart.length > 0 ? apart : others)].sort(near)[0] ?? coreCpu;
}

/** CPUs that share a core with this one, itself included; nothing where the kernel does not say. */
function siblingsOf(cpu: number): number[] {
  try {
    return parseCpuList(readFileSync(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, 'utf8'));
  } catch {
    return [];
  }
}

/** Reads the kernel's way to write CPUs: "0,4" or "0-1". */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .flatMap((part) => {
      const [first = Number.NaN, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}
