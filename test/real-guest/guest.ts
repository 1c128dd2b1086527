/** A virtual machine with a stock Debian kernel under QEMU, and a shell in it. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnTied } from '../support/daemon.js';
import { accelerator, type Choice } from './accelerator.js';
import { READY_LINE } from './initramfs.js';
import { QemuCrash } from './needs.js';
import { type Accelerator, type GuestOptions, QEMU, qemuArguments } from './qemu.js';
import { Qmp } from './qmp.js';

const BOOT_TIMEOUT_MS = 60_000;
const RUN_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
const POWER_OFF_TIMEOUT_MS = 15_000;
const CONSOLE_KEPT_CHARS = 200_000;
/** What a kernel says whose CPU sleeps on although its timer was due: an emulated timer that never fired, before any driver of ours has work. */
const LOST_TIMER = /rcu_preempt kthread timer wakeup didn't happen/;
/** How much of the console and of the shell's output an error shows. */
const CONSOLE_TAIL_CHARS = 3_000;
const SHELL_TAIL_CHARS = 500;

export interface CommandResult {
  readonly status: number;
  readonly output: string;
}

/** Somebody waiting for the shell to say something. */
interface Waiter {
  readonly check: () => void;
  readonly fail: (reason: string) => void;
}

export class RealGuest {
  #console = '';
  #shellText = '';
  #waiter: Waiter | undefined;
  #dead: string | undefined;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #options: GuestOptions;
  #shell: Socket | undefined;
  #qmp: Qmp | undefined;

  private constructor(child: ChildProcess, directory: string, options: GuestOptions) {
    this.#child = child;
    this.#directory = directory;
    this.#options = options;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => this.#onConsole(text));
    child.once('error', (error) => this.#die(`QEMU did not start: ${error.message}`));
    child.once('close', (status, signal) => this.#die(`QEMU ended (${signal ?? `status ${status}`})`));
  }

  /** What guests run on here: KVM where one has been seen to boot under it. */
  static accelerator(): Promise<Choice> {
    return accelerator(async (signal) => {
      const guest = await RealGuest.#start({ memoryMiB: 128, append: 'quiet' }, 'kvm', signal);
      await guest.kill();
    });
  }

  /** Starts QEMU and waits until the guest takes commands. The caller ends it with `kill()`, whatever happens. */
  static async boot(options: GuestOptions = {}): Promise<RealGuest> {
    const chosen = options.accelerator ?? (await RealGuest.accelerator()).accelerator;
    return RealGuest.#start(options, chosen, AbortSignal.timeout(options.bootTimeoutMs ?? BOOT_TIMEOUT_MS));
  }

  static async #start(options: GuestOptions, chosen: Accelerator, signal: AbortSignal): Promise<RealGuest> {
    const directory = mkdtempSync(join(tmpdir(), 'sidecore-guest-'));
    const [shellSocket, qmpSocket] = [join(directory, 'shell'), join(directory, 'qmp')];
    const connections = Promise.all([acceptOne(shellSocket), acceptOne(qmpSocket)]);
    const child = spawnTied(QEMU, qemuArguments(options, chosen, shellSocket, qmpSocket));
    const guest = new RealGuest(child, directory, options);
    try {
      const ready = guest.#until(() => guest.#takeReady(), signal, 'the guest to boot');
      const opened = connections.then(async ([shell, qmp]) => {
        guest.#attach(shell);
        guest.#qmp = await Qmp.open(qmp);
      });
      opened.catch(() => {});
      await ready;
      await opened;
      return guest;
    } catch (error) {
      connections.catch(() => {});
      await guest.kill();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#dead === undefined;
  }

  /** The text of the console, and what QEMU wrote to stderr. */
  get console(): string {
    return this.#console;
  }

  get qmp(): Qmp {
    if (this.#qmp === undefined) throw new Error('QEMU has not connected its QMP socket yet');
    return this.#qmp;
  }

  /** Runs a script with sh in the guest, as root. One at a time. A status other than 0 is a result, not an error. */
  async run(script: string, options: { timeoutMs?: number } = {}): Promise<CommandResult> {
    const id = randomBytes(4).toString('hex');
    const end = new RegExp(`\\n@${id} (\\d+)\\n`);
    let result: CommandResult | undefined;
    const finished = this.#until(
      () => {
        const match = end.exec(this.#shellText);
        if (match === null) return false;
        result = { status: Number(match[1]), output: this.#shellText.slice(0, match.index) };
        this.#shellText = this.#shellText.slice(match.index + match[0].length);
        return true;
      },
      AbortSignal.timeout(options.timeoutMs ?? RUN_TIMEOUT_MS),
      `the guest to run: ${script.trim()}`,
    );
    this.#send(id, script);
    await finished;
    return result as CommandResult;
  }

  /** Like `run`, for scripts that must succeed: the output, trimmed. */
  async must(script: string, options: { timeoutMs?: number } = {}): Promise<string> {
    const { status, output } = await this.run(`set -e\n${script}`, options);
    if (status !== 0)
      throw this.#error(`the guest's command ended with ${status}: ${script.trim()}\n--- output\n${output}`);
    return output.trim();
  }

  /** Reboots from within and waits until the guest takes commands again. What is mounted is not unmounted. */
  async reboot(): Promise<void> {
    const signal = AbortSignal.timeout(this.#options.bootTimeoutMs ?? BOOT_TIMEOUT_MS);
    const ready = this.#until(() => this.#takeReady(), signal, 'the guest to reboot');
    this.#send('reboot', 'reboot -f');
    await ready;
  }

  /** Powers off from within and waits until QEMU has ended. */
  async powerOff(): Promise<void> {
    const ended = once(this.#child, 'close');
    this.#send('power-off', 'poweroff -f');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), POWER_OFF_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    this.#release();
    if (this.#child.signalCode !== null)
      throw this.#error(`the guest did not power off within ${POWER_OFF_TIMEOUT_MS} ms`);
  }

  /** Ends QEMU as a crash would. */
  async kill(): Promise<void> {
    if (this.running) {
      const ended = once(this.#child, 'close');
      this.#child.kill('SIGKILL');
      await ended;
    }
    this.#release();
  }

  #release(): void {
    this.#shell?.destroy();
    this.#qmp?.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #attach(shell: Socket): void {
    this.#shell = shell;
    shell.on('error', () => {});
    shell.setEncoding('utf8').on('data', (text: string) => {
      this.#shellText += text;
      this.#waiter?.check();
    });
  }

  #send(id: string, script: string): void {
    this.#shell?.write(`${id} ${Buffer.from(script).toString('base64')}\n`);
  }

  #takeReady(): boolean {
    const at = this.#shellText.indexOf(`${READY_LINE}\n`);
    if (at >= 0) this.#shellText = '';
    return at >= 0;
  }

  #onConsole(text: string): void {
    this.#console = (this.#console + text).slice(-CONSOLE_KEPT_CHARS);
    this.#options.onConsole?.(text);
    if (/Kernel panic - not syncing/.test(this.#console.slice(-text.length - 40)))
      this.#waiter?.fail('the kernel panicked');
  }

  #die(reason: string): void {
    this.#dead ??= reason;
    this.#waiter?.fail(reason);
  }

  /** Waits until `take` finds what it looks for in the shell's text; an error if the guest dies or the time is up. */
  #until(take: () => boolean, signal: AbortSignal, what: string): Promise<void> {
    if (this.#waiter !== undefined) throw new Error('the guest is busy: one command at a time');
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        signal.removeEventListener('abort', onAbort);
        this.#waiter = undefined;
        finish();
      };
      const fail = (reason: string): void => settle(() => reject(this.#error(`waiting for ${what}: ${reason}`)));
      const onAbort = (): void => fail('time is up');
      signal.addEventListener('abort', onAbort);
      this.#waiter = {
        fail,
        check: () => {
          if (take()) settle(resolve);
        },
      };
      if (this.#dead !== undefined) fail(this.#dead);
    });
  }

  #error(message: string): Error {
    const shell = JSON.stringify(this.#shellText.slice(-SHELL_TAIL_CHARS));
    const text = `${message}\n--- shell\n${shell}\n--- console\n${this.#console.slice(-CONSOLE_TAIL_CHARS)}`;
    const isQemus = this.#child.signalCode === 'SIGSEGV' || LOST_TIMER.test(this.#console);
    return isQemus ? new QemuCrash(text) : new Error(text);
  }
}

/** Listens on a path for one connection. */
function acceptOne(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      clearTimeout(timer);
      server.close();
      resolve(socket);
    });
    const timer = setTimeout(() => {
      server.close();
      reject(new Error(`nobody connected to ${path} within ${CONNECT_TIMEOUT_MS} ms`));
    }, CONNECT_TIMEOUT_MS);
    server.once('error', reject);
    server.listen(path);
  });
}
