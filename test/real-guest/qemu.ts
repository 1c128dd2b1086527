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

export interface GuestNic {
  /** The back end's vhost-user socket. */
  readonly socket: string;
  readonly mac: string;
  /** Default 1. */
  readonly queuePairs?: number;
  /** Offers packed rings to the guest. QEMU's own default is not to. */
  readonly packed?: boolean;
  /** Offers checksums and segmentation to the guest; default true. */
  readonly offloads?: boolean;
  readonly mtu?: number;
}

export interface GuestOptions {
  readonly disks?: readonly GuestDisk[];
  /** In the guest they are eth0, eth1, ... QEMU's device ids are nic0, nic1, ... */
  readonly nics?: readonly GuestNic[];
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
  /** Default: KVM where it works. */
  readonly accelerator?: Accelerator;
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
    ...(options.nics ?? []).flatMap((nic, index) => nicArguments(nic, index, accelerator)),
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

/** QEMU's names of all that leaves checksums and segmentation to the other side. hw/net/virtio-net.c */
const OFFLOADS = [
  'csum',
  'guest_csum',
  'gso',
  'guest_tso4',
  'guest_tso6',
  'guest_ecn',
  'host_tso4',
  'host_tso6',
  'host_ecn',
];

/** Without KVM, without MSI-X: QEMU 7.2 crashes when it sets up a vhost network card's vectors and KVM is not there to take them. */
function nicArguments(nic: GuestNic, index: number, accelerator: Accelerator): string[] {
  const id = `nic${index}`;
  const { queuePairs = 1, packed = false, offloads = true, mtu } = nic;
  const multi = queuePairs > 1 ? ',mq=on' : '';
  const properties = [`packed=${packed ? 'on' : 'off'}`, ...(offloads ? [] : OFFLOADS.map((name) => `${name}=off`))];
  if (accelerator === 'tcg') properties.push('vectors=0');
  if (mtu !== undefined) properties.push(`host_mtu=${mtu}`);
  return [
    ...['-chardev', `socket,id=${id}-socket,path=${nic.socket}`],
    ...['-netdev', `vhost-user,id=${id}-net,chardev=${id}-socket,queues=${queuePairs}`],
    ...['-device', `virtio-net-pci,id=${id},netdev=${id}-net,mac=${nic.mac}${multi},${properties.join(',')}`],
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
