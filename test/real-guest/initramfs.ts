/** The guest's user space: busybox, e2fsprogs, the kernel's virtio modules, and an /init that runs our commands. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { cached } from './needs.js';

/** What /init writes once it takes commands. */
export const READY_LINE = '@ready';

export const KERNEL = cached('kernel', 'vmlinuz');

/** Loaded in this order, each after what it depends on. ext4 is built into Debian's cloud kernel. */
const MODULES: readonly string[] = ['virtio_pci', 'virtio_blk', 'virtio_net'];

/** Copied with the shared libraries they need; everything else is busybox, whose shell prefers its own `mke2fs`. */
const PROGRAMS: readonly string[] = [
  '/usr/sbin/mkfs.ext4',
  '/usr/sbin/e2fsck',
  '/usr/sbin/resize2fs',
  '/usr/sbin/ethtool',
  '/usr/bin/iperf3',
];

/**
 * The console is ttyS0; commands come on ttyS1, where no kernel message can break a line: `ID BASE64-OF-A-SCRIPT`,
 * answered by the script's output and, on a line of its own, `@ID STATUS`.
 */
const INIT = `#!/bin/busybox sh
export PATH=/sbin:/bin
/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt /run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
for module in /modules/*.ko; do insmod "$module"; done
exec < /dev/ttyS1 > /dev/ttyS1
stty raw -echo
echo ${READY_LINE}
# Not in process 1, which becomes the parent of what scripts leave behind: a child that ends interrupts \`read\`, and cuts a line in two.
(
while read -r id script; do
  echo "$script" | base64 -d > /tmp/script
  sh /tmp/script < /dev/null 2>&1
  printf '\\n@%s %d\\n' "$id" $?
done
)
poweroff -f
`;

interface Entry {
  /** Where in the guest, without the leading slash. */
  readonly path: string;
  readonly content: Buffer;
  readonly mode: number;
}

let built: string | undefined;

/** The path of the initramfs, built if its content has changed. */
export function initramfs(): string {
  built ??= build(entries());
  return built;
}

function entries(): Entry[] {
  const file = (path: string, source: string): Entry => ({ path, content: readFileSync(source), mode: 0o755 });
  return [
    { path: 'init', content: Buffer.from(INIT), mode: 0o755 },
    file('bin/busybox', '/usr/bin/busybox'),
    file('etc/mke2fs.conf', '/etc/mke2fs.conf'),
    ...PROGRAMS.map((program) => file(program.replace('/usr/', ''), program)),
    ...sharedLibraries(PROGRAMS).map((library) => file(library.slice(1), library)),
    ...modules().map((module, index) => file(`modules/${String(index).padStart(2, '0')}.ko`, module)),
  ];
}

function sharedLibraries(programs: readonly string[]): string[] {
  const listing = execFileSync('ldd', programs, { encoding: 'utf8' });
  return [...new Set(Array.from(listing.matchAll(/(\/\S+) \(0x/g), (match) => match[1] ?? ''))].sort();
}

/** The files of MODULES and of all they depend on, in loading order. Each line of modules.dep names the last to load first. */
function modules(): string[] {
  const dependencies = readFileSync(cached('kernel', 'modules', 'modules.dep'), 'utf8').split('\n');
  const order = new Set<string>();
  for (const name of MODULES) {
    const line = dependencies.find((text) => text.split(':')[0]?.endsWith(`/${name}.ko`));
    if (line === undefined) throw new Error(`the kernel has no module ${name}`);
    for (const path of line.replace(':', '').trim().split(/\s+/).reverse()) order.add(path);
  }
  return [...order].map((path) => cached('kernel', 'modules', path));
}

function build(files: readonly Entry[]): string {
  const hash = createHash('sha256');
  for (const { path, content, mode } of files) hash.update(`${path} ${mode} ${content.length}\n`).update(content);
  const target = cached(`initramfs-${hash.digest('hex').slice(0, 16)}.cpio.gz`);
  if (existsSync(target)) return target;
  const staging = mkdtempSync(cached('initramfs.new-'));
  try {
    const tree = join(staging, 'tree');
    for (const { path, content, mode } of files) {
      mkdirSync(join(tree, dirname(path)), { recursive: true });
      writeFileSync(join(tree, path), content);
      chmodSync(join(tree, path), mode);
    }
    const names = readdirSync(tree, { recursive: true, encoding: 'utf8' }).sort().join('\n');
    const archive = execFileSync('cpio', ['-o', '-H', 'newc', '-R', '0:0', '--quiet'], {
      cwd: tree,
      input: names,
      maxBuffer: 1 << 30,
    });
    const packed = join(staging, 'initramfs');
    writeFileSync(packed, gzipSync(archive, { level: 1 }));
    renameSync(packed, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return target;
}
