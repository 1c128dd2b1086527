import { cloudHypervisor } from './cloud-hypervisor.js';
import { crosvm } from './crosvm.js';
import { firecracker } from './firecracker.js';
import { libvirt } from './libvirt.js';
import { qemu } from './qemu.js';
import type { Vmm } from './vmm.js';

/** Every VMM for which `vm-args` knows the words, by the name that is asked for. */
export const VMMS: Readonly<Record<string, Vmm>> = {
  qemu,
  'cloud-hypervisor': cloudHypervisor,
  firecracker,
  crosvm,
  libvirt,
};
