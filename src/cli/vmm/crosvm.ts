import { shellComment, shellText, type Vmm } from './vmm.js';

/**
 * crosvm of August 2026: `VhostUserFrontendOption` in src/crosvm/config.rs, quoting in serde_keyvalue. A guest gets as many
 * queues as sidecore has, of 32768 entries each unless told less, and no indirect descriptors.
 */
export const crosvm: Vmm = {
  title: 'crosvm',
  canListen: { disks: false, nics: false },
  comment: shellComment,
  arguments(vm) {
    const options = [
      ...vm.disks.map(({ socket }) => [
        '--vhost-user',
        `type=block,socket=${quoted(socket)},max-queue-size=${QUEUE_ENTRIES}`,
      ]),
      ...vm.nics.map(({ socket }) => ['--vhost-user', `type=net,socket=${quoted(socket)}`]),
    ];
    const notes = [
      'guest memory is shared by itself; queues are as many as `queues:` says',
      'crosvm ends when a device of its VM goes: after a restart of sidecore the VM has to be restarted too',
    ];
    if (vm.nics.length > 0) notes.push('queue pairs and addresses of network cards are those of the configuration');
    return { text: shellText(options), json: { args: options.flat() }, notes };
  },
};

/** A request takes three entries at least: with 1024 some three hundred are in flight, where 32768 cost much memory. */
const QUEUE_ENTRIES = 1024;

/** In double quotes, with backslashes, if a value has what the parser takes for its own. */
function quoted(value: string): string {
  return /[",'[\]]/.test(value) ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : value;
}
