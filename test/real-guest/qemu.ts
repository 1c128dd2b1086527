/** QEMU's command line for a guest whose memory and disks are shared with a vhost-user back end. */
import { execFileSync } from 'node:child_process';
import { initramfs, KERNEL } from './initramfs.js';

export interface GuestDisk {
  /** The back end's vhost-user socket. */
  readonly socket: string;
  /** Default 1. */
  readonly queues?: number;
  /** Offers packed rings to the guest. QEMU's own default is not to. */
  readonly packed?: boolean;
  /** QEMU's device id. Default `disk0`, `disk1`, ... In the guest they are vda, vdb, ... */
  readonly name?: string;
}

export interface GuestOptions {
  readonly disks?: readonly GuestDisk[];
  /** Default 1. */
  readonly cpus?: number;
  /** Default 256. */
  readonly memoryMiB?: number;
  /** `direct` (the default): QEMU loads the kernel. `disk`: SeaBIOS boots from the first disk. */
  readonly bios?: 'direct' | 'disk';
  /** More for the kernel's command line (`direct` only). */
  readonly append?: string;
  /** More for QEMU's command line. */
  readonly qemuArgs?: readonly string[];
  readonly bootTimeoutMs?: number;
  /** Is given the console's text as it comes. */
  readonly onConsole?: (text: string) => void;
}

export type Accelerator = 'tcg' | 'kvm';

export const QEMU = 'qemu-system-x86_64';

/** The kernel writes its log to ttyS0 and reboots at once on a panic, which the harness sees. */
export const KERNEL_COMMAND_LINE = 'console=ttyS0 panic=-1 random.trust_bootloader=on';

/** ttyS0 is stdio; ttyS1 and QMP connect to sockets on which the harness listens. */
export function qemuArguments(
  options: GuestOptions,
  accelerator: Accelerator,
  shellSocket: string,
  qmpSocket: string,
): string[] {
  const memory = `${options.memoryMiB ?? 256}M`;
  const direct = (options.bios ?? 'direct') === 'direct';
  return [
    ...['-nodefaults', '-no-user-config', '-nographic'],
    ...['-machine', `q35,accel=${accelerator},memory-backend=mem`],
    ...(accelerator === 'kvm' ? ['-cpu', 'host'] : []),
    ...['-smp', String(options.cpus ?? 1), '-m', memory],
    ...['-object', `memory-backend-memfd,id=mem,size=${memory},share=on`],
    ...['-serial', 'stdio'],
    ...['-chardev', `socket,id=shell,path=${shellSocket}`, '-serial', 'chardev:shell'],
    ...['-chardev', `socket,id=qmp,path=${qmpSocket}`, '-mon', 'chardev=qmp,mode=control'],
    ...(options.disks ?? []).flatMap((disk, index) => diskArguments(disk, index, direct)),
    ...(direct
      ? ['-kernel', KERNEL, '-initrd', initramfs(), '-append', `${KERNEL_COMMAND_LINE} ${options.append ?? ''}`]
      : []),
    ...(options.qemuArgs ?? []),
  ];
}

function diskArguments(disk: GuestDisk, index: number, direct: boolean): string[] {
  const id = disk.name ?? `disk${index}`;
  const bootIndex = direct ? '' : `,bootindex=${index}`;
  return [
    ...['-chardev', `socket,id=${id}-socket,path=${disk.socket},${reconnect()}`],
    ...[
      '-device',
      `vhost-user-blk-pci,id=${id},chardev=${id}-socket,num-queues=${disk.queues ?? 1},packed=${disk.packed ? 'on' : 'off'}${bootIndex}`,
    ],
  ];
}

let reconnectOption: string | undefined;

/** Reconnects after a second; the option was renamed in QEMU 9.2. */
function reconnect(): string {
  if (reconnectOption === undefined) {
    const version = /version (\d+)\.(\d+)/.exec(execFileSync(QEMU, ['--version'], { encoding: 'utf8' }));
    const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
    reconnectOption = major > 9 || (major === 9 && minor >= 2) ? 'reconnect-ms=1000' : 'reconnect=1';
  }
  return reconnectOption;
}
