import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askDaemon } from '../daemon/control-server.js';
import type { DaemonStatus } from '../daemon/daemon.js';
import { SidecoreError } from '../errors.js';
import { OnExit } from './interruption.js';
import type { Placement } from './placement.js';
import type { Scratch } from './scratch.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const SETPRIV = '/usr/bin/setpriv';
const READY_MS_MAX = 20_000;
const STOP_MS_MAX = 5000;
/** Lines of the log that an error shows. */
const LOG_LINES_MAX = 3;

/** The daemon as an operator runs it: `sidecore serve -c FILE`, a process of its own. */
export class DaemonProcess {
  readonly #child: ChildProcess;
  readonly #scratch: Scratch;
  readonly #killing: OnExit;
  readonly #ended: Promise<never>;
  #stopping = false;

  /** Starts it and waits until it answers. */
  static async start(scratch: Scratch, placement: Placement, signal: AbortSignal): Promise<DaemonProcess> {
    placement.release();
    const daemon = new DaemonProcess(scratch);
    placement.settle();
    try {
      await daemon.#ready(signal);
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  private constructor(scratch: Scratch) {
    this.#scratch = scratch;
    const command = [process.execPath, MAIN, 'serve', '-c', scratch.configuration];
    // So that it does not outlive us even if we are killed.
    if (existsSync(SETPRIV)) command.unshift(SETPRIV, '--pdeathsig', 'KILL');
    const log = openSync(scratch.log, 'a');
    // Out of our process group: Ctrl-C is for us, and we stop it.
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    this.#killing = new OnExit(() => this.#child.kill('SIGKILL'));
    this.#ended = new Promise((_, reject) => {
      this.#child.once('error', (error) =>
        reject(new SidecoreError('DAEMON_UNREACHABLE', `cannot start the daemon: ${error.message}`)),
      );
      this.#child.once('exit', (code, signal) => {
        if (!this.#stopping) reject(this.#endedEarly(`ended with ${signal ?? `status ${code}`}`));
      });
    });
    this.#ended.catch(() => {});
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** The promise, or an error as soon as the daemon ends by itself. */
  whileRunning<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#ended]);
  }

  status(): Promise<DaemonStatus> {
    return this.whileRunning(askDaemon(this.#scratch.controlSocket, 'GET', '/status'));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((resolve) => this.#child.once('exit', resolve));
      this.#child.kill('SIGTERM');
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX);
      await ended;
      clearTimeout(timer);
    }
    this.#killing.cancel();
  }

  async #ready(signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + READY_MS_MAX;
    for (;;) {
      try {
        await this.status();
        return;
      } catch (error) {
        if (!(error instanceof SidecoreError) || error.code !== 'DAEMON_UNREACHABLE') throw error;
        if (Date.now() > deadline) throw this.#endedEarly('does not answer');
      }
      await this.whileRunning(sleep(20));
      signal.throwIfAborted();
    }
  }

  /** What the daemon itself says of its end, or that it has ended. */
  #endedEarly(how: string): SidecoreError {
    const lines = readFileSync(this.#scratch.log, 'utf8').trim().split('\n');
    const said = lines.findLastIndex((line) => line.startsWith('sidecore: '));
    if (said >= 0) {
      const [, text = '', code] = /^sidecore: (.*?)(?: \[([A-Z_]+)\])?$/.exec(lines[said]!) ?? [];
      const remedy = lines
        .slice(said + 1)
        .join('\n')
        .trim();
      return new SidecoreError((code as SidecoreError['code']) ?? 'DAEMON_UNREACHABLE', `the daemon: ${text}`, remedy);
    }
    return new SidecoreError(
      'DAEMON_UNREACHABLE',
      `the daemon ${how}`,
      `Its log ends with:\n${lines.slice(-LOG_LINES_MAX).join('\n')}`,
    );
  }
}
