/** The daemon as a child process, the way an operator runs it. Used by every integration test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonStatus } from '../../src/daemon/daemon.js';

const READY_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;
const CLI_TIMEOUT_MS = 20_000;
/** How much of the log an error shows. */
const LOG_TAIL_CHARS = 4_000;

/** The repository, seen from `dist/test/support` as well as from `test/support`. */
export const repositoryRoot = findUp(import.meta.dirname);

function findUp(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory;
  if (dirname(directory) === directory) throw new Error('no package.json above the tests');
  return findUp(dirname(directory));
}

/** What the helpers need of node:test's context: clean-up after the test, whatever its end. */
export interface Cleanup {
  after(clean: () => void | Promise<void>): void;
}

/** Clean-up of what is not one test's: a suite's, with `run` in its `after` hook, or an attempt's. */
export class CleanupSteps implements Cleanup {
  readonly #steps: (() => void | Promise<void>)[] = [];

  after(clean: () => void | Promise<void>): void {
    this.#steps.push(clean);
  }

  async run(): Promise<void> {
    for (const clean of this.#steps.reverse()) await clean();
  }
}

/** A fresh directory that goes away with the test. Short, because socket paths are bounded to 107 bytes. */
export function scratchDirectory(test: Cleanup): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidecore-test-'));
  test.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface DaemonOptions {
  /** Where the configuration and, by default, `run_dir` go. Default: a fresh scratch directory. */
  readonly directory?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export class Daemon {
  readonly directory: string;
  readonly runDirectory: string;
  readonly #child: ChildProcess;
  #log = '';

  private constructor(directory: string, runDirectory: string, child: ChildProcess) {
    this.directory = directory;
    this.runDirectory = runDirectory;
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log += text;
      });
    }
  }

  /** Starts `sidecore serve` and waits until its control socket accepts. It ends with the test at the latest. */
  static async start(test: Cleanup, config: Record<string, unknown>, options: DaemonOptions = {}): Promise<Daemon> {
    const directory = options.directory ?? scratchDirectory(test);
    const runDirectory = typeof config.run_dir === 'string' ? config.run_dir : join(directory, 'run');
    mkdirSync(runDirectory, { recursive: true });
    const file = join(directory, 'sidecore.yaml');
    writeFileSync(file, JSON.stringify({ ...config, run_dir: runDirectory }, null, 2));
    const child = spawnTied(process.execPath, [mainFile(), 'serve', '-c', file], options.environment);
    const daemon = new Daemon(directory, runDirectory, child);
    test.after(() => daemon.kill());
    await daemon.#ready();
    return daemon;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Everything that the daemon has written to stdout and stderr. */
  get log(): string {
    return this.#log;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The default socket of a disk. */
  socket(vm: string, disk: string): string {
    return join(this.runDirectory, `${vm}.${disk}.sock`);
  }

  /** Runs another subcommand against this daemon. A status other than 0 is a result, not an error. */
  async cli(...args: string[]): Promise<CliResult> {
    const child = spawnTied(process.execPath, [mainFile(), ...args, '--run-dir', this.runDirectory]);
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), CLI_TIMEOUT_MS);
    const [status] = (await once(child, 'close')) as [number | null];
    clearTimeout(timer);
    return { status, stdout, stderr };
  }

  /** `sidecore status --json`, parsed. */
  async status(): Promise<DaemonStatus> {
    const { status, stdout, stderr } = await this.cli('status', '--json');
    if (status !== 0) throw this.#error(`sidecore status ended with ${status}: ${stderr}`);
    return JSON.parse(stdout);
  }

  /** SIGTERM, then SIGKILL after a while. Returns the exit status; null if it had to be killed. */
  async stop(): Promise<number | null> {
    if (!this.running) return this.#child.exitCode;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
    return this.#child.exitCode;
  }

  /** Ends the daemon as a crash would. */
  async kill(): Promise<void> {
    if (!this.running) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #ready(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!(await accepts(join(this.runDirectory, 'control.sock')))) {
      if (!this.running)
        throw this.#error(`sidecore serve ended with ${this.#child.exitCode ?? this.#child.signalCode}`);
      if (Date.now() > deadline) throw this.#error(`sidecore serve was not ready after ${READY_TIMEOUT_MS} ms`);
      await sleep(50);
    }
  }

  #error(message: string): Error {
    return new Error(`${message}\n--- log\n${this.#log.slice(-LOG_TAIL_CHARS)}`);
  }
}

const mainFile = (): string => join(repositoryRoot, 'dist/src/cli/main.js');

/**
 * A child that dies with this process, even if this process is killed: setpriv(1) sets the parent-death signal and
 * becomes the command, so the pid is the command's.
 */
export function spawnTied(command: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
