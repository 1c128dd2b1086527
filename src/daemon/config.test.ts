import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { snapshotView } from '../filters/block/snapshot/view.js';
import { parseConfig, parseSize, readConfig } from './config.js';
import { problemLine } from './config-text.js';

const problems = (text: string): string[] => readConfig(text, '/etc/s.yaml').problems.map(problemLine);

/** A configuration with one disk whose back end is on line 5, and more lines of the disk from line 6. */
const oneDisk = (backend: string, ...more: string[]) =>
  [
    'vms:',
    '  web1:',
    '    disks:',
    '      root:',
    `        backend: ${backend}`,
    ...more.map((line) => `        ${line}`),
  ].join('\n');

const MEMORY = '{type: memory, size: 1MiB}';

describe('a good configuration', () => {
  it('has its defaults and absolute paths', () => {
    assert.deepEqual(parseConfig(oneDisk('{type: file, path: images/a.img}'), '/etc/sidecore/s.yaml'), {
      run_dir: '/run/sidecore',
      cores: [1],
      balance: true,
      mode: 'sidecore',
      scheduler: {
        policy: 'fair',
        quantum_us: 20,
        min_bytes: 1500,
        max_bytes: 524_288,
        stuck_us: 7,
        stuck_items: 50,
        notified_us: 20,
      },
      filter_stall_ms: 10,
      log: 'info',
      socket: {},
      networks: {},
      vms: {
        web1: {
          weight: 1,
          unsealed_memory: 'refuse',
          disks: {
            root: {
              backend: { type: 'file', path: '/etc/sidecore/images/a.img', read_only: false },
              read_only: false,
              filters: [],
              block_size: 512,
              queues: 1,
              serial: 'web1/root',
              cache: 'writeback',
              socket: '/run/sidecore/web1.root.sock',
              role: 'server',
            },
          },
          nics: {},
        },
      },
    });
  });

  it('gives network cards addresses that stay the same', () => {
    const { vms } = parseConfig(
      'cores: [1]\nvms: {a: {nics: {n: {}}}, b: {nics: {n: {mac: "02:00:00:00:00:01"}}}}',
      '/s.yaml',
    );
    assert.deepEqual(vms['a']!.nics['n'], {
      network: 'lan',
      mac: vms['a']!.nics['n']!.mac,
      mtu: 1500,
      queue_pairs: 1,
      speed: 10_000,
      offloads: true,
      filters: [],
      socket: '/run/sidecore/a.n.sock',
      role: 'server',
    });
    assert.match(vms['a']!.nics['n']!.mac!, /^52:54:00(:[0-9a-f]{2}){3}$/);
  });

  it('refuses network cards that could not talk', () => {
    const nic = (mac: string) => `{nics: {n: {mac: "${mac}"}}}`;
    assert.equal(problems(`vms: {a: ${nic('52:54:00:00:00:01')}, b: ${nic('52:54:00:00:00:01')}}`).length, 1);
    for (const mac of ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '00:00:00:00:00:00', '52:54:00', 'x'])
      assert.equal(problems(`vms: {a: ${nic(mac)}}`).length, 1, mac);
    assert.deepEqual(problems('cores: [1, 2]\nvms: {a: {nics: {n: {}}}}'), []);
    assert.deepEqual(problems('mode: baseline\nvms: {a: {nics: {n: {}}}}'), []);
  });

  it('may write the back end null without quotes', () => {
    assert.deepEqual(problems(oneDisk('{type: null, size: 1MiB}')), []);
  });

  it('may have numbers as names, and an octal mode as text', () => {
    const { vms, socket } = parseConfig('vms: {007: {}}\nsocket: {mode: "0660", owner: 0, group: kvm}', 's.yaml');
    assert.deepEqual(Object.keys(vms), ['007']);
    assert.deepEqual(socket, { mode: 0o660, owner: 0, group: 'kvm' });
  });

  it('gives disks of one VM different serial numbers, of at most 20 bytes', () => {
    const names = ['root', 'data-of-the-customer', 'data-of-the-customer-1', 'data-of-the-customer-2'];
    const disks = names.map((name) => `${name}: {backend: ${MEMORY}}`).join(', ');
    const { vms } = parseConfig(`vms: {production-database: {disks: {${disks}}}}`, 's.yaml');
    const serials = Object.values(vms['production-database']!.disks).map(({ serial }) => serial);
    assert.deepEqual(serials, ['root', 'data-of-the-customer', 'data-of-the-8d8f096c', 'data-of-the-6db4b85e']);
  });

  it('lets several disks write over one image that is read-only', () => {
    const disk = (top: string) =>
      `{backend: {type: file, path: base.img, read_only: true}, filters: [{use: overlay, options: {path: ${top}}}]}`;
    const config = parseConfig(
      `cores: [1]\nvms:\n  a: {disks: {d: ${disk('a')}}}\n  b: {disks: {d: ${disk('b')}}}`,
      's.yaml',
    );
    assert.equal(config.vms['b']!.disks['d']!.read_only, false);
  });

  it('has a view before the back end of a disk that shows a snapshot, which is another disk’s', () => {
    const disks = (of: string) =>
      `cores: [1]\nvms:\n  a: {disks: {d: {backend: {type: memory, size: 1MiB}, filters: [{use: snapshot, options: {path: s}}]}}}\n  b: {disks: {d: {backend: {type: snapshot, of: ${of}, name: monday}}}}`;
    const { filters, backend } = parseConfig(disks('a/d'), '/x/s.yaml').vms['b']!.disks['d']!;
    assert.deepEqual(filters, []);
    assert.ok(backend.type === 'snapshot');
    const { definition, options, base } = backend.view!;
    assert.equal(definition, snapshotView);
    assert.deepEqual([options, base], [{ of: 'a/d', name: 'monday', path: 's' }, '/x']);
    assert.throws(() => parseConfig(disks('b/d'), 's.yaml'), {
      message: /there is no disk b\/d with the filter snapshot/,
    });
  });

  it('lets several read-only disks share an image', () => {
    const disk = '{backend: {type: file, path: /a.img}, read_only: true}';
    assert.deepEqual(problems(`vms: {a: {disks: {x: ${disk}}}, b: {disks: {x: ${disk}}}}`), []);
  });
});

describe('a bad configuration is told file, line and key', () => {
  const UNKNOWN_DISK_KEY =
    'unknown key; known here: backend, read_only, block_size, queues, serial, filters, cache, socket, role';
  const NAME = 'a name has letters, digits, - and _, begins with a letter or digit, and has at most 63';
  const cases: Record<string, [text: string, ...problems: string[]]> = {
    'keys without value': [
      'log:\nvms:\n',
      '/etc/s.yaml:1: log: has no value: expects error, warn, info or debug',
      '/etc/s.yaml:2: vms: has no value: expects keys and values',
    ],
    'an unknown key': [
      'cpus: [1]\n',
      '/etc/s.yaml:1: cpus: unknown key; known here: run_dir, cores, cores_min, balance, mode, scheduler, filter_stall_ms, sqpoll_cpu, log, socket, networks, vms',
    ],
    'unknown keys below': [
      oneDisk(MEMORY, 'readonly: true', 'queue: 1'),
      `/etc/s.yaml:6: vms.web1.disks.root.readonly: ${UNKNOWN_DISK_KEY}`,
      `/etc/s.yaml:7: vms.web1.disks.root.queue: ${UNKNOWN_DISK_KEY}`,
    ],
    'more sidecores than CPUs': [
      'cores: [1, 2]\ncores_min: 3\n',
      '/etc/s.yaml:2: cores_min: at most 2, the number of CPUs under `cores`',
    ],
    'fewer sidecores than none': ['cores_min: -1\n', '/etc/s.yaml:1: cores_min: expects at least 0, not -1'],
    'fewer sidecores where nothing moves': [
      'cores_min: 0\nbalance: false\ncores: [1, 2]\n',
      '/etc/s.yaml:1: cores_min: fewer than all 2 under `cores` need `balance`, by which queues move: leave one of the two out',
    ],
    'fewer sidecores than devices in mode baseline': [
      'mode: baseline\ncores_min: 1\n',
      '/etc/s.yaml:2: cores_min: not in mode baseline, where each device has a thread of its own: leave it out',
    ],
    'a turn that must be longer than it may': [
      'scheduler:\n  policy: elvis\n  max_bytes: 1000\n  min_bytes: 2000\n',
      '/etc/s.yaml:4: scheduler.min_bytes: at most 1000, which is `max_bytes`',
    ],
    'the same with one of them by default': [
      'scheduler:\n  max_bytes: 1000\n',
      '/etc/s.yaml:2: scheduler.max_bytes: at least 1500, which is `min_bytes`',
    ],
    'a wrong word': ['mode: fast\n', '/etc/s.yaml:1: mode: expects sidecore, adaptive or baseline, not "fast"'],
    'wrong CPUs': [
      'cores: [1.5, -1, a, 5000, 1, 1]',
      '/etc/s.yaml:1: cores.0: expects a whole number, not 1.5',
      '/etc/s.yaml:1: cores.1: expects at least 0, not -1',
      '/etc/s.yaml:1: cores.2: expects a number, not "a"',
      '/etc/s.yaml:1: cores.3: expects at most 1023, not 5000',
    ],
    'a CPU twice': ['cores:\n  - 1\n  - 1\n', '/etc/s.yaml:3: cores.1: CPU 1 is named twice'],
    'no CPU': ['cores: []', '/etc/s.yaml:1: cores: name at least one CPU'],
    'one CPU without brackets': ['cores: 1', '/etc/s.yaml:1: cores: expects a list, not 1'],
    'a mode without quotes': [
      'socket: {mode: 0660}',
      '/etc/s.yaml:1: socket.mode: expects octal digits in quotes, like "0660"',
    ],
    'a wrong owner': [
      'socket:\n  owner: [a]\n  group: -1\n',
      '/etc/s.yaml:2: socket.owner: expects a name or a number',
      '/etc/s.yaml:3: socket.group: expects at least 0, not -1',
    ],
    'a VM with a wrong name': [
      'vms:\n  web 1: {}\n  -x: {}\n',
      `/etc/s.yaml:2: vms.web 1: ${NAME}`,
      `/etc/s.yaml:3: vms.-x: ${NAME}`,
    ],
    'a VM with a name of JavaScript': [
      'vms: {constructor: {}}',
      '/etc/s.yaml:1: vms.constructor: this name is taken: choose another',
    ],
    'no back end': [
      'vms: {web1: {disks: {root: {}}}}',
      '/etc/s.yaml:1: vms.web1.disks.root.backend: is missing: expects keys and values',
    ],
    'a back end without type': [
      oneDisk('{}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.type: is missing: expects null, memory, file or snapshot',
    ],
    'an unknown back end': [
      oneDisk('{type: qcow2}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.type: expects null, memory, file or snapshot, not "qcow2"',
    ],
    'a file without path': [
      oneDisk('{type: file}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.path: is missing: expects text',
    ],
    'a key of another back end': [
      oneDisk('{type: memory, size: 1MiB, path: /a}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.path: unknown key; known here: type, size',
    ],
    'memory without size': [
      oneDisk('{type: memory}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: is missing: expects text or a number',
    ],
    'a size with a wrong unit': [
      oneDisk('{type: memory, size: 10G}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: "10G" is no size: write "10GiB", "512MiB" or a number of bytes',
    ],
    'a size between blocks': [
      oneDisk('{type: memory, size: 0.3GiB}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: "0.3GiB" is 322122547 bytes, which is no multiple of 512: write 322122752',
    ],
    'no size at all': [
      oneDisk('{type: memory, size: 0}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: 0 is too small: a disk has at least 512 bytes',
    ],
    'a size beyond all bounds': [
      oneDisk('{type: memory, size: 5000TiB}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: "5000TiB" is too large: 4503599627370496 bytes is the limit',
    ],
    'a list as size': [
      oneDisk('{type: memory, size: [1]}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.size: expects text or a number, not a list',
    ],
    'a size that is no multiple of the blocks': [
      oneDisk('{type: memory, size: 1536}', 'block_size: 4096'),
      "/etc/s.yaml:5: vms.web1.disks.root.backend.size: 1536 bytes are no multiple of the disk's block_size, 4096",
    ],
    'yes for true': [
      oneDisk('{type: file, path: /a, direct: yes}'),
      '/etc/s.yaml:5: vms.web1.disks.root.backend.direct: expects true or false, not "yes"',
    ],
    'wrong disk keys': [
      oneDisk(MEMORY, 'block_size: 1024', 'queues: 65', 'serial: ä', 'socket: ""', 'role: peer'),
      '/etc/s.yaml:6: vms.web1.disks.root.block_size: expects 512 or 4096, not 1024',
      '/etc/s.yaml:7: vms.web1.disks.root.queues: expects at most 64, not 65',
      '/etc/s.yaml:8: vms.web1.disks.root.serial: a serial number has 1 to 20 printable ASCII characters',
      '/etc/s.yaml:9: vms.web1.disks.root.socket: is empty',
      '/etc/s.yaml:10: vms.web1.disks.root.role: expects server or client, not "peer"',
    ],
    'a long serial number': [
      oneDisk(MEMORY, 'serial: 123456789-123456789-1'),
      '/etc/s.yaml:6: vms.web1.disks.root.serial: a serial number has 1 to 20 printable ASCII characters',
    ],
    'a socket twice': [
      `vms: {a: {disks: {x: {backend: ${MEMORY}, socket: /s}}}, b: {disks: {x: {backend: ${MEMORY}, socket: //s}}}}`,
      '/etc/s.yaml:1: vms.b.disks.x.socket: /s is used by the disk a/x already',
    ],
    'the control socket as disk': [
      oneDisk(MEMORY, 'socket: /run/sidecore/control.sock'),
      '/etc/s.yaml:6: vms.web1.disks.root.socket: /run/sidecore/control.sock is used by the control socket already',
    ],
    'an image twice': [
      'vms:\n  a: {disks: {x: {backend: {type: file, path: /a}, read_only: true}}}\n  b: {disks: {x: {backend: {type: file, path: /a}}}}\n',
      '/etc/s.yaml:3: vms.b.disks.x.backend.path: /a is used by the disk a/x already',
    ],
    'a long run directory': [
      `run_dir: /${'x'.repeat(94)}`,
      `/etc/s.yaml:1: run_dir: a socket path has at most 107 bytes, this has 108: /${'x'.repeat(94)}/control.sock`,
    ],
    'long socket paths': [
      oneDisk(MEMORY, `socket: /${'x'.repeat(106)}`),
      `/etc/s.yaml:6: vms.web1.disks.root.socket: a socket path has at most 106 bytes, this has 107: /${'x'.repeat(106)}`,
    ],
  };
  for (const [what, [text, ...expected]] of Object.entries(cases)) {
    it(what, () => assert.deepEqual(problems(text), expected));
  }

  it('in one error, with its code', () => {
    assert.throws(() => parseConfig('log: loud\nx: 1\n', 's.yaml'), {
      name: 'SidecoreError',
      code: 'CONFIG_INVALID',
      message:
        's.yaml:1: log: expects error, warn, info or debug, not "loud"\ns.yaml:2: x: unknown key; known here: run_dir, cores, cores_min, balance, mode, scheduler, filter_stall_ms, sqpoll_cpu, log, socket, networks, vms',
      remedy: 'docs/configuration.md lists every key.',
    });
  });
});

it('sizes', () => {
  const sizes: [string | number, number | undefined][] = [
    ['10GiB', 10 * 2 ** 30],
    ['1.5 GiB', 1.5 * 2 ** 30],
    [' 512MiB ', 2 ** 29],
    ['0.5KiB', 512],
    ['2TB', 2e12],
    ['4096', 4096],
    [4096, 4096],
    ['10G', undefined],
    ['1,5GiB', undefined],
    ['.5GiB', undefined],
    ['-1', undefined],
    ['1e9', undefined],
    ['GiB', undefined],
    ['', undefined],
    [Number.NaN, undefined],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize(text), bytes, String(text));
});
