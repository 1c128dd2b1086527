import { Argument, Command } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { deviceLabel } from './device-label.js';

const HELP = `
A card whose link is down neither sends nor receives, whatever its guest does. Its guest is told by the device's status where the
front end takes that from us (crosvm, DPDK). QEMU and Cloud Hypervisor keep a status of their own: with QEMU, use the monitor's
set_link beside this.`;

export const linkCommand = new Command('link')
  .description('Plug or unplug the cable of a network card while its guest runs.')
  .argument('<vm/nic>', 'which network card', deviceLabel('NIC'))
  .addArgument(new Argument('<state>').choices(['up', 'down']))
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'answer in JSON')
  .addHelpText('after', HELP)
  .action(async (nic: string, state: 'up' | 'down', options: { runDir: string; json?: boolean }) => {
    const path = controlSocketPath(options.runDir);
    const answer = await askDaemon<{ frontEndTold: boolean }>(path, 'POST', '/link', { nic, up: state === 'up' });
    const told = answer.frontEndTold;
    if (options.json) process.stdout.write(`${JSON.stringify({ nic, link: state, front_end_told: told })}\n`);
    else process.stdout.write(`${nic} is ${state} now${told ? '' : '; no front end was told'}\n`);
  });
