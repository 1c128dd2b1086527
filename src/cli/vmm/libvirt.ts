import { NO_RECONNECTION } from './qemu.js';
import { USUAL_MTU, type Vmm, type VmmDisk, type VmmNic, type VmmVm } from './vmm.js';

/**
 * libvirt 7.1 and later, with QEMU. Its disks of type vhostuser take bus virtio, snapshot='no', and neither serial nor readonly
 * (src/conf/domain_validate.c, `virDomainDiskVhostUserValidate`): both come from sidecore.
 */
export const libvirt: Vmm = {
  title: 'libvirt',
  canListen: { disks: false, nics: true },
  // Two hyphens would end the comment.
  comment: (note) => `<!-- ${note.replaceAll('--', '- -')} -->`,
  arguments(vm) {
    const text = `<domain>
  <memory unit='MiB'>${vm.memoryMib}</memory>
  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>
  <devices>
${vm.disks.map(disk).join('')}${vm.nics.map(nic).join('')}  </devices>
</domain>
`;
    return { text, json: { xml: text }, notes: notes(vm) };
  },
};

function disk({ socket, queues }: VmmDisk, index: number): string {
  return `    <disk type='vhostuser' device='disk' snapshot='no'>
      <driver name='qemu' type='raw' queues='${queues}'/>
      <source type='unix' path='${escaped(socket)}'/>
      <target dev='${targetName(index)}' bus='virtio'/>
    </disk>
`;
}

/** `mode` is QEMU's own end. docs/formatdomain.rst, "vhost-user connection with QEMU backend" */
function nic({ socket, role, queuePairs, mac, mtu }: VmmNic): string {
  const driver = queuePairs > 1 ? `      <driver queues='${queuePairs}'/>\n` : '';
  const large = mtu === USUAL_MTU ? '' : `      <mtu size='${mtu}'/>\n`;
  return `    <interface type='vhostuser'>
      <mac address='${mac}'/>
      <source type='unix' path='${escaped(socket)}' mode='${role === 'client' ? 'server' : 'client'}'/>
      <model type='virtio'/>
${driver}${large}    </interface>
`;
}

function notes({ socketsShared, disks, nics }: VmmVm): string[] {
  const targets = disks.length > 0 ? '; choose other targets (vda, ...) where these are taken' : '';
  const list = [`parts of a domain, for \`virsh edit\`${targets}`];
  if (!socketsShared) {
    list.push(
      'QEMU runs as a user of its own under libvirt: give it the sockets, as in `socket: {group: kvm, mode: "0660"}`',
    );
  }
  if (disks.length > 0) {
    list.push(NO_RECONNECTION);
    list.push('snapshots and block jobs of libvirt do not work on such disks');
  }
  if (nics.length > 0)
    list.push(
      "while the daemon is stopped a network card has no link; with <reconnect enabled='yes' timeout='1'/> in its <source>, or `role: client`, it is back with the daemon",
    );
  return list;
}

/** vda to vdz, then vdaa and so on. */
function targetName(index: number): string {
  let letters = '';
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1)
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  return `vd${letters}`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&apos;' };

function escaped(text: string): string {
  return text.replaceAll(/[&<>']/g, (character) => ENTITIES[character]!);
}
