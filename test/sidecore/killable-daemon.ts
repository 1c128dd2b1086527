/**
 * A daemon in a process of its own, whose sidecores die when the test says so. Started as a program it is that daemon: its
 * argument is the configuration, and messages over Node's channel name the core that has to die.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../src/daemon/config.js';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath, Daemon, type DaemonStatus } from '../../src/daemon/daemon.js';
import { createLog } from '../../src/daemon/log.js';
import { signal } from '../../src/host/eventfd.js';
import { type Cleanup, scratchDirectory } from '../support/daemon.js';
import { within } from '../vhost-user/raw-front-end.js';

interface Order {
  readonly core: number;
  /** When, from the moment that the order comes. */
  readonly afterUs: number;
}

const RING_MS = 5;

/** The daemon's side. */
async function obey(file: string): Promise<void> {
  const daemon = await Daemon.start(loadConfig(file), createLog('info', false));
  process.on('message', async ({ core: index, afterUs }: Order) => {
    const at = performance.now() + afterUs / 1000;
    while (performance.now() < at);
    const core = daemon.cores.cores[index]!;
    const dead = core.kill();
    // A thread that sleeps in epoll_wait dies when it wakes up.
    const ringing = setInterval(() => {
      core.state.ring();
      signal(core.bellFd);
    }, RING_MS);
    await dead;
    clearInterval(ringing);
    process.send?.('killed');
  });
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}

/** The test's side. */
export class KillableDaemon {
  readonly #child: ChildProcess;
  readonly runDirectory: string;
  log = '';

  private constructor(child: ChildProcess, runDirectory: string) {
    this.#child = child;
    this.runDirectory = runDirectory;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
  }

  static async start(test: Cleanup, config: Record<string, unknown>): Promise<KillableDaemon> {
    const runDirectory = scratchDirectory(test);
    const file = join(runDirectory, 'sidecore.yaml');
    writeFileSync(file, JSON.stringify({ ...config, run_dir: runDirectory }));
    const child = fork(fileURLToPath(import.meta.url), [file], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    const daemon = new KillableDaemon(child, runDirectory);
    test.after(() => daemon.close());
    await daemon.#answer('ready');
    return daemon;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  socket(vm: string): string {
    return join(this.runDirectory, `${vm}.d.sock`);
  }

  status(): Promise<DaemonStatus> {
    return askDaemon(controlSocketPath(this.runDirectory), 'GET', '/status');
  }

  /** Has a core die; resolves when another has taken its place. */
  kill(core: number, afterUs = 0): Promise<void> {
    this.#child.send({ core, afterUs } satisfies Order);
    return this.#answer('killed');
  }

  async close(): Promise<void> {
    if (!this.running) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #answer(expected: string): Promise<void> {
    const aborter = new AbortController();
    const { signal: aborted } = aborter;
    const ended = once(this.#child, 'exit', { signal: aborted }).then(() => undefined);
    const answer = once(this.#child, 'message', { signal: aborted }).then(([message]) => message);
    const message = await within(Promise.race([answer, ended]), `the daemon is ${expected}`).finally(() => {
      Promise.allSettled([answer, ended]);
      aborter.abort();
    });
    if (message !== expected) throw new Error(`the daemon ended\n${this.log}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await obey(process.argv[2]!);
