/** What `check` sees of TAP devices, in a network namespace of the test's own. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../test/support/daemon.js';
import { enterNetworkNamespace, ip } from '../../test/support/network-namespace.js';
import { allowedCpus } from '../host/affinity.js';
import { checkFile } from './check.js';
import { tapFaults } from './check-tap.js';

const skip = enterNetworkNamespace();

/** The problems of a configuration with these ports, each on a line, from line 6 on. */
function problems(test: TestContext, ...ports: string[]): string[] {
  const folder = scratchDirectory(test);
  const file = join(folder, 's.yaml');
  const lines = ports.map((port, i) => `      p${i}: {type: tap, ${port}}`);
  writeFileSync(
    file,
    ['run_dir: run', `cores: [${allowedCpus()[0]}]`, 'networks:', '  lan:', '    ports:', ...lines].join('\n'),
  );
  return checkFile(file).problems.map(({ line, key, text, code }) => `${line}: ${key}: ${text} [${code}]`);
}

const KEY = 'networks.lan.ports';

it('check says nothing of TAP devices that can be had, and makes none', { skip }, (test) => {
  ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'multi_queue');
  ip('link', 'add', 'br0', 'type', 'bridge');
  assert.deepEqual(
    problems(
      test,
      'device: tap0, queues: 2, owner: root, group: 0',
      'device: tap1, queues: 8, bridge: br0, owner: nobody',
    ),
    [],
  );
  assert.doesNotMatch(ip('link', 'show'), /tap1/);
  ip('link', 'del', 'tap0');
  ip('link', 'del', 'br0');
});

it('check says what is wrong with those that cannot', { skip }, (test) => {
  ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap');
  ip('tuntap', 'add', 'dev', 'tun0', 'mode', 'tun');
  const ports = [
    'device: tap0, queues: 2',
    'device: tun0',
    'device: lo, queues: 2, bridge: br9',
    'device: tap1, bridge: lo',
  ];
  const owner = 'device: tap2, owner: no-such-user, group: no-such-group';
  assert.deepEqual(problems(test, ...ports, owner), [
    `6: ${KEY}.p0.queues: tap0 was made for one queue [TAP_INVALID]`,
    `7: ${KEY}.p1.device: tun0 is there already, and no TAP device [TAP_NAME_TAKEN]`,
    `8: ${KEY}.p2.device: lo is there already, and no TAP device [TAP_NAME_TAKEN]`,
    `8: ${KEY}.p2.bridge: there is no bridge br9 [BRIDGE_MISSING]`,
    `9: ${KEY}.p3.bridge: lo is no bridge [BRIDGE_MISSING]`,
    `10: ${KEY}.p4.owner: there is no user no-such-user on this machine [CONFIG_INVALID]`,
    `10: ${KEY}.p4.group: there is no group no-such-group on this machine [CONFIG_INVALID]`,
  ]);
});

it('check says that only root can make one, or switch it on', { skip }, () => {
  for (const device of ['tap3', 'tap5']) ip('tuntap', 'add', 'dev', device, 'mode', 'tap', 'user', 'nobody');
  ip('link', 'set', 'tap3', 'up');
  process.seteuid!(65_534);
  try {
    const faults = (device: string) => tapFaults({ type: 'tap', device, queues: 1 }).map(({ code }) => code);
    assert.deepEqual([faults('tap3'), faults('tap4')], [[], ['TAP_PERMISSION']]);
    assert.deepEqual(tapFaults({ type: 'tap', device: 'tap5', queues: 1 }), [
      {
        key: 'device',
        code: 'TAP_PERMISSION',
        text: 'tap5 is switched off, and only root can switch it on',
        remedy: 'As root: `ip link set tap5 up`.',
      },
    ]);
  } finally {
    process.seteuid!(0);
  }
});
