import { Argument, Command } from 'commander';
import { askDaemon } from '../daemon/control-server.js';
import { controlSocketPath } from '../daemon/daemon.js';
import { deviceLabel } from './device-label.js';
import { helpText } from './help-text.js';

const HELP = `
A card whose link is down neither sends nor receives, whatever its guest does. Its guest is told by the device's status where the
front end takes that from us (crosvm, DPDK). QEMU and Cloud Hypervisor keep a status of their own: with QEMU, use the monitor's
set_link beside this.

--json: config_change_sent says whether a front end was sent word that the device's configuration has changed, not whether its guest has
seen it.`;

const SENT =
  'its front end was told. QEMU and Cloud Hypervisor show the guest a link of their own: with QEMU use its set_link, too';

export const linkCommand = new Command('link')
  .description('Plug or unplug the cable of a network card while its guest runs.')
  .argument('<vm/nic>', 'which network card', deviceLabel('NIC'))
  .addArgument(new Argument('<state>').choices(['up', 'down']))
  .option('--run-dir <folder>', 'run directory of the daemon', '/run/sidecore')
  .option('--json', 'answer in JSON')
  .addHelpText('after', helpText(HELP))
  .action(async (nic: string, state: 'up' | 'down', options: { runDir: string; json?: boolean }) => {
    const path = controlSocketPath(options.runDir);
    const answer = await askDaemon<{ configChangeSent: boolean }>(path, 'POST', '/link', { nic, up: state === 'up' });
    const sent = answer.configChangeSent;
    if (options.json) process.stdout.write(`${JSON.stringify({ nic, link: state, config_change_sent: sent })}\n`);
    else process.stdout.write(`${nic} is ${state} now; ${sent ? SENT : 'no front end was told'}\n`);
  });
