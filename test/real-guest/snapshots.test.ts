/** Stock Debian guests on disks with snapshots and on clones of one image; the host then checks what they hold. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon, scratchDirectory } from '../support/daemon.js';
import { RealGuest } from './guest.js';
import { guestTest } from './needs.js';

const IMAGE_BYTES = 128 * 2 ** 20;
const TEST_TIMEOUT_MS = 90_000;
const PATH = `${process.env['PATH']}:/usr/sbin:/sbin`;

/** Runs a host command that must succeed; its output. */
function host(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, PATH } });
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

function makeImage(path: string): void {
  writeFileSync(path, '');
  truncateSync(path, IMAGE_BYTES);
}

guestTest('a snapshot of a running guest is its ext4 as of that instant', TEST_TIMEOUT_MS, async (test) => {
  const directory = scratchDirectory(test);
  const image = join(directory, 'disk.img');
  makeImage(image);
  const disks = {
    disk0: {
      backend: { type: 'file', path: image },
      queues: 2,
      filters: [{ use: 'snapshot', options: { path: join(directory, 'snapshots') } }],
    },
  };
  const daemon = await Daemon.start(test, { cores: [1], vms: { web1: { disks } } }, { directory });
  const guest = await RealGuest.boot({ cpus: 2, disks: [{ socket: daemon.socket('web1', 'disk0'), queues: 2 }] });
  test.after(() => guest.kill());
  await guest.must('mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt');
  const before = await guest.must(
    'for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/$i bs=1M count=2 2>/dev/null; done; sync; cd /mnt; sha256sum 1 2 3 4',
  );
  // It writes on, over the same files and new ones, while the snapshot is made and exported.
  await guest.must(
    `(i=0; while [ ! -e /tmp/stop ]; do i=$((i + 1)); dd if=/dev/urandom of=/mnt/new$((i % 5)) bs=64k count=20 2>/dev/null; done; touch /tmp/stopped) > /dev/null 2>&1 &
    fsfreeze -f /mnt 2>/dev/null && touch /tmp/frozen || sync`,
  );
  const created = await daemon.cli('snapshot', 'create', 'web1/disk0', 'one');
  assert.equal(created.status, 0, created.stderr);
  await guest.must(`[ ! -e /tmp/frozen ] || fsfreeze -u /mnt
    for i in 1 2 3; do dd if=/dev/urandom of=/mnt/$i bs=1M count=2 conv=notrunc 2>/dev/null; done; rm /mnt/4; sync`);
  const out = join(directory, 'one.raw');
  const exported = await daemon.cli('snapshot', 'export', 'web1/disk0', 'one', out, '--json');
  assert.equal(exported.status, 0, exported.stderr);
  const last = JSON.parse(exported.stdout.trim().split('\n').at(-1)!);
  assert.deepEqual([last.state, last.done_bytes], ['done', IMAGE_BYTES]);
  await guest.must('touch /tmp/stop; while [ ! -e /tmp/stopped ]; do sleep 0.1; done; umount /mnt');
  const { stdout: list } = await daemon.cli('snapshot', 'list', 'web1/disk0', '--json');
  assert.equal(JSON.parse(list)[0].name, 'one');
  const deleted = await daemon.cli('snapshot', 'delete', 'web1/disk0', 'one');
  assert.equal(deleted.status, 0, deleted.stderr);
  await guest.powerOff();
  await daemon.stop();
  host('e2fsck', '-fn', image);
  // As after the guest had been switched off at that instant: its journal is replayed, and then nothing is wrong.
  spawnSync('e2fsck', ['-fy', '-E', 'journal_only', out], { env: { ...process.env, PATH } });
  host('e2fsck', '-fn', out);
  for (const line of before.trim().split('\n')) {
    const [sum, name] = line.split(/\s+/);
    const copy = join(directory, name!);
    host('debugfs', '-R', `dump /${name} ${copy}`, out);
    assert.equal(host('sha256sum', copy).split(' ')[0], sum, `file ${name}`);
  }
});

guestTest('two clones of one image diverge', TEST_TIMEOUT_MS, async (test) => {
  const directory = scratchDirectory(test);
  const base = join(directory, 'base.img');
  makeImage(base);
  execFileSync('mkfs.ext4', ['-q', base], { env: { ...process.env, PATH } });
  const sum = host('sha256sum', base);
  const clone = (vm: string) => ({
    backend: { type: 'file', path: base, read_only: true },
    filters: [{ use: 'overlay', options: { path: join(directory, `${vm}.top`) } }],
  });
  const vms = ['web1', 'web2'];
  const config = { cores: [1], vms: Object.fromEntries(vms.map((vm) => [vm, { disks: { disk0: clone(vm) } }])) };
  const daemon = await Daemon.start(test, config, { directory });
  const boot = async (vm: string) => {
    const guest = await RealGuest.boot({ disks: [{ socket: daemon.socket(vm, 'disk0') }] });
    test.after(() => guest.kill());
    return guest;
  };
  const fill = async (vm: string) => {
    const guest = await boot(vm);
    const written = await guest.must(
      `mount /dev/vda /mnt; echo ${vm} > /mnt/who; dd if=/dev/urandom of=/mnt/data bs=1M count=4 conv=fsync 2>/dev/null; sha256sum /mnt/data`,
    );
    await guest.must('echo 3 > /proc/sys/vm/drop_caches');
    assert.equal(await guest.must('sha256sum /mnt/data'), written);
    assert.equal(await guest.must('cat /mnt/who'), vm);
    await guest.must('fstrim /mnt; umount /mnt');
    return guest;
  };
  for (const vm of vms) {
    const guest = await fill(vm);
    await guest.must('e2fsck -fn /dev/vda > /dev/null 2>&1');
    await guest.powerOff();
  }
  const info = await daemon.cli('overlay', 'info', 'web1/disk0', '--json');
  assert.equal(info.status, 0, info.stderr);
  assert.ok(JSON.parse(info.stdout).bytes_in_top >= 4 * 2 ** 20);
  await daemon.stop();
  assert.equal(host('sha256sum', base), sum);
});
