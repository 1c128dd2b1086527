import { shellComment, shellText, USUAL_MTU, type Vmm, type VmmDisk, type VmmNic, type VmmVm } from './vmm.js';

/** QEMU could connect again, and would lose the requests that were in flight. */
export const NO_RECONNECTION =
  'QEMU does not connect again: stop the VM before you stop or restart the daemon, or its disks hang until the VM is restarted';

/** It sets up their MSI-X vectors as if KVM were there to take them. docs/front-ends.md */
const NO_KVM =
  'without KVM, QEMU 7.2 crashes when a guest starts these network cards: there, each -device virtio-net-pci needs vectors=0 (instead of any other number)';

const HARMLESS_WARNING =
  'QEMU warns that the back end supports VHOST_USER_PROTOCOL_F_CONFIG and QEMU does not: harmless, for a network card asks for no configuration';

/**
 * QEMU 7.2 to 11. `-chardev socket` and `-object` are in qemu-options.hx, the device in hw/block/vhost-user-blk.c. Options of
 * several `-machine` are merged, so that the machine itself may be chosen elsewhere.
 */
export const qemu: Vmm = {
  title: 'QEMU',
  canListen: { disks: true, nics: true },
  comment: shellComment,
  arguments(vm) {
    const size = `${vm.memoryMib}M`;
    const options = [
      ['-m', size],
      ['-object', `memory-backend-memfd,id=sidecore-memory,size=${size},share=on`],
      ['-machine', 'memory-backend=sidecore-memory'],
      ...vm.disks.flatMap(attach),
      ...vm.nics.flatMap(attachNic),
    ];
    const notes = [
      'these replace a -m of your own; the rest (-machine q35, -accel kvm, ...) stays as it is',
      ...reconnection(vm),
      ...(vm.nics.length > 0 ? [NO_KVM, HARMLESS_WARNING] : []),
    ];
    if ([...vm.disks, ...vm.nics].some(({ role }) => role === 'client')) {
      notes.push('QEMU waits at the sockets with server=on until sidecore has connected');
    }
    return { text: shellText(options), json: { args: options.flat() }, notes };
  },
};

/** What is to be said of a daemon that ends before the VM. A network card loses its link, and no more. */
function reconnection({ disks, nics }: VmmVm): string[] {
  const notes = disks.length > 0 ? [NO_RECONNECTION] : [];
  const sockets = nics.filter(({ role }) => role === 'server').map(({ name }) => `${nicId(name)}-socket`);
  if (sockets.length > 0)
    notes.push(
      `while the daemon is stopped a network card has no link; with reconnect=1 (from QEMU 9.2 on reconnect-ms=1000) in its -chardev (id=${sockets.join(', id=')}), or \`role: client\`, it is back with the daemon`,
    );
  return notes;
}

function attach({ name, socket, role, queues }: VmmDisk): string[][] {
  const id = `sidecore-${name}`;
  const listen = role === 'client' ? ',server=on,wait=off' : '';
  return [
    // A comma in a value is written twice.
    ['-chardev', `socket,id=${id}-socket,path=${socket.replaceAll(',', ',,')}${listen}`],
    ['-device', `vhost-user-blk-pci,id=${id},chardev=${id}-socket,num-queues=${queues}`],
  ];
}

const nicId = (name: string) => `sidecore-net-${name}`;

/** Multiqueue takes a vector for each queue, one for configuration and one for control. hw/net/virtio-net.c */
function attachNic({ name, socket, role, queuePairs, mac, mtu }: VmmNic): string[][] {
  const id = nicId(name);
  const listen = role === 'client' ? ',server=on,wait=off' : '';
  const multi = queuePairs > 1 ? `,mq=on,vectors=${2 * queuePairs + 2}` : '';
  const large = mtu === USUAL_MTU ? '' : `,host_mtu=${mtu}`;
  return [
    ['-chardev', `socket,id=${id}-socket,path=${socket.replaceAll(',', ',,')}${listen}`],
    ['-netdev', `vhost-user,id=${id}-back,chardev=${id}-socket,queues=${queuePairs}`],
    ['-device', `virtio-net-pci,id=${id},netdev=${id}-back,mac=${mac}${multi}${large}`],
  ];
}
