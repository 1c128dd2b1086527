import { Command, InvalidArgumentError, Option } from 'commander';
import { type Config, loadConfig, parseSize } from '../daemon/config.js';
import { SidecoreError } from '../errors.js';
import { VMMS } from './vmm/index.js';
import type { Vmm, VmmVm } from './vmm/vmm.js';

interface VmArgsOptions {
  readonly config: string;
  readonly vmm: string;
  readonly memory: number;
  readonly json?: boolean;
}

export const vmArgsCommand = new Command('vm-args')
  .description('Print what to pass to a VMM so that it uses all disks and network cards of a VM.')
  .argument('<vm>', 'which VM')
  .requiredOption('-c, --config <file>', 'configuration, YAML')
  .addOption(new Option('--vmm <name>', 'which VMM').choices(Object.keys(VMMS)).makeOptionMandatory())
  .addOption(
    new Option('--memory <size>', 'memory of the guest, where it has to be said')
      .default(1024, '1GiB')
      .argParser(memorySize),
  )
  .option('--json', 'in JSON: the arguments one by one, and the notes')
  .action((name: string, { config, vmm: vmmName, memory, json }: VmArgsOptions) => {
    const vmm = VMMS[vmmName]!;
    const vm = findVm(loadConfig(config), name, memory);
    requireServers(vm, vmm);
    const { text, json: data, notes } = vmm.arguments(vm);
    if (json) process.stdout.write(`${JSON.stringify({ vm: name, vmm: vmmName, ...data, notes }, null, 2)}\n`);
    else process.stdout.write(notes.map((note) => `${vmm.comment(note)}\n`).join('') + text);
  });

/** In MiB, the finest that all of them take. */
function memorySize(text: string): number {
  const mib = (parseSize(text) ?? 0) / 2 ** 20;
  if (mib > 0 && Number.isInteger(mib)) return mib;
  throw new InvalidArgumentError('Write "1GiB", "512MiB": whole MiB.');
}

function findVm({ vms, socket }: Config, name: string, memoryMib: number): VmmVm {
  const vm = vms[name];
  if (vm === undefined) {
    throw new SidecoreError(
      'CONFIG_INVALID',
      `there is no VM ${name}`,
      `VMs are: ${Object.keys(vms).join(', ') || 'none'}.`,
    );
  }
  const disks = Object.entries(vm.disks);
  const nics = Object.entries(vm.nics);
  if (disks.length + nics.length === 0)
    throw new SidecoreError(
      'CONFIG_INVALID',
      `VM ${name} has neither disk nor network card`,
      `Give it one under vms.${name}.disks or vms.${name}.nics.`,
    );
  return {
    name,
    memoryMib,
    unsealedMemory: vm.unsealed_memory,
    socketsShared: Object.values(socket).some((value) => value !== undefined),
    disks: disks.map(([disk, { socket: path, role, queues, cache }]) => ({
      name: disk,
      socket: path!,
      role,
      queues,
      cache,
    })),
    nics: nics.map(([nic, { socket: path, role, queue_pairs: queuePairs, mac, mtu }]) => ({
      name: nic,
      socket: path!,
      role,
      queuePairs,
      mac: mac!,
      mtu,
    })),
  };
}

/** Only some VMMs can be the end that waits. */
function requireServers({ name, disks, nics }: VmmVm, { title, canListen }: Vmm): void {
  const connecting = [...(canListen.disks ? [] : disks), ...(canListen.nics ? [] : nics)];
  const client = connecting.find(({ role }) => role === 'client');
  if (client === undefined) return;
  throw new SidecoreError(
    'CONFIG_INVALID',
    `${name}/${client.name} has \`role: client\`, and ${title} only connects itself`,
    'Leave `role` out of it.',
  );
}
