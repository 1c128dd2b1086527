import { readdirSync, readFileSync } from 'node:fs';

/** Time that CPUs have worked so far, ns. */
interface Reading {
  readonly at: number;
  /** For anybody, by CPU; that the host of a virtual machine took counts too. */
  readonly all: ReadonlyMap<number, number>;
  /** For the threads of our processes, and where each ran last. */
  readonly ours: ReadonlyMap<string, { readonly cpu: number; readonly ns: number }>;
}

/** Unit of /proc/stat: USER_HZ is 100 on every architecture that Node runs on. */
const TICK_NS = 1e7;

/** Measures what other programs take of some CPUs: the time that these work, less what our own threads have had of it. */
export class OthersMeter {
  readonly #cpus: readonly number[];
  readonly #processes: readonly number[];
  readonly #start: Reading;

  constructor(cpus: readonly number[], processes: readonly number[]) {
    this.#cpus = cpus;
    this.#processes = processes;
    this.#start = this.#read();
  }

  /** The share (0 to 1) of each CPU that others had since the start; undefined where the kernel does not say. */
  read(): number[] | undefined {
    const now = this.#read();
    const shares = this.#cpus.map((cpu) => {
      let others = (now.all.get(cpu) ?? Number.NaN) - (this.#start.all.get(cpu) ?? Number.NaN);
      for (const [thread, time] of now.ours) {
        if (time.cpu === cpu) others -= time.ns - (this.#start.ours.get(thread)?.ns ?? 0);
      }
      return Math.min(1, Math.max(0, others / ((now.at - this.#start.at) * 1e6)));
    });
    return shares.every(Number.isFinite) ? shares : undefined;
  }

  #read(): Reading {
    return { at: performance.now(), all: cpuTimes(), ours: new Map(this.#processes.flatMap(threadTimes)) };
  }
}

/** proc_stat(5): cpuN user nice system idle iowait irq softirq steal …, in ticks. */
function cpuTimes(): Map<number, number> {
  const lines = textOf('/proc/stat').matchAll(/^cpu(\d+) (.*)$/gm);
  return new Map(
    Array.from(lines, ([, cpu, rest]) => {
      const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = rest!.split(' ').map(Number);
      return [Number(cpu), (user + nice + system + irq + softirq + steal) * TICK_NS];
    }),
  );
}

/** CPU time of each thread of a process, with the CPU that it ran on last: threads of ours that work are pinned. */
function threadTimes(process: number): [string, { cpu: number; ns: number }][] {
  const folder = `/proc/${process}/task`;
  return namesIn(folder).flatMap((thread): [string, { cpu: number; ns: number }][] => {
    // proc_pid_stat(5): fields after the name in parentheses begin with the third; the 39th is the CPU.
    const cpu = Number(textOf(`${folder}/${thread}/stat`).split(') ').at(-1)?.split(' ')[36]);
    const ns = Number(textOf(`${folder}/${thread}/schedstat`).split(' ')[0]);
    return Number.isNaN(cpu) ? [] : [[thread, { cpu, ns }]];
  });
}

/** What is there of a file that may go away at any time. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
