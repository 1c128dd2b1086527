import assert from 'node:assert/strict';
import { it } from 'node:test';
import { readConfig } from './config.js';
import { problemLine } from './config-text.js';
import { configWarnings } from './config-warnings.js';

function warnings(...lines: string[]): string[] {
  const { config, text, problems } = readConfig(lines.join('\n'), '/s.yaml');
  assert.deepEqual(problems, []);
  return configWarnings(config!, text).map((warning) => `${problemLine(warning)}. ${warning.remedy}`);
}

const HOST = 'networks: {lan: {ports: {host: {type: tap, device: tap0}}}}';
const SAME = 'Those that shall talk to each other have the same `vlan`, or none.';

it('nothing is said of cards that reach somebody', () => {
  assert.deepEqual(warnings(HOST, 'vms: {a: {nics: {n: {}}}}'), []);
  assert.deepEqual(warnings('vms: {a: {nics: {n: {vlan: 10}}}, b: {nics: {n: {vlan: 10}}}}'), []);
  assert.deepEqual(warnings('vms: {a: {nics: {n: {vlan: 10}, m: {trunk: {}}, o: {}}}}'), []);
  assert.deepEqual(warnings('vms: {a: {nics: {n: {vlan: 10}, m: {trunk: {native: 10, vlans: [20]}}}}}'), []);
  assert.deepEqual(warnings('networks: {lan: {}}', 'vms: {a: {nics: {n: {network: x}, m: {network: x}}}}'), []);
  assert.deepEqual(warnings('vms: {a: {disks: {}}}'), []);
});

it('a card that is alone in its network, or in its VLANs, is told', () => {
  assert.deepEqual(warnings('vms:', '  a:', '    nics:', '      n: {}'), [
    '/s.yaml:4: vms.a.nics.n: nobody else is in network lan. Put another card or a port into it.',
  ]);
  const nics = ['vms:', '  a: {nics: {n: {}}}', '  b:', '    nics:', '      n:', '        vlan: 10'];
  const others = ['      m: {trunk: {native: none, vlans: [20, 30]}}', HOST];
  assert.deepEqual(warnings(...nics, ...others), [
    `/s.yaml:6: vms.b.nics.n.vlan: nobody else in network lan is in VLAN 10: the card reaches nobody. ${SAME}`,
    `/s.yaml:7: vms.b.nics.m.trunk: nobody else in network lan is in a VLAN of this trunk: the card reaches nobody. ${SAME}`,
  ]);
  assert.deepEqual(warnings(...nics), [
    `/s.yaml:2: vms.a.nics.n: nobody else in network lan is without a VLAN: the card reaches nobody. ${SAME}`,
    `/s.yaml:6: vms.b.nics.n.vlan: nobody else in network lan is in VLAN 10: the card reaches nobody. ${SAME}`,
  ]);
});

it('what the policy of the scheduler does not use is told', () => {
  const vms = ['vms:', '  a: {weight: 1}', '  b:', '    weight: 4'];
  const fair = 'Leave it out, or choose the policy fair under `scheduler:`.';
  const elvis = 'Leave it out, or choose the policy elvis under `scheduler:`.';
  assert.deepEqual(warnings(...vms, 'scheduler: {quantum_us: 50, notified_us: 10}'), []);
  assert.deepEqual(warnings('scheduler: {policy: elvis, min_bytes: 1, max_bytes: 2, stuck_us: 3, stuck_items: 4}'), []);
  assert.deepEqual(warnings(...vms, 'scheduler:', '  stuck_us: 7', '  quantum_us: 20'), [
    `/s.yaml:6: scheduler.stuck_us: policy fair does not use it. ${elvis}`,
  ]);
  assert.deepEqual(warnings(...vms, 'scheduler:', '  policy: elvis', '  quantum_us: 20'), [
    `/s.yaml:4: vms.b.weight: policy elvis does not use it. ${fair}`,
    `/s.yaml:7: scheduler.quantum_us: policy elvis does not use it. ${fair}`,
  ]);
  assert.deepEqual(warnings('scheduler:', '  policy: round-robin', '  notified_us: 5'), [
    '/s.yaml:3: scheduler.notified_us: policy round-robin does not use it. Leave it out, or choose the policy fair or elvis under `scheduler:`.',
  ]);
});

it('a network that is written nowhere and has one card may be a slip', () => {
  const slip = (name: string) =>
    warnings('networks: {lan: {}, lab: {}}', 'vms:', `  a: {nics: {n: {network: ${name}}}}`);
  const at = '/s.yaml:3: vms.a.nics.n.network: network';
  for (const name of ['lna', 'lanx', 'la', 'lxn', 'xlan'])
    assert.deepEqual(slip(name), [
      `${at} ${name} is not under \`networks:\`, and nobody else is in it. Did you mean lan?`,
    ]);
  assert.deepEqual(slip('other'), [
    `${at} other is not under \`networks:\`, and nobody else is in it. Networks there are: lan, lab.`,
  ]);
});
