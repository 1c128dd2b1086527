import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseMac } from '../net/ethernet.js';
import { Egress, egressOf, ingressVlan, NO_VLAN, VLAN_DROP } from '../net/vlan.js';
import { parseConfig, portVlans, readConfig } from './config.js';
import { problemLine } from './config-text.js';

const problems = (text: string): string[] => readConfig(text, '/s.yaml').problems.map(problemLine);

/** A network `lan` whose ports are the lines given, from line 4 on. */
const ports = (...lines: string[]) =>
  ['networks:', '  lan:', '    ports:', ...lines.map((line) => `      ${line}`)].join('\n');

const portsOf = (text: string) => parseConfig(text, '/s.yaml').networks['lan']!.ports;

describe('networks', () => {
  it('are there when a card names them, whether they are written down or not', () => {
    const { networks } = parseConfig(
      `${ports('up: {type: tap, device: tap0}')}\nvms: {a: {nics: {n: {network: lab}, m: {}}}}`,
      '/s.yaml',
    );
    assert.deepEqual(networks, {
      lan: { ports: { up: { type: 'tap', device: 'tap0', queues: 1 } } },
      lab: { ports: {} },
    });
  });

  it('have TAP devices with all that is said of them', () => {
    const tap = {
      type: 'tap',
      device: 'tap-a.1_x',
      mac: '52:54:00:ab:cd:ef',
      mtu: 65_521,
      owner: 'nobody',
      group: 1000,
      bridge: 'br0',
      queues: 8,
      trunk: { native: 'none', vlans: [10, 4094] },
    };
    assert.deepEqual(portsOf(ports(`up: ${JSON.stringify(tap)}`)), { up: tap });
  });

  it('have generators, whose addresses are made and differ', () => {
    const { a, b } = portsOf(ports('a: {type: generator}', 'b: {type: generator, frame_bytes: 1514, send: true}'));
    assert.ok(a?.type === 'generator' && b?.type === 'generator');
    assert.deepEqual([a.frame_bytes, a.send, b.frame_bytes, b.send], [64, false, 1514, true]);
    const addresses = [a.mac, a.destination, b.mac, b.destination];
    assert.equal(new Set(addresses).size, 4);
    for (const address of addresses) assert.notEqual(parseMac(address!), undefined, address);
  });

  it('know an address however it is written', () => {
    const { up } = portsOf(ports('up: {type: tap, device: t, mac: 52-54-00-AB-CD-EF}'));
    assert.equal(up!.mac, '52:54:00:ab:cd:ef');
  });
});

describe('the VLANs of a port', () => {
  it('without a word: frames without tags, and no others', () => {
    const vlans = portVlans({});
    assert.deepEqual([ingressVlan(vlans, -1), ingressVlan(vlans, 10)], [NO_VLAN, VLAN_DROP]);
    assert.equal(egressOf(vlans, 10), Egress.NONE);
  });

  it('vlan: one, without tags', () => {
    const vlans = portVlans({ vlan: 10 });
    assert.deepEqual([ingressVlan(vlans, -1), ingressVlan(vlans, 10)], [10, VLAN_DROP]);
    assert.equal(egressOf(vlans, 10), Egress.UNTAGGED);
  });

  it('trunk: all, or those that are listed, with tags', () => {
    assert.deepEqual(
      [-1, 1, 4094].map((tag) => ingressVlan(portVlans({ trunk: {} }), tag)),
      [NO_VLAN, 1, 4094],
    );
    const vlans = portVlans({ trunk: { native: 5, vlans: [10] } });
    assert.deepEqual(
      [-1, 10, 11].map((tag) => ingressVlan(vlans, tag)),
      [5, 10, VLAN_DROP],
    );
    assert.deepEqual(
      [5, 10].map((vlan) => egressOf(vlans, vlan)),
      [Egress.UNTAGGED, Egress.TAGGED],
    );
    assert.equal(ingressVlan(portVlans({ trunk: { native: 'none' } }), -1), VLAN_DROP);
  });
});

describe('a network that cannot be is told file, line and key', () => {
  const NAME = 'a network device has a name of at most 15 characters, without blanks, /, : and %';
  const EITHER = 'a port has either `vlan` or `trunk`: leave one of them out';
  const cases: Record<string, [text: string, ...problems: string[]]> = {
    'a port of no kind': [
      ports('up: {}', 'down: {type: veth}'),
      '/s.yaml:4: networks.lan.ports.up.type: is missing: expects tap or generator',
      '/s.yaml:5: networks.lan.ports.down.type: expects tap or generator, not "veth"',
    ],
    'a TAP device without a name': [
      ports('up: {type: tap}'),
      '/s.yaml:4: networks.lan.ports.up.device: is missing: expects text',
    ],
    'names that no device can have': [
      ports(
        ...['""', 'sixteen-letters-', 'a/b', '"a b"', 'tap%d', '..', 'a:1', 'ä'].map(
          (bad, i) => `p${i}: {type: tap, device: ${bad}}`,
        ),
      ),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((i) => `/s.yaml:${4 + i}: networks.lan.ports.p${i}.device: ${NAME}`),
    ],
    'a device twice': [
      `${ports('up: {type: tap, device: tap0}')}\n  lab:\n    ports: {up: {type: tap, device: tap0}}`,
      '/s.yaml:6: networks.lab.ports.up.device: network device tap0 is used by port up of network lan already',
    ],
    'an address twice': [
      `${ports('up: {type: tap, device: tap0, mac: "52:54:00:00:00:01"}')}\nvms: {a: {nics: {n: {mac: "52-54-00-00-00-01"}}}}`,
      '/s.yaml:4: networks.lan.ports.up.mac: in network lan, 52:54:00:00:00:01 is used by the card a/n already',
    ],
    'a disk and a card of one name': [
      'run_dir: /r\nvms:\n  a:\n    disks: {x: {backend: {type: memory, size: 1MiB}}}\n    nics:\n      x: {}',
      '/s.yaml:6: vms.a.nics.x.socket: /r/a.x.sock is used by the disk a/x already',
    ],
    'addresses that are of no card': [
      'vms:\n  a:\n    nics:\n      n: {mac: "52:54:00"}\n      m: {mac: "00:00:00:00:00:00"}',
      '/s.yaml:4: vms.a.nics.n.mac: expects an address of one card, like "52:54:00:12:34:56", not "52:54:00"',
      '/s.yaml:5: vms.a.nics.m.mac: expects an address of one card, like "52:54:00:12:34:56": "00:00:00:00:00:00" is nobody\'s',
    ],
    'values out of range': [
      ports(
        'up:',
        '  type: tap',
        '  device: tap0',
        '  mtu: 65522',
        '  queues: 9',
        '  bridge: a/b',
        '  mac: "ff:ff:ff:ff:ff:ff"',
      ),
      '/s.yaml:7: networks.lan.ports.up.mtu: expects at most 65521, not 65522',
      '/s.yaml:8: networks.lan.ports.up.queues: expects at most 8, not 9',
      `/s.yaml:9: networks.lan.ports.up.bridge: ${NAME}`,
      '/s.yaml:10: networks.lan.ports.up.mac: expects an address of one card, like "52:54:00:12:34:56": "ff:ff:ff:ff:ff:ff" is that of a group (its first byte is odd)',
    ],
    'frames that cannot be': [
      ports('a: {type: generator, frame_bytes: 59}', 'b: {type: generator, frame_bytes: 9015}'),
      '/s.yaml:4: networks.lan.ports.a.frame_bytes: expects at least 60, not 59',
      '/s.yaml:5: networks.lan.ports.b.frame_bytes: expects at most 9014, not 9015',
    ],
    'a key of another kind of port': [
      ports('a: {type: generator, device: tap0}'),
      '/s.yaml:4: networks.lan.ports.a.device: unknown key; known here: type, frame_bytes, mac, destination, send, vlan, trunk',
    ],
    'VLANs that are none': [
      'vms:\n  a:\n    nics:\n      n: {vlan: 0}\n      m: {vlan: 4095}\n      o: {trunk: {native: all}}\n      p: {trunk: {vlans: []}}\n      q: {trunk: {vlans: [1, 4095]}}',
      '/s.yaml:4: vms.a.nics.n.vlan: expects at least 1, not 0',
      '/s.yaml:5: vms.a.nics.m.vlan: expects at most 4094, not 4095',
      '/s.yaml:6: vms.a.nics.o.trunk.native: expects a VLAN, 1 to 4094, or none',
      '/s.yaml:7: vms.a.nics.p.trunk.vlans: name at least one VLAN',
      '/s.yaml:8: vms.a.nics.q.trunk.vlans.1: expects at most 4094, not 4095',
    ],
    'vlan and trunk at once': [
      `${ports('up:', '  type: tap', '  device: tap0', '  vlan: 1', '  trunk: {}')}\nvms: {a: {nics: {n: {vlan: 1, trunk: {}}}}}`,
      `/s.yaml:8: networks.lan.ports.up.trunk: ${EITHER}`,
      `/s.yaml:9: vms.a.nics.n.trunk: ${EITHER}`,
    ],
    'copies for ports that cannot have them': [
      [
        'vms:',
        '  a: {nics: {n: {filters: [{use: mirror, options: {to: a/n}}]}}}',
        '  b:',
        '    nics:',
        '      n:',
        '        filters:',
        '          - use: mirror',
        '            options: {direction: inbound, to: c/n}',
        '  c: {nics: {n: {filters: [{use: meter}, {use: mirror, options: {to: b/n}}]}}}',
        '  d: {nics: {n: {filters: [{use: mirror, options: {to: d/m}}, {use: mirror, options: {to: b/n}}]}}}',
        '  e: {nics: {n: {filters: [{use: mirror, options: {to: lan/gen}}, {use: mirror, options: {}}]}}}',
        'networks: {lan: {ports: {gen: {type: generator}}}}',
      ].join('\n'),
      '/s.yaml:2: vms.a.nics.n.filters.0.options.to: a card does not get copies of its own frames',
      '/s.yaml:8: vms.b.nics.n.filters.0.options.to: c/n has copies of its own frames sent to b/n',
      '/s.yaml:9: vms.c.nics.n.filters.1.options.to: b/n has copies of its own frames sent to c/n',
      '/s.yaml:10: vms.d.nics.n.filters.0.options.to: there is no network card or port d/m',
      '/s.yaml:11: vms.e.nics.n.filters.1.options: mirror has either `file` or `to`',
    ],
    'too many networks': [
      `networks: {${Array.from({ length: 1025 }, (_, i) => `n${i}: {}`).join(', ')}}`,
      '/s.yaml:1: networks: at most 1024 networks, these are 1025',
    ],
  };
  for (const [what, [text, ...expected]] of Object.entries(cases)) {
    it(what, () => assert.deepEqual(problems(text), expected));
  }

  /** A daemon with so many cards and a TAP device. */
  const crowd = (cards: number, head: string) => {
    const nics = Array.from({ length: cards }, (_, i) => `n${i}: {}`).join(', ');
    return `${head}\nvms: {a: {nics: {${nics}}}}\n${ports('up: {type: tap, device: tap0}')}`;
  };

  it('more cards and ports than there are numbers for, with those of sidecores', () => {
    assert.deepEqual(problems(crowd(4093, 'cores: [1, 2]')), []);
    assert.deepEqual(problems(crowd(4094, 'cores: [1, 2]')), [
      '/s.yaml:2: vms: at most 4096 network cards and ports (4095) and sidecores (2) together',
    ]);
    assert.deepEqual(problems(crowd(2047, 'mode: baseline')), []);
    assert.deepEqual(problems(crowd(2048, 'mode: baseline')), [
      '/s.yaml:2: vms: at most 4096 network cards and ports (2049) and sidecores (2049) together; in mode baseline each device has one',
    ]);
  });
});
