import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DaemonProcess } from './daemon-process.js';
import { total } from './figures.js';
import { type Harness, loadHarness, provideNeeds, type Vm } from './harness.js';
import { orAborted } from './interruption.js';
import { perRequest, whole } from './numbers.js';
import { Placement } from './placement.js';
import type { DemoOptions } from './plan.js';
import { Scratch } from './scratch.js';
import { paragraph, type Show, SilentShow, showFor } from './show.js';
import { cutTo, printable } from './style.js';

const VM = 'debian';
const IMAGE_BYTES = 256 * 2 ** 20;
const DATA_MIB = 32;
const STEP_MS_MAX = 120_000;

/** What is done in the guest, in order. The names are for those whose output is used. */
const STEPS: readonly { readonly script: string; readonly name?: 'kernel' | 'written' | 'read' }[] = [
  { name: 'kernel', script: 'uname -r' },
  { script: 'cat /proc/partitions' },
  { script: 'mkfs.ext4 /dev/vda' },
  { script: 'mount /dev/vda /mnt' },
  { script: `dd if=/dev/urandom of=/mnt/data bs=1M count=${DATA_MIB} conv=fsync` },
  { name: 'written', script: 'sha256sum /mnt/data' },
  { script: 'echo 3 > /proc/sys/vm/drop_caches' },
  { name: 'read', script: 'sha256sum /mnt/data' },
  { script: 'df -h /mnt' },
  { script: 'umount /mnt' },
];

/** What the demo with a VM found out. */
interface Outcome {
  readonly kernel: string;
  readonly requests: number;
  readonly bytes: number;
  readonly kicks: number;
  readonly calls: number;
  readonly problems: readonly string[];
}

/** Boots a real guest on a disk of ours, has it use the disk, and checks the image. Returns the exit status. */
export async function runVm(options: DemoOptions, signal: AbortSignal): Promise<number> {
  const placement = new Placement(options.cpu);
  const show = options.json ? new SilentShow() : showFor(process.stdout, { coreCpu: placement.coreCpu, seconds: 0 });
  let scratch: Scratch | undefined;
  try {
    const harness = await loadHarness();
    await orAborted(
      provideNeeds(harness, (line) => show.say(line)),
      signal,
    );
    scratch = new Scratch(options.scratch, options.keep);
    // The harness's own files go there too, and away with it.
    process.env['TMPDIR'] = scratch.path;
    const outcome = await new VmDemo(harness, scratch, placement, show).run(signal);
    if (options.json)
      process.stdout.write(`${JSON.stringify({ ok: outcome.problems.length === 0, ...outcome }, null, 2)}\n`);
    return outcome.problems.length === 0 ? 0 : 1;
  } finally {
    show.end();
    scratch?.remove();
    if (options.keep && scratch !== undefined) show.say(`kept: ${scratch.path}`);
  }
}

class VmDemo {
  readonly #harness: Harness;
  readonly #scratch: Scratch;
  readonly #placement: Placement;
  readonly #show: Show;
  #partial = '';

  constructor(harness: Harness, scratch: Scratch, placement: Placement, show: Show) {
    this.#harness = harness;
    this.#scratch = scratch;
    this.#placement = placement;
    this.#show = show;
  }

  async run(signal: AbortSignal): Promise<Outcome> {
    const { coreCpu } = this.#placement;
    const text = `An unmodified Debian kernel boots under QEMU, with a disk that a sidecore on CPU ${coreCpu} serves over vhost-user. It makes a file system, writes, reads back and unmounts; then the host checks the image. What follows is its console.`;
    this.#say(text, '');
    this.#scratch.makeSparseImage(VM, IMAGE_BYTES);
    this.#scratch.configure([VM], { mode: 'sidecore', cpu: coreCpu, engine: 'auto' });
    const daemon = await DaemonProcess.start(this.#scratch, this.#placement, signal);
    let outcome: Outcome;
    let written: string;
    try {
      const during = <T>(promise: Promise<T>) => orAborted(daemon.whileRunning(promise), signal);
      const vm = await during(
        this.#harness.boot({
          disks: [{ socket: this.#scratch.socket(VM) }],
          onConsole: (console) => this.#showConsole(console),
        }),
      );
      try {
        ({ outcome, written } = await this.#use(vm, daemon, during));
      } finally {
        await vm.kill();
      }
    } finally {
      await daemon.stop();
    }
    const problems = [...outcome.problems, ...this.#checkImage(written)];
    this.#conclude({ ...outcome, problems });
    return { ...outcome, problems };
  }

  async #use(vm: Vm, daemon: DaemonProcess, during: <T>(promise: Promise<T>) => Promise<T>) {
    const said = { kernel: '', written: '', read: '' };
    for (const { script, name } of STEPS) {
      const output = await during(vm.must(onConsole(script), { timeoutMs: STEP_MS_MAX }));
      if (name !== undefined) said[name] = output.split(' ')[0]!;
    }
    const status = await during(daemon.status());
    await during(vm.powerOff());
    const problems = said.read === said.written ? [] : ['the guest read other data than it had written'];
    const outcome = {
      kernel: said.kernel,
      requests: total(status, (queue) => queue.requests),
      bytes: total(status, (queue) => queue.bytes_read + queue.bytes_written),
      kicks: total(status, (queue) => queue.kicks),
      calls: total(status, (queue) => queue.calls),
      problems,
    };
    return { outcome, written: said.written };
  }

  /** Looks into the image from the host. Returns what is wrong. */
  #checkImage(written: string): string[] {
    const image = this.#scratch.image(VM);
    const problems: string[] = [];
    this.#show.say('', 'host# e2fsck -fn debian.img');
    const check = onHost('e2fsck', '-fn', image);
    this.#show.say(check.output.trim());
    if (check.status !== 0) problems.push(`e2fsck found errors in the image (status ${check.status})`);
    const copy = join(this.#scratch.path, 'data');
    this.#show.say('host# debugfs -R "dump /data data" debian.img; sha256sum data');
    onHost('debugfs', '-R', `dump /data ${copy}`, image);
    const found = hashOf(copy);
    this.#show.say(`${found}  data`);
    if (found !== written) problems.push('the file in the image is not what the guest wrote');
    return problems;
  }

  #conclude({ kernel, requests, bytes, kicks, calls, problems }: Outcome): void {
    const { style } = this.#show;
    this.#show.say('', style.bold('What happened'), '');
    if (problems.length === 0) {
      this.#say(
        `Linux ${kernel}, as Debian ships it, used the disk with its own virtio-blk driver: ${DATA_MIB} MiB written, read back from the disk with the same SHA-256. On the host, e2fsck finds the image clean, and the file in it has the same SHA-256 again.`,
        `${whole(requests)} requests and ${whole(bytes / 2 ** 20)} MiB went through the sidecore, with ${perRequest(kicks / requests)} kicks (exits of the guest) and ${perRequest(calls / requests)} calls (interrupts) for each.`,
      );
    }
    for (const problem of problems) this.#show.say(style.bad(`FAILED: ${problem}`));
    this.#show.say(
      '',
      'Next: your own VM        node dist/src/cli/main.js vm-args --help   prints what to add to your VMM',
      '      its configuration  README.md, examples/',
      '      everything else    node dist/src/cli/main.js --help',
    );
  }

  #say(...texts: string[]): void {
    for (const text of texts) this.#show.say(...paragraph(this.#show, text));
  }

  /** Shows what the guest's console says, line by line. */
  #showConsole(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    const { style, width } = this.#show;
    for (const line of lines) this.#show.say(style.dim(cutTo(`│ ${printable(line)}`, width)));
  }
}

/** A script that shows itself and its output on the console, besides giving the output to us. */
function onConsole(script: string): string {
  return `set -o pipefail
echo 'guest# ${script}' > /dev/ttyS0
{ ${script}; } 2>&1 | tee /dev/ttyS0`;
}

function onHost(command: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
  });
  return { status, output: error?.message ?? `${stdout}${stderr}` };
}

/** SHA-256 of a file; empty if there is none. */
function hashOf(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return '';
  }
}
