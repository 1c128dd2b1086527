import { SidecoreError } from '../../errors.js';
import { shellComment, shellWord, type Vmm, type VmmDisk, type VmmVm } from './vmm.js';

/**
 * Firecracker v1.15: `PUT /drives/{drive_id}`, src/vmm/src/vmm_config/drive.rs; the same objects are `drives` of a
 * --config-file. Ids have letters, digits and _ only (src/firecracker/src/api_server/parsed_request.rs, `checked_id`).
 */
export const firecracker: Vmm = {
  title: 'Firecracker',
  canListen: { disks: false, nics: false },
  comment: shellComment,
  arguments(vm) {
    if (vm.disks.length === 0)
      throw new SidecoreError(
        'CONFIG_INVALID',
        `Firecracker has no vhost-user network cards, and ${vm.name} has nothing else`,
        'Use another VMM, or give the VM a TAP device of its own.',
      );
    const drives = vm.disks.map((disk) => drive(disk, vm.disks));
    const text = drives.map((body) => {
      const json = shellWord(JSON.stringify(body));
      return `curl --unix-socket "$API_SOCKET" -X PUT http://localhost/drives/${body.drive_id} -H 'Content-Type: application/json' -d ${json}\n`;
    });
    return { text: text.join(''), json: { drives }, notes: notes(vm) };
  },
};

function drive(disk: VmmDisk, disks: readonly VmmDisk[]) {
  // Firecracker has no CONFIG_WCE: a guest that sees no FLUSH makes the disk write-through, one that sees it write-back.
  const cache_type = disk.cache === 'writeback' ? 'Writeback' : 'Unsafe';
  return { drive_id: driveId(disk, disks), socket: disk.socket, is_root_device: false, cache_type };
}

/** The disk's name without hyphens; with its place among the disks where another one would get the same. */
function driveId({ name }: VmmDisk, disks: readonly VmmDisk[]): string {
  const plain = (text: string) => text.replaceAll('-', '_');
  const same = disks.filter((other) => plain(other.name) === plain(name));
  return same.length === 1 ? plain(name) : `${plain(name)}_${disks.findIndex((other) => other.name === name)}`;
}

function notes({ disks, nics }: VmmVm): string[] {
  const list = [
    'guest memory is shared by itself; set "is_root_device" to true for the disk from which the guest boots',
  ];
  if (nics.length > 0) {
    const names = nics.map(({ name }) => name).join(', ');
    list.push(
      `Firecracker has no vhost-user network cards: ${names} cannot be used with it, give it a TAP device of its own`,
    );
  }
  const many = disks.filter(({ queues }) => queues > 1).map(({ name }) => name);
  if (many.length > 0)
    list.push(`Firecracker uses one queue of a disk, whatever \`queues:\` says (${many.join(', ')})`);
  if (disks.some(({ cache }) => cache === 'writethrough')) {
    list.push(
      '"Unsafe" hides FLUSH from the guest; with `cache: writethrough` sidecore makes every write durable instead',
    );
  }
  list.push('Firecracker does not connect again: after a restart of sidecore the VM has to be restarted too');
  return list;
}
