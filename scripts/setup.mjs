#!/usr/bin/env node
/**
 * Brings what the real-guest tests and `demo --vm` need: Debian packages, a Debian kernel (unpacked into
 * `.cache/kernel`, never installed) and Node 26 (`.cache/node26`). Quick when nothing is to do, safe to run twice at
 * once or after an interruption. What cannot be had is printed, and written to `.cache/missing.json` as a list of
 * { need, why, how }, which the tests read. The exit status is 0, except with CI=true and something missing.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE26_VERSION = '26.10.0';
const KERNEL_METAPACKAGE = 'linux-image-cloud-amd64';
/** How long a second run waits for the first one. */
const LOCK_WAIT_S = 900;
/** What flock(1) exits with when the wait was in vain: EX_TEMPFAIL. */
const LOCK_TIMED_OUT = 75;
const COMMAND_TIMEOUT_MS = 600_000;

const script = fileURLToPath(import.meta.url);
const cache = join(dirname(dirname(script)), '.cache');
const isRoot = process.getuid?.() === 0;
const isDebian = process.arch === 'x64' && existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get');

/** Debian package, a file that shows it is there (searched on the PATH unless absolute), what for. */
const PACKAGES = [
  ['qemu-system-x86', 'qemu-system-x86_64', 'runs the guests'],
  ['qemu-system-common', 'qemu-storage-daemon', 'the peer that measurements are compared with'],
  ['qemu-utils', 'qemu-img', 'makes and checks disk images'],
  ['busybox-static', 'busybox', "the guest's user space"],
  ['cryptsetup-bin', 'cryptsetup', 'makes and opens encrypted images'],
  ['e2fsprogs', 'debugfs', 'makes and checks ext4'],
  ['cpio', 'cpio', "packs the guest's initramfs"],
  ['kmod', 'depmod', "lists the guest kernel's module dependencies"],
  ['syslinux', 'syslinux', 'makes the disk that SeaBIOS boots from'],
  ['mtools', 'mcopy', 'fills the disk that SeaBIOS boots from'],
  ['dosfstools', 'mkfs.fat', 'formats the disk that SeaBIOS boots from'],
  ['tshark', 'tshark', 'reads captures of network cards back'],
  ['iperf3', 'iperf3', 'sends streams between guests'],
  ['ethtool', 'ethtool', "shows and sets what guests' network cards do"],
  ['strace', 'strace', 'shows which system calls the data path makes'],
  ['iproute2', 'ip', 'makes network devices and bridges for the tests of TAP devices'],
  ['util-linux', 'setpriv', 'ends guests together with the test that started them'],
].map(([name, file, why]) => ({ name, file, why }));

const APT = [
  '-y',
  '-q',
  '-o',
  'DPkg::Lock::Timeout=120',
  '-o',
  'Acquire::Retries=1',
  '-o',
  'Acquire::http::Timeout=20',
  '-o',
  'APT::Sandbox::User=root',
];

const say = (line) => console.log(`setup: ${line}`);

/** Runs a command; its output on success, an error with its last lines otherwise. */
function run(command, args, options = {}) {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
    ...options,
  });
  if (result.status === 0) return result.stdout;
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-5).join('\n');
  throw new Error(`${command} ${args[0]} failed (${result.error?.message ?? `status ${result.status}`}): ${output}`);
}

function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function present(file) {
  if (file.startsWith('/')) return existsSync(file);
  return `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':').some((dir) => executable(join(dir, file)));
}

/** The trimmed text of a small file in the cache, or undefined. */
function contents(name) {
  const path = join(cache, name);
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

let listsAreFresh = false;

/** Tries with the package lists as they are, and once more after `apt-get update`. */
function withFreshLists(attempt) {
  try {
    return attempt();
  } catch (error) {
    if (listsAreFresh) throw error;
    say('refreshing the package lists (apt-get update)');
    run('apt-get', ['update', ...APT]);
    listsAreFresh = true;
    return attempt();
  }
}

/** Builds a directory in a temporary place beside its target, then puts it there whole. */
function placeDirectory(target, build) {
  const temporary = mkdtempSync(`${target}.new-`);
  try {
    build(temporary);
    chmodSync(temporary, 0o755);
    rmSync(target, { recursive: true, force: true });
    renameSync(temporary, target);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** What interrupted runs left behind; called with the lock held. */
function sweep() {
  for (const name of readdirSync(cache))
    if (/^(kernel|node26)\.new-/.test(name)) rmSync(join(cache, name), { recursive: true, force: true });
}

function installPackages() {
  const names = PACKAGES.filter((entry) => !present(entry.file)).map((entry) => entry.name);
  say(`installing ${names.join(' ')}`);
  withFreshLists(() => run('apt-get', ['install', '--no-install-recommends', ...APT, ...names]));
}

function unpackKernel() {
  placeDirectory(join(cache, 'kernel'), (directory) => {
    const [name, deb] = withFreshLists(() => {
      const wanted = /Depends: (linux-image-\S+)/.exec(run('apt-cache', ['depends', KERNEL_METAPACKAGE]))?.[1];
      if (wanted === undefined) throw new Error(`${KERNEL_METAPACKAGE} is in no package list`);
      say(`downloading ${wanted}`);
      run('apt-get', ['download', ...APT, wanted], { cwd: directory });
      return [wanted, readdirSync(directory).find((file) => file.endsWith('.deb'))];
    });
    const version = name.slice('linux-image-'.length);
    const unpacked = join(directory, 'unpacked');
    say(`unpacking ${deb}`);
    run('dpkg', ['-x', join(directory, deb), unpacked]);
    run('depmod', ['-b', unpacked, version], { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
    renameSync(join(unpacked, 'boot', `vmlinuz-${version}`), join(directory, 'vmlinuz'));
    renameSync(join(unpacked, 'lib/modules', version), join(directory, 'modules'));
    rmSync(join(directory, deb));
    rmSync(unpacked, { recursive: true });
    writeFileSync(join(directory, 'version'), `${version}\n`);
  });
}

/** The npm package `node` only runs an install script that fetches this one, so it is asked for directly. */
function installNode26() {
  const name = `node-linux-${process.arch}`;
  say(`installing ${name}@${NODE26_VERSION} from npm`);
  placeDirectory(join(cache, 'node26'), (directory) => {
    run('npm', [
      'install',
      '--prefix',
      directory,
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--fetch-retries=1',
      `${name}@${NODE26_VERSION}`,
    ]);
    mkdirSync(join(directory, 'bin'));
    symlinkSync(`../node_modules/${name}/bin/node`, join(directory, 'bin/node'));
    const version = run(join(directory, 'bin/node'), ['--version']).trim();
    if (version !== `v${NODE26_VERSION}`) throw new Error(`it is ${version}`);
    writeFileSync(join(directory, 'version'), `${version}\n`);
  });
}

const debianOnly = isDebian ? (isRoot ? undefined : 'not root') : 'not Debian on x86-64';

/** Each step: the needs it covers that are not met now, how to meet them here (unless `cannot` says why not). */
const STEPS = [
  {
    needs: () =>
      PACKAGES.filter((entry) => !present(entry.file)).map((entry) => ({
        need: entry.name,
        why: entry.why,
        how: `sudo apt-get install ${entry.name}`,
      })),
    cannot: debianOnly,
    install: installPackages,
  },
  {
    needs: () =>
      contents('kernel/version') !== undefined
        ? []
        : [
            {
              need: 'kernel',
              why: 'a stock Debian kernel for the guests',
              how: 'run `sudo node scripts/setup.mjs` on Debian, or copy .cache/kernel from there',
            },
          ],
    cannot: debianOnly,
    install: unpackKernel,
  },
  {
    needs: () =>
      executable(join(cache, 'node26/bin/node')) && contents('node26/version') === `v${NODE26_VERSION}`
        ? []
        : [
            {
              need: 'node26',
              why: 'the tests also run under Node 26',
              how: `npm install --prefix .cache/node26 node@${NODE26_VERSION}, with a link .cache/node26/bin/node`,
            },
          ],
    cannot: process.platform === 'linux' ? undefined : 'not Linux',
    install: installNode26,
  },
];

const unmet = () => STEPS.flatMap((step) => step.needs());

/** Takes what can be had; the reasons why the rest cannot, by need. */
function provide() {
  const reasons = new Map();
  for (const step of STEPS) {
    const needs = step.needs();
    if (needs.length === 0) continue;
    let reason = step.cannot;
    try {
      if (reason === undefined) step.install();
    } catch (error) {
      reason = error.message;
    }
    for (const { need } of needs) reasons.set(need, reason);
  }
  return reasons;
}

function report(reasons) {
  const missing = unmet();
  for (const { need, why, how } of missing) {
    say(`missing: ${need} (${why}). To get it: ${how}.`);
    const reason = reasons.get(need);
    if (reason) say(`  here: ${reason}`);
  }
  const temporary = join(cache, `missing.json.${process.pid}`);
  writeFileSync(temporary, `${JSON.stringify(missing, null, 2)}\n`);
  renameSync(temporary, join(cache, 'missing.json'));
  if (missing.length === 0) say('everything is there');
  else if (process.env.CI === 'true') process.exitCode = 1;
}

/** Runs this script again under flock(1): the kernel frees the lock however a run ends. */
function rerunLocked() {
  const args = [
    '-o',
    '-w',
    String(LOCK_WAIT_S),
    '-E',
    String(LOCK_TIMED_OUT),
    join(cache, 'setup.lock'),
    process.execPath,
    script,
  ];
  const { status, error } = spawnSync('flock', args, {
    stdio: 'inherit',
    env: { ...process.env, SIDECORE_SETUP_LOCKED: '1' },
  });
  const reason = error?.message ?? (status === LOCK_TIMED_OUT ? 'another setup runs' : undefined);
  if (reason === undefined) process.exitCode = status ?? 1;
  else report(new Map(unmet().map(({ need }) => [need, reason])));
}

mkdirSync(cache, { recursive: true });
if (unmet().length === 0) report(new Map());
else if (process.env.SIDECORE_SETUP_LOCKED !== '1') rerunLocked();
else {
  sweep();
  report(provide());
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env;
  if (isRoot && uid !== undefined) run('chown', ['-R', `${uid}:${gid}`, cache]);
}
