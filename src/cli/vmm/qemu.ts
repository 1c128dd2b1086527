import { shellComment, shellText, type Vmm, type VmmDisk } from './vmm.js';

/** QEMU could connect again, and would lose the requests that were in flight. */
export const NO_RECONNECTION =
  'QEMU does not connect again: stop the VM before you stop or restart the daemon, or its disks hang until the VM is restarted';

/**
 * QEMU 7.2 to 11. `-chardev socket` and `-object` are in qemu-options.hx, the device in hw/block/vhost-user-blk.c. Options of
 * several `-machine` are merged, so that the machine itself may be chosen elsewhere.
 */
export const qemu: Vmm = {
  title: 'QEMU',
  canListen: true,
  comment: shellComment,
  arguments(vm) {
    const size = `${vm.memoryMib}M`;
    const options = [
      ['-m', size],
      ['-object', `memory-backend-memfd,id=sidecore-memory,size=${size},share=on`],
      ['-machine', 'memory-backend=sidecore-memory'],
      ...vm.disks.flatMap(attach),
    ];
    const notes = [
      'these replace a -m of your own; the rest (-machine q35, -accel kvm, ...) stays as it is',
      NO_RECONNECTION,
    ];
    if (vm.disks.some(({ role }) => role === 'client')) {
      notes.push('QEMU waits at the sockets with server=on until sidecore has connected');
    }
    return { text: shellText(options), json: { args: options.flat() }, notes };
  },
};

function attach({ name, socket, role, queues }: VmmDisk): string[][] {
  const id = `sidecore-${name}`;
  const listen = role === 'client' ? ',server=on,wait=off' : '';
  return [
    // A comma in a value is written twice.
    ['-chardev', `socket,id=${id}-socket,path=${socket.replaceAll(',', ',,')}${listen}`],
    ['-device', `vhost-user-blk-pci,id=${id},chardev=${id}-socket,num-queues=${queues}`],
  ];
}
