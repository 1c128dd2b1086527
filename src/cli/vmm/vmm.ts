import type { DiskConfig, NicConfig, VmConfig } from '../../daemon/config.js';

/** A disk as a VMM is told of it. */
export interface VmmDisk {
  readonly name: string;
  /** Absolute path. */
  readonly socket: string;
  readonly role: DiskConfig['role'];
  readonly queues: number;
  readonly cache: DiskConfig['cache'];
}

/** A network card as a VMM is told of it. */
export interface VmmNic {
  readonly name: string;
  /** Absolute path. */
  readonly socket: string;
  readonly role: NicConfig['role'];
  readonly queuePairs: number;
  readonly mac: string;
  readonly mtu: number;
}

/** The MTU of which nothing need be said. */
export const USUAL_MTU = 1500;

/** A VM as a VMM is told of it. */
export interface VmmVm {
  readonly name: string;
  readonly memoryMib: number;
  readonly unsealedMemory: VmConfig['unsealed_memory'];
  /** Whether the configuration gives the sockets an owner, group or mode. */
  readonly socketsShared: boolean;
  readonly disks: readonly VmmDisk[];
  readonly nics: readonly VmmNic[];
}

/** What to pass to a VMM. */
export interface VmmArguments {
  /** To be copied: words for a shell, or XML; without the notes. */
  readonly text: string;
  /** The same for programs. */
  readonly json: Readonly<Record<string, unknown>>;
  /** What the arguments cannot say. */
  readonly notes: readonly string[];
}

/** How one VMM attaches our sockets. */
export interface Vmm {
  readonly title: string;
  /** What of a VM can wait for us at a socket of its own (`role: client`). */
  readonly canListen: { readonly disks: boolean; readonly nics: boolean };
  /** A note in the language of `text`. */
  comment(note: string): string;
  arguments(vm: VmmVm): VmmArguments;
}

/** A note in a shell script. */
export const shellComment = (note: string): string => `# ${note}`;

/** Options for a shell, one on each line. An option and its value are one element. */
export function shellText(options: readonly (readonly string[])[]): string {
  return `${options.map((words) => words.map(shellWord).join(' ')).join(' \\\n')}\n`;
}

/** Quotes a word for a shell if it needs it. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_.,:=/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
