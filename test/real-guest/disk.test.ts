/** Stock Debian guests under QEMU use disks that the daemon serves; the host then checks what is in the images. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon, scratchDirectory } from '../support/daemon.js';
import { BOOTED_FROM_DISK, bootDisk } from './boot-disk.js';
import { RealGuest } from './guest.js';
import { type GuestTestContext, guestTest } from './needs.js';
import type { GuestOptions } from './qemu.js';

const MIB = 1024 * 1024;
const SECTOR_BYTES = 512;
const IMAGE_BYTES = 128 * MIB;
/** `stat` counts allocated space in these, whatever the file system. */
const STAT_BLOCK_BYTES = 512;
const TEST_TIMEOUT_MS = 90_000;

type Mode = 'sidecore' | 'adaptive' | 'baseline';

/** A daemon whose VMs each have one file-backed `disk0`. */
interface Served {
  readonly daemon: Daemon;
  /** The image of a VM's disk. */
  image(vm: string): string;
  boot(vm: string, options?: GuestOptions): Promise<RealGuest>;
}

interface ServeOptions {
  readonly vms?: readonly string[];
  readonly mode?: Mode;
  readonly queues?: number;
  readonly packed?: boolean;
  /** Makes an image. Default: an empty one. */
  readonly makeImage?: (path: string) => void;
}

function makeEmptyImage(path: string): void {
  writeFileSync(path, '');
  truncateSync(path, IMAGE_BYTES);
}

async function serve(test: GuestTestContext, options: ServeOptions = {}): Promise<Served> {
  const { vms = ['web1'], mode = 'sidecore', queues = 1, packed = false, makeImage = makeEmptyImage } = options;
  const directory = scratchDirectory(test);
  const image = (vm: string): string => join(directory, `${vm}.img`);
  for (const vm of vms) makeImage(image(vm));
  const disks = (vm: string) => ({ disks: { disk0: { backend: { type: 'file', path: image(vm) }, queues } } });
  const config = { cores: [1], mode, vms: Object.fromEntries(vms.map((vm) => [vm, disks(vm)])) };
  const daemon = await Daemon.start(test, config, { directory });
  const boot = async (vm: string, guestOptions: GuestOptions = {}): Promise<RealGuest> => {
    const guest = await RealGuest.boot({
      ...guestOptions,
      disks: [{ socket: daemon.socket(vm, 'disk0'), queues, packed }],
    });
    test.after(() => guest.kill());
    return guest;
  };
  return { daemon, image, boot };
}

/** Runs a host command that must succeed; its output. */
function host(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

/** The hash at the start of sha256sum's output. */
const hashIn = (output: string): string => output.split(' ')[0] ?? '';

const allocatedBytes = (path: string): number => statSync(path).blocks * STAT_BLOCK_BYTES;

for (const mode of ['sidecore', 'baseline'] as const) {
  guestTest(
    `ext4 made, filled, trimmed and unmounted by the guest is clean and the same on the host (${mode})`,
    TEST_TIMEOUT_MS,
    async (test) => {
      const { daemon, image, boot } = await serve(test, { mode });
      const guest = await boot('web1');
      await guest.must('mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt');
      const written = await guest.must(
        'dd if=/dev/urandom of=/mnt/data bs=1M count=8 conv=fsync 2>/dev/null; sha256sum /mnt/data',
      );
      const readBack = await guest.must('echo 3 > /proc/sys/vm/drop_caches; sha256sum /mnt/data');
      assert.equal(readBack, written);
      await guest.must(
        'dd if=/dev/zero of=/mnt/passing bs=1M count=4 conv=fsync 2>/dev/null; rm /mnt/passing; sync; fstrim /mnt',
      );
      await guest.must('umount /mnt');
      await guest.powerOff();
      await daemon.stop();

      host('e2fsck', '-fn', image('web1'));
      const copy = join(daemon.directory, 'data');
      host('debugfs', '-R', `dump /data ${copy}`, image('web1'));
      assert.equal(sha256(readFileSync(copy)), hashIn(written));
    },
  );
}

for (const mode of ['sidecore', 'baseline'] as const) {
  guestTest(`Linux with packed rings keeps its data, over reboots too (${mode})`, TEST_TIMEOUT_MS, async (test) => {
    const { daemon, image, boot } = await serve(test, { mode, packed: true, queues: 2 });
    const guest = await boot('web1', { cpus: 2 });
    // One character a feature bit. VIRTIO 1.3, 6: RING_PACKED is 34.
    const negotiated = 'cut -c 35 /sys/block/vda/device/features';
    assert.equal(await guest.must(negotiated), '1');
    await guest.must('mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt');
    const written = await guest.must(
      'for cpu in 0 1; do taskset -c $cpu dd if=/dev/urandom of=/mnt/$cpu bs=1M count=8 conv=fsync 2>/dev/null & done; wait; cat /mnt/0 /mnt/1 | sha256sum',
    );
    const readBack = 'echo 3 > /proc/sys/vm/drop_caches; cat /mnt/0 /mnt/1 | sha256sum';
    assert.equal(await guest.must(readBack), written);
    await guest.must('umount /mnt');
    await guest.reboot();
    assert.equal(await guest.must(negotiated), '1');
    assert.equal(await guest.must(`mount /dev/vda /mnt; ${readBack}`), written);
    const { vms } = await daemon.status();
    const requests = vms.web1?.disk0?.queues.map((queue) => queue.requests) ?? [];
    assert.ok(requests.length === 2 && requests.every((count) => count > 0), `requests by queue: ${requests}`);
    await guest.must('umount /mnt');
    await guest.powerOff();
    await daemon.stop();
    host('e2fsck', '-fn', image('web1'));
  });
}

guestTest('SeaBIOS boots a guest from our disk', TEST_TIMEOUT_MS, async (test) => {
  const { boot } = await serve(test, { makeImage: (path) => copyFileSync(bootDisk(), path) });
  const guest = await boot('web1', { bios: 'disk' });
  assert.match(await guest.must('cat /proc/cmdline'), new RegExp(BOOTED_FROM_DISK));
  assert.equal(await guest.must('dd if=/dev/vda bs=512 count=1 2>/dev/null | tail -c 2 | od -An -tx1'), '55 aa');
});

guestTest('two guests at once, each with its own disk on one sidecore', TEST_TIMEOUT_MS, async (test) => {
  const { daemon, image, boot } = await serve(test, { vms: ['web1', 'web2'] });
  const fill = async (vm: string): Promise<string> => {
    const guest = await boot(vm);
    await guest.must('dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null; sha256sum < /tmp/data > /tmp/hash');
    await guest.must(
      'for turn in 1 2 3; do dd if=/tmp/data of=/dev/vda bs=64k seek=$((turn * 128)) conv=fsync 2>/dev/null; done',
    );
    const read =
      'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k skip=$((turn * 128)) count=128 2>/dev/null | sha256sum | cmp - /tmp/hash';
    await guest.must(`for turn in 1 2 3; do ${read}; done`);
    const hash = hashIn(await guest.must('cat /tmp/hash'));
    await guest.powerOff();
    return hash;
  };
  const hashes = await Promise.all([fill('web1'), fill('web2')]);
  await daemon.stop();
  assert.notEqual(hashes[0], hashes[1]);
  for (const [index, vm] of ['web1', 'web2'].entries()) {
    const content = readFileSync(image(vm));
    for (const turn of [1, 2, 3])
      assert.equal(sha256(content.subarray(turn * 8 * MIB, (turn + 1) * 8 * MIB)), hashes[index]);
  }
});

guestTest('the disk keeps working after the guest reboots', TEST_TIMEOUT_MS, async (test) => {
  const { boot } = await serve(test);
  const guest = await boot('web1');
  const written = await guest.must(
    'dd if=/dev/urandom of=/dev/vda bs=1M count=4 conv=fsync 2>/dev/null; dd if=/dev/vda bs=1M count=4 2>/dev/null | sha256sum',
  );
  for (let turn = 0; turn < 2; turn++) {
    await guest.reboot();
    assert.equal(await guest.must('dd if=/dev/vda bs=1M count=4 2>/dev/null | sha256sum'), written);
  }
  await guest.must('dd if=/dev/zero of=/dev/vda bs=1M count=4 conv=fsync 2>/dev/null');
});

guestTest('the guest sees a resize at once and can use the new space', TEST_TIMEOUT_MS, async (test) => {
  const { daemon, boot } = await serve(test);
  const guest = await boot('web1');
  assert.equal(await guest.must('cat /sys/block/vda/size'), String(IMAGE_BYTES / SECTOR_BYTES));
  const grown = 2 * IMAGE_BYTES;
  const { status, stderr } = await daemon.cli('resize', 'web1/disk0', `${grown / MIB}MiB`);
  assert.equal(status, 0, stderr);
  await guest.must(
    `for try in $(seq 50); do [ $(cat /sys/block/vda/size) = ${grown / SECTOR_BYTES} ] && exit 0; sleep 0.1; done; cat /sys/block/vda/size; exit 1`,
  );
  await guest.must(`dd if=/dev/urandom of=/tmp/end bs=1M count=1 2>/dev/null
    dd if=/tmp/end of=/dev/vda bs=1M seek=${grown / MIB - 1} conv=fsync 2>/dev/null
    echo 3 > /proc/sys/vm/drop_caches
    dd if=/dev/vda bs=1M skip=${grown / MIB - 1} 2>/dev/null | cmp - /tmp/end`);
});

guestTest('with two queues each of two CPUs uses its own', TEST_TIMEOUT_MS, async (test) => {
  const { daemon, boot } = await serve(test, { queues: 2 });
  const guest = await boot('web1', { cpus: 2 });
  assert.equal(await guest.must('ls /sys/block/vda/mq | wc -l'), '2');
  await guest.must(
    'for cpu in 0 1; do taskset -c $cpu dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null; done',
  );
  const { vms } = await daemon.status();
  const requests = vms.web1?.disk0?.queues.map((queue) => queue.requests) ?? [];
  assert.equal(requests.length, 2);
  for (const count of requests) assert.ok(count >= 64, `requests by queue: ${requests}`);
});

guestTest('a discard gives space back to the host, and reads give zeros', TEST_TIMEOUT_MS, async (test) => {
  const { daemon, image, boot } = await serve(test);
  const guest = await boot('web1');
  await guest.must('dd if=/dev/urandom of=/dev/vda bs=1M count=32 conv=fsync 2>/dev/null');
  const before = allocatedBytes(image('web1'));
  assert.ok(before >= 32 * MIB, `${before} bytes allocated`);
  await guest.must(`blkdiscard -o 0 -l ${24 * MIB} /dev/vda; sync`);
  const after = allocatedBytes(image('web1'));
  assert.ok(after <= before - 20 * MIB, `${before} bytes allocated before, ${after} after`);
  await guest.must(
    'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count=24 2>/dev/null | cmp -n 25165824 - /dev/zero',
  );
  assert.notEqual(
    await guest.must('dd if=/dev/vda bs=1M skip=24 count=8 2>/dev/null | sha256sum'),
    await guest.must('dd if=/dev/zero bs=1M count=8 2>/dev/null | sha256sum'),
  );
  await guest.powerOff();
  await daemon.stop();
});
