import { setTimeout as sleep } from 'node:timers/promises';
import { SidecoreError } from '../src/errors.js';
import { ALL_CPUS, BackEndProcess } from './back-ends.js';
import { type PortStats, parseFeatures, parsePortStats } from './testpmd-output.js';

const PROMPT = 'testpmd> ';
const ANSWER_MS_MAX = 30_000;
const QUIT_MS_MAX = 5000;

/** DPDK's testpmd, which sends, takes and forwards frames on one polling thread, and is told what to do line by line. */
export class Testpmd extends BackEndProcess {
  /** How much of the output was there before the last command. */
  #seen = 0;

  /**
   * @param cpu - of its polling thread and of the one that takes commands
   * @param devices - arguments of `--vdev`
   * @param folder - where DPDK keeps its files
   */
  constructor(name: string, cpu: number, devices: readonly string[], folder: string) {
    const args = ['-c', ALL_CPUS, 'stdbuf', '-oL', 'dpdk-testpmd', '-n', '1', '--lcores', `0@${cpu},1@${cpu}`];
    args.push('--no-pci', '--file-prefix', name, '--no-huge', '-m', '256', '--no-telemetry');
    args.push('--log-level=pmd.net.virtio.init:debug', ...devices.flatMap((device) => ['--vdev', device]));
    args.push('--', '-i', '--nb-cores=1', '--total-num-mbufs=32768', '--no-flush-rx');
    super(`testpmd (${name})`, 'taskset', args, { input: true, env: { ...process.env, RUNTIME_DIRECTORY: folder } });
    // A command that comes too late; `prompt` says that the process has ended.
    this.child.stdin?.on('error', () => {});
  }

  /** Waits until it takes the next command; lines of its log may come after the prompt. Returns what it has said since the last one. */
  async prompt(): Promise<string> {
    for (const deadline = Date.now() + ANSWER_MS_MAX; !this.output.includes(PROMPT, this.#seen); ) {
      if (this.child.exitCode !== null || this.child.signalCode !== null || Date.now() > deadline) {
        throw new SidecoreError('DAEMON_UNREACHABLE', `${this.name} does not answer:\n${this.output.slice(-2000)}`);
      }
      await sleep(10);
    }
    const answer = this.output.slice(this.#seen);
    this.#seen = this.output.length;
    return answer;
  }

  async command(line: string): Promise<string> {
    this.child.stdin?.write(`${line}\n`);
    return this.prompt();
  }

  /** Ends it: its cards leave in order. */
  async quit(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.stdin?.write('quit\n');
    await Promise.race([ended, sleep(QUIT_MS_MAX)]);
    await this.stop();
  }

  /** Counters of all ports, and rates since the last call. */
  async stats(): Promise<PortStats[]> {
    return parsePortStats(await this.command('show port stats all'));
  }

  /** What its virtio cards have negotiated. */
  get features(): bigint[] {
    return parseFeatures(this.output);
  }
}

/** A guest's card, at native speed, without a guest. */
export function virtioUser(index: number, socket: string, mac: string, options = ''): string {
  return `net_virtio_user${index},path=${socket},mac=${mac},queues=1,queue_size=256${options}`;
}

/** DPDK's own vhost-user back end for one card. */
export function vhost(index: number, socket: string): string {
  return `net_vhost${index},iface=${socket},queues=1`;
}
