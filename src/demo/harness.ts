import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SidecoreError } from '../errors.js';

/** A running virtual machine, as the harness of the tests has it. */
export interface Vm {
  /** Of QEMU. */
  readonly pid: number;
  /** Runs a script in the guest; its output. Throws if it fails. */
  must(script: string, options?: { timeoutMs?: number }): Promise<string>;
  powerOff(): Promise<void>;
  kill(): Promise<void>;
}

export interface VmOptions {
  readonly disks?: readonly { readonly socket: string }[];
  /** In the guest they are eth0, eth1, ... */
  readonly nics?: readonly { readonly socket: string; readonly mac: string }[];
  /** Default: KVM where a guest has been seen to boot under it. */
  readonly accelerator?: 'tcg' | 'kvm';
  readonly bootTimeoutMs?: number;
  readonly onConsole?: (text: string) => void;
}

/** What is used of `test/real-guest`: the virtual machines that the tests boot. */
export interface Harness {
  /** Boots one; anew if QEMU itself crashes, as it does now and then without KVM. */
  boot(options: VmOptions): Promise<Vm>;
  /** What VMs run on here, and what has been seen of KVM. Boots one the first time. */
  accelerator(): Promise<{ readonly accelerator: 'tcg' | 'kvm'; readonly why: string }>;
  /** Why no VM can run here; undefined if one can. */
  whyNot(): string | undefined;
}

const BOOTS_MAX = 3;

/** What the compiler has made of the repository: `dist`. */
const compiled = fileURLToPath(new URL('../..', import.meta.url));
/** The checkout that it is in. */
const checkout = join(compiled, '..');
const setupScript = join(checkout, 'scripts', 'setup.mjs');

/**
 * Loads the harness. It is part of the tests, which packages do not contain, so its path is made up here and is no import
 * that the compiler sees.
 */
export async function loadHarness(): Promise<Harness> {
  const folder = join(compiled, 'test', 'real-guest');
  const load = async (file: string) => import(pathToFileURL(join(folder, file)).href);
  if (!existsSync(join(folder, 'guest.js')) || !existsSync(setupScript)) {
    throw new SidecoreError(
      'UNSUPPORTED_PLATFORM',
      'VMs are booted by the harness of the tests, which is not part of the package',
      'Run it in a checkout of the repository: npm ci && npm run demo -- --vm',
    );
  }
  const { RealGuest } = (await load('guest.js')) as { RealGuest: Pick<Harness, 'boot' | 'accelerator'> };
  const needs = (await load('needs.js')) as {
    whyNoGuest: Harness['whyNot'];
    QemuCrash: new () => Error;
  };
  const boot = async (options: VmOptions) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await RealGuest.boot(options);
      } catch (error) {
        if (!(error instanceof needs.QemuCrash) || attempt === BOOTS_MAX) throw error;
      }
    }
  };
  return { boot, accelerator: () => RealGuest.accelerator(), whyNot: needs.whyNoGuest };
}

/** Has `scripts/setup.mjs` get what is missing, if anything is. Throws if something still is. */
export async function provideNeeds(harness: Harness, say: (line: string) => void): Promise<void> {
  if (harness.whyNot() === undefined) return;
  say('The VM needs QEMU, a Debian kernel and some small tools: scripts/setup.mjs gets what it can.');
  await new Promise<void>((resolve) => {
    const setup = spawn(process.execPath, [setupScript], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [setup.stdout, setup.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => say(text.trimEnd()));
    }
    setup.once('error', () => resolve());
    setup.once('close', () => resolve());
  });
  const why = harness.whyNot();
  if (why !== undefined) {
    throw new SidecoreError(
      'UNSUPPORTED_PLATFORM',
      `no VM can run here: ${why}`,
      'On Debian: sudo node scripts/setup.mjs',
    );
  }
}
