/** The commands as they are called: what they print, how they end, and that QEMU takes what `vm-args` says. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Daemon, repositoryRoot, scratchDirectory } from '../../test/support/daemon.js';
import type { DaemonStatus } from '../daemon/daemon.js';

const MAIN = join(repositoryRoot, 'dist/src/cli/main.js');
const TIMEOUT_MS = 60_000;

/** Runs a command to its end. */
function sidecore(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  });
  return { status, stdout, stderr };
}

function configFile(test: TestContext, text: string): string {
  const file = join(scratchDirectory(test), 'sidecore.yaml');
  writeFileSync(file, text);
  return file;
}

const ONE_DISK = `run_dir: run
cores: [0]
vms: {web1: {disks: {root: {backend: {type: memory, size: 1MiB}}}}}
`;

describe('wrong usage ends with 2 and says what is wrong', () => {
  const HINT = '(--help lists the options)\n';
  const cases: [args: string[], stderr: string][] = [
    [['check', '-c', 'x', '--fast'], `error: unknown option '--fast'\n${HINT}`],
    [['check'], `error: required option '-c, --config <file>' not specified\n${HINT}`],
    [['chekc'], `error: unknown command 'chekc'\n(Did you mean check?)\n${HINT}`],
    [
      ['vm-args', 'a', '-c', 'x', '--vmm', 'bochs'],
      `error: option '--vmm <name>' argument 'bochs' is invalid. Allowed choices are qemu, cloud-hypervisor, firecracker, crosvm, libvirt.\n${HINT}`,
    ],
    [
      ['vm-args', 'a', '-c', 'x', '--vmm', 'qemu', '--memory', '1.5KiB'],
      `error: option '--memory <size>' argument '1.5KiB' is invalid. Write "1GiB", "512MiB": whole MiB.\n${HINT}`,
    ],
    [
      ['status', '--watch', 'often'],
      `error: option '--watch [seconds]' argument 'often' is invalid. Write seconds, from 0.1 to 86400.\n${HINT}`,
    ],
    [['help', 'frob'], `error: unknown command 'frob'\n${HINT}`],
    ...(
      [
        ['0', '"0" is too small: a disk has at least 512 bytes'],
        ['99999999TiB', '"99999999TiB" is too large: 4503599627370496 bytes is the limit'],
        ['20G', '"20G" is no size: write "10GiB", "512MiB" or a number of bytes'],
        ['-5', '"-5" is no size: write "10GiB", "512MiB" or a number of bytes'],
        ['1.5', '"1.5" is too small: a disk has at least 512 bytes'],
        ['1000', '"1000" is 1000 bytes, which is no multiple of 512: write 1024'],
      ] as const
    ).map(([size, why]): [string[], string] => [
      ['resize', 'web1/d', size],
      `error: command-argument value '${size}' is invalid for argument 'size'. ${why}\n${HINT}`,
    ]),
    [
      ['resize', 'web1', '20GiB'],
      `error: command-argument value 'web1' is invalid for argument 'vm/disk'. Write VM/DISK, as \`sidecore status\` shows it.\n${HINT}`,
    ],
    [['capture', 'web1/net0'], `error: required option '-w, --write <file>' not specified\n${HINT}`],
    [
      ['capture', 'net0', '-w', '-'],
      `error: command-argument value 'net0' is invalid for argument 'vm/nic'. Write VM/NIC, as \`sidecore status\` shows it.\n${HINT}`,
    ],
    [
      ['capture', 'web1/net0', '-w', ''],
      `error: option '-w, --write <file>' argument '' is invalid. Name a file, or - for standard output.\n${HINT}`,
    ],
    [
      ['capture', 'web1/net0', '-w', '-', '-s', '262145'],
      `error: option '-s, --snap-bytes <bytes>' argument '262145' is invalid. Write a whole number from 0 to 262144.\n${HINT}`,
    ],
    [
      ['capture', 'web1/net0', '-w', '-', '--seconds', '0'],
      `error: option '--seconds <seconds>' argument '0' is invalid. Write seconds, up to 2000000.\n${HINT}`,
    ],
  ];
  for (const [args, stderr] of cases)
    it(args.join(' '), () => assert.deepEqual(sidecore(...args), { status: 2, stdout: '', stderr }));
});

it('help and version end with 0, every command says what its exit codes mean', () => {
  assert.equal(sidecore('--version').status, 0);
  for (const command of [[], ['serve'], ['check'], ['vm-args'], ['status'], ['resize'], ['capture']]) {
    const { status, stdout } = sidecore(...command, '--help');
    assert.equal(status, 0);
    assert.match(stdout, /Exit codes: 0 good, 1 a problem .*, 2 wrong usage\.\n$/);
  }
});

it('the build makes the command executable', () => {
  const { bin, scripts } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8'));
  assert.equal(join(repositoryRoot, bin.sidecore), MAIN);
  assert.ok(scripts.build.endsWith(`&& chmod +x ${bin.sidecore}`));
});

it('a reader that stops early is no error', async (test) => {
  const file = configFile(
    test,
    `run_dir: run\nvms:\n${Array.from({ length: 3000 }, (_, index) => `  vm${index}: {disks: {root: {backend: {type: memory, size: 1MiB}}}}\n`).join('')}`,
  );
  const child = spawn(process.execPath, [MAIN, 'check', '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const [status] = await once(child, 'close');
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});

it('check prints a summary, or problems and ends with 1', (test) => {
  const good = configFile(test, ONE_DISK);
  const run = join(good, '../run');
  assert.deepEqual(sidecore('check', '-c', good), {
    status: 0,
    stdout: `${good} is good: 1 VM, 1 disk, mode sidecore, CPU 0, run directory ${run}\n\nDISK       BACK END   SIZE  QUEUES  SOCKET\nweb1/root  memory    1 MiB       1  ${run}/web1.root.sock\n`,
    stderr: '',
  });
  const bad = configFile(test, 'log: loud\n');
  const stdout = `${bad}:1: log: expects error, warn, info or debug, not "loud" [CONFIG_INVALID]\n`;
  assert.deepEqual(sidecore('check', '-c', bad), { status: 1, stdout, stderr: '' });
  const { status, stdout: json } = sidecore('check', '-c', bad, '--json');
  const text = 'expects error, warn, info or debug, not "loud"';
  const problem = { code: 'CONFIG_INVALID', file: bad, line: 1, key: 'log', text, remedy: '' };
  assert.deepEqual([status, JSON.parse(json)], [1, { ok: false, problems: [problem], warnings: [] }]);
  assert.deepEqual(JSON.parse(sidecore('check', '-c', good, '--json').stdout), {
    ok: true,
    problems: [],
    warnings: [],
    cores: [0],
    mode: 'sidecore',
    run_dir: run,
    vms: ['web1'],
    disks: [
      {
        disk: 'web1/root',
        backend: 'memory',
        size_bytes: 2 ** 20,
        read_only: false,
        queues: 1,
        role: 'server',
        socket: `${run}/web1.root.sock`,
      },
    ],
    nics: [],
    ports: [],
  });
});

it('check says which sidecores stay in use and who has his turn, where that is not as by default', (test) => {
  const start = (keys: string) =>
    sidecore('check', '-c', configFile(test, `${keys}${ONE_DISK}`)).stdout.split('\n')[0]!;
  assert.match(
    start('cores_min: 0\nscheduler: {policy: elvis}\n'),
    /, CPU 0 \(at least 0 in use\), policy elvis, run dir/,
  );
  assert.match(start('cores_min: 1\nscheduler: {policy: fair}\n'), /, CPU 0, run dir/);
});

it('check lists network cards and ports as well', (test) => {
  const file = configFile(
    test,
    `run_dir: run
networks: {lan: {ports: {gen: {type: generator}}}}
vms: {a: {nics: {n: {mac: "52:54:00:00:00:01", queue_pairs: 2}, m: {role: client, socket: m.sock, mac: "52:54:00:00:00:02"}}}, b: {nics: {n: {vlan: 7, mac: "52:54:00:00:00:03"}, m: {trunk: {vlans: [7], native: 9}, mac: "52:54:00:00:00:04"}}}}`,
  );
  const run = join(file, '../run');
  const { status, stdout } = sidecore('check', '-c', file);
  assert.equal(status, 0);
  const lines = stdout.split('\n').map((line) => line.trim().split(/ {2,}/));
  assert.match(lines[0]![0]!, / is good: 2 VMs, 0 disks, 4 network cards, 1 port, mode sidecore/);
  assert.deepEqual(lines.slice(2), [
    ['NETWORK CARD', 'NETWORK', 'VLAN', 'MAC', 'PAIRS', 'SOCKET'],
    ['a/n', 'lan', '-', '52:54:00:00:00:01', '2', `${run}/a.n.sock`],
    ['a/m', 'lan', '-', '52:54:00:00:00:02', '1', `${join(file, '..')}/m.sock (client)`],
    ['b/n', 'lan', '7', '52:54:00:00:00:03', '1', `${run}/b.n.sock`],
    ['b/m', 'lan', 'trunk 7 native 9', '52:54:00:00:00:04', '1', `${run}/b.m.sock`],
    [''],
    ['PORT', 'TYPE', 'DEVICE'],
    ['lan/gen', 'generator', '-'],
    [''],
  ]);
  const { nics, ports } = JSON.parse(sidecore('check', '-c', file, '--json').stdout);
  assert.deepEqual(nics[0], {
    nic: 'a/n',
    network: 'lan',
    vlan: null,
    trunk: null,
    mac: '52:54:00:00:00:01',
    queue_pairs: 2,
    role: 'server',
    socket: `${run}/a.n.sock`,
  });
  assert.deepEqual(ports, [{ port: 'lan/gen', type: 'generator', device: null }]);
});

it('vm-args refuses what cannot be', (test) => {
  const file = configFile(
    test,
    'vms: {empty: {}, web1: {disks: {root: {backend: {type: memory, size: 1MiB}, role: client}}}}',
  );
  const refused = (vm: string, vmm: string) => {
    const { status, stdout, stderr } = sidecore('vm-args', vm, '-c', file, '--vmm', vmm);
    assert.deepEqual([status, stdout], [1, '']);
    return stderr;
  };
  assert.equal(refused('web2', 'qemu'), 'sidecore: there is no VM web2 [CONFIG_INVALID]\n  VMs are: empty, web1.\n');
  assert.equal(
    refused('empty', 'qemu'),
    'sidecore: VM empty has neither disk nor network card [CONFIG_INVALID]\n  Give it one under vms.empty.disks or vms.empty.nics.\n',
  );
  assert.equal(
    refused('web1', 'firecracker'),
    'sidecore: web1/root has `role: client`, and Firecracker only connects itself [CONFIG_INVALID]\n  Leave `role` out of it.\n',
  );
});

it('status says so if there is no daemon', (test) => {
  const folder = scratchDirectory(test);
  assert.deepEqual(sidecore('status', '--run-dir', folder), {
    status: 1,
    stdout: '',
    stderr: `sidecore: there is no daemon at ${folder}/control.sock [DAEMON_UNREACHABLE]\n  Is it running, and with this run directory? (--run-dir)\n`,
  });
});

const QEMU = 'qemu-system-x86_64';
const noQemu = spawnSync(QEMU, ['--version']).error === undefined ? false : `${QEMU} is not installed`;

it('QEMU takes what vm-args prints, and its firmware reads from the disks', {
  skip: noQemu,
  timeout: TIMEOUT_MS,
}, async (test) => {
  const directory = scratchDirectory(test);
  const backend = { type: 'memory', size: '16MiB' };
  const client = { backend, role: 'client', socket: join(directory, 'odd, $path.sock') };
  const disks = { root: { backend, queues: 2 }, 'my-data': client };
  const daemon = await Daemon.start(test, { mode: 'adaptive', vms: { web1: { disks } } }, { directory });
  const file = join(directory, 'sidecore.yaml');
  const { stdout } = sidecore('vm-args', 'web1', '-c', file, '--vmm', 'qemu', '--memory', '128MiB');
  const options = stdout.replaceAll(/^#.*\n/gm, '');
  // As a person would: what is printed is pasted into a shell.
  const own = '-nodefaults -machine q35 -accel tcg -S -nographic -serial none -monitor stdio';
  const command = `exec setpriv --pdeathsig KILL ${QEMU} ${own} ${options}`;
  const qemu = spawn('bash', ['-c', command], { stdio: ['pipe', 'ignore', 'pipe'] });
  test.after(() => qemu.kill('SIGKILL'));
  let stderr = '';
  qemu.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });

  const until = async (what: string, isTrue: (disks: DaemonStatus['vms'][string]) => boolean) => {
    for (let tries = 0; tries < 100; tries++) {
      const { vms } = await daemon.status();
      if (isTrue(vms['web1']!)) return;
      assert.equal(qemu.exitCode, null, `QEMU ended: ${stderr}`);
      await sleep(100);
    }
    assert.fail(`not ${what}: ${stderr}`);
  };
  await until('both disks are connected', (all) => Object.values(all).every(({ connected }) => connected));
  qemu.stdin.write('cont\n');
  await until('both disks have guest memory', (all) => Object.values(all).every((disk) => disk.memory_regions > 0));
  await until('the firmware has read', ({ root }) => root!.queues[0]!.requests > 0);

  const table = (await daemon.cli('status')).stdout;
  assert.match(table, /^web1\/root +memory +16 MiB +0 +connected +/m);
  assert.match(table, /^web1\/root 0 +[1-9]\d* +/m);
  const exited = once(qemu, 'exit');
  qemu.stdin.write('quit\n');
  assert.deepEqual(await exited, [0, null], stderr);
});
