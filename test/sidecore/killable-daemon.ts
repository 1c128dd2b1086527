/**
 * A daemon in a process of its own, whose sidecores die and whose queues move when the test says so. Started as a program it is that
 * daemon: its argument is the configuration, and messages over Node's channel say what has to happen.
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
import { moveCards, moveQueue } from '../../src/daemon/move.js';
import { signal } from '../../src/host/eventfd.js';
import type { NetDeviceSpec } from '../../src/net/device.js';
import { type Cleanup, scratchDirectory } from '../support/daemon.js';
import { within } from '../vhost-user/raw-front-end.js';

/** A core is to die. */
interface KillOrder {
  readonly core: number;
  /** When, from the moment that the order comes. */
  readonly afterUs: number;
}

/** A queue of a disk, or all of a card, is to move to a core. */
export interface MoveOrder {
  /** "VM/device" */
  readonly label: string;
  readonly queue?: number;
  readonly to: number;
}

type Order = { readonly id: number } & (KillOrder | { readonly moves: readonly MoveOrder[] });

/** Whether it has happened: of moves, each. */
interface Answer {
  readonly id: number;
  readonly done: readonly boolean[];
}

const RING_MS = 5;

/** The daemon's side. */
async function obey(file: string): Promise<void> {
  const daemon = await Daemon.start(loadConfig(file), createLog('debug', false));
  process.on('message', async (order: Order) => {
    const { id } = order;
    const done = 'core' in order ? await kill(daemon, order) : await move(daemon, order.moves);
    process.send?.({ id, done } satisfies Answer);
  });
  process.on('disconnect', () => process.exit());
  process.send?.({ id: 0, done: [] } satisfies Answer);
}

async function kill(daemon: Daemon, { core: index, afterUs }: KillOrder): Promise<boolean[]> {
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
  return [true];
}

/** Moves queues by themselves, and cards together. */
async function move({ cores }: Daemon, orders: readonly MoveOrder[]): Promise<boolean[]> {
  const moves = orders.map(({ label, queue, to }) => {
    const device = cores.devices.find((placed) => placed.label === label)!;
    return { device, to: cores.cores[to]!, queue };
  });
  const cards = moves.filter(({ queue }) => queue === undefined);
  const switchId = (cards[0]?.device.spec as NetDeviceSpec | undefined)?.switchId ?? 0;
  const moved = moveCards(switchId, cards, cores.mesh);
  return Promise.all(
    moves.map(async ({ device, to, queue }) => {
      if (queue === undefined) return (await moved).includes(device);
      const placed = [...device.queues.values()].find(({ spec }) => spec.index === queue);
      return placed !== undefined && moveQueue(placed, to);
    }),
  );
}

/** The test's side. */
export class KillableDaemon {
  readonly #child: ChildProcess;
  readonly runDirectory: string;
  log = '';
  readonly #waiting = new Map<number, (done: readonly boolean[]) => void>();
  #nextId = 1;

  private constructor(child: ChildProcess, runDirectory: string) {
    this.#child = child;
    this.runDirectory = runDirectory;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    child.on('message', ({ id, done }: Answer) => {
      this.#waiting.get(id)?.(done);
      this.#waiting.delete(id);
    });
  }

  static async start(test: Cleanup, config: Record<string, unknown>): Promise<KillableDaemon> {
    const runDirectory = scratchDirectory(test);
    const file = join(runDirectory, 'sidecore.yaml');
    writeFileSync(file, JSON.stringify({ ...config, run_dir: runDirectory }));
    const child = fork(fileURLToPath(import.meta.url), [file], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    const daemon = new KillableDaemon(child, runDirectory);
    test.after(() => daemon.close());
    await daemon.#answer(0, 'is ready');
    return daemon;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  socket(vm: string, device = 'd'): string {
    return join(this.runDirectory, `${vm}.${device}.sock`);
  }

  status(): Promise<DaemonStatus> {
    return askDaemon(controlSocketPath(this.runDirectory), 'GET', '/status');
  }

  /** Has a core die; resolves when another has taken its place. */
  async kill(core: number, afterUs = 0): Promise<void> {
    await this.#order({ core, afterUs }, `has core ${core} killed`);
  }

  /** Has queues and cards of one network move. Returns which have. */
  move(...moves: readonly MoveOrder[]): Promise<readonly boolean[]> {
    return this.#order({ moves }, 'has moved what it should');
  }

  #order(order: KillOrder | { readonly moves: readonly MoveOrder[] }, what: string): Promise<readonly boolean[]> {
    const id = this.#nextId++;
    this.#child.send({ id, ...order } satisfies Order);
    return this.#answer(id, what);
  }

  async close(): Promise<void> {
    if (!this.running) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #answer(id: number, what: string): Promise<readonly boolean[]> {
    const aborter = new AbortController();
    const ended = once(this.#child, 'exit', { signal: aborter.signal }).then(() => undefined);
    const answer = new Promise<readonly boolean[]>((resolve) => this.#waiting.set(id, resolve));
    const done = await within(Promise.race([answer, ended]), `the daemon ${what}`).finally(() => {
      ended.catch(() => {});
      aborter.abort();
    });
    if (done === undefined) throw new Error(`the daemon ended\n${this.log}`);
    return done;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await obey(process.argv[2]!);
