import { shellComment, shellText, USUAL_MTU, type Vmm, type VmmNic, type VmmVm } from './vmm.js';

/**
 * Cloud Hypervisor v53: `DiskConfig::parse` and `MemoryConfig::parse` in vmm/src/config.rs, quoting in option_parser/src/lib.rs.
 * Its memory is a memfd made without MFD_ALLOW_SEALING (vmm/src/memory_manager.rs, `create_anonymous_file`).
 */
export const cloudHypervisor: Vmm = {
  title: 'Cloud Hypervisor',
  canListen: { disks: false, nics: true },
  comment: shellComment,
  arguments(vm) {
    const options = [
      ['--memory', `size=${vm.memoryMib}M,shared=on`],
      ...vm.disks.map(({ name, socket, queues }) => [
        '--disk',
        `vhost_user=on,socket=${quoted(socket)},num_queues=${queues},id=sidecore-${name}`,
      ]),
      ...vm.nics.map(net),
    ];
    return { text: shellText(options), json: { args: options.flat() }, notes: notes(vm) };
  },
};

/** `NetConfig::parse`. `vhost_mode` is Cloud Hypervisor's own end; it counts rings, not pairs. */
function net({ name, socket, role, queuePairs, mac, mtu }: VmmNic): string[] {
  const mode = role === 'client' ? ',vhost_mode=server' : '';
  const large = mtu === USUAL_MTU ? '' : `,mtu=${mtu}`;
  return [
    '--net',
    `vhost_user=on,socket=${quoted(socket)},num_queues=${2 * queuePairs},mac=${mac}${large}${mode},id=sidecore-net-${name}`,
  ];
}

function notes({ name, unsealedMemory, disks, nics }: VmmVm): string[] {
  const list: string[] = [];
  if (unsealedMemory === 'refuse') {
    list.push(
      `needs \`unsealed_memory: allow\` under vms.${name}: Cloud Hypervisor's guest memory cannot be sealed, and sidecore refuses it otherwise`,
    );
  }
  const queues = Math.max(0, ...disks.map((disk) => disk.queues), ...nics.map((nic) => nic.queuePairs));
  if (queues > 1)
    list.push(
      `needs --cpus boot=${queues} or more: Cloud Hypervisor gives a device no more queues, or pairs of them, than CPUs`,
    );
  return list;
}

/** In quotes if a value has what the parser takes for its own; a quote is written twice. */
function quoted(value: string): string {
  return /[",[\]]|^\s|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
