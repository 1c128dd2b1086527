import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askDaemon } from '../src/daemon/control-server.js';
import { controlSocketPath, type DaemonStatus } from '../src/daemon/daemon.js';
import { SidecoreError } from '../src/errors.js';
import { allowedCpus } from '../src/host/affinity.js';
import { close } from '../src/host/libc.js';
import { connectUnix } from '../src/host/unix-socket.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
/** The CPUs of this process before the client was pinned: the daemon pins its threads itself. */
export const ALL_CPUS = allowedCpus().join(',');
const READY_MS_MAX = 10_000;
const STOP_MS_MAX = 5000;

/** Whatever ends this process ends these too. */
const running = new Set<BackEndProcess>();
process.once('exit', () => {
  for (const { child } of running) child.kill('SIGKILL');
});

/** A back end in a process of its own. */
export class BackEndProcess {
  readonly name: string;
  readonly child: ChildProcess;
  /** What it has written to standard output and standard error. */
  output = '';

  constructor(
    name: string,
    command: string,
    args: readonly string[],
    options: { input?: boolean; env?: NodeJS.ProcessEnv } = {},
  ) {
    this.name = name;
    const { input = false, env = process.env } = options;
    this.child = spawn(command, args, { stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'], env });
    const keep = (chunk: Buffer) => {
      this.output += chunk.toString();
    };
    this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    running.add(this);
    this.child.once('exit', () => running.delete(this));
    this.child.once('error', (error) => keep(Buffer.from(`${error.message}\n`)));
  }

  /** Waits until somebody listens on the sockets. */
  async ready(sockets: readonly string[]): Promise<void> {
    const deadline = Date.now() + READY_MS_MAX;
    for (const socket of sockets) {
      for (let fd = connectUnix(socket); ; fd = connectUnix(socket)) {
        if (fd >= 0) {
          close(fd);
          break;
        }
        if (this.child.exitCode !== null || Date.now() > deadline) {
          throw new SidecoreError('DAEMON_UNREACHABLE', `${this.name} did not come up:\n${this.output.trim()}`);
        }
        await sleep(50);
      }
    }
    // The connection that was tried has to be noticed as ended, or it is in the way of the next.
    await sleep(200);
  }

  /** CPU time of each of its threads so far, ns. */
  threadsNs(): Map<string, number> {
    const folder = `/proc/${this.child.pid}/task`;
    return new Map(
      readdirSync(folder).map((task) => [
        task,
        Number(readFileSync(`${folder}/${task}/schedstat`, 'utf8').split(' ')[0]),
      ]),
    );
  }

  /** CPU time of all its threads so far, ns. */
  cpuNs(): number {
    return [...this.threadsNs().values()].reduce((sum, ns) => sum + ns, 0);
  }

  /** Has it stand still, wherever it polls, until `resume`: others need the CPU. */
  pause(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    this.resume();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS_MAX);
    await ended;
    clearTimeout(timer);
  }
}

/** Our daemon, from a configuration. */
export class OurDaemon extends BackEndProcess {
  readonly runDir: string;

  constructor(node: string, runDir: string, config: Record<string, unknown>, nodeOptions: readonly string[] = []) {
    const file = `${runDir}.yaml`;
    writeFileSync(file, JSON.stringify({ ...config, run_dir: runDir }));
    super('sidecore', 'taskset', ['-c', ALL_CPUS, node, ...nodeOptions, MAIN, 'serve', '-c', file]);
    this.runDir = runDir;
  }

  /** Of a disk or network card. */
  socket(device: string): string {
    return join(this.runDir, `bench.${device}.sock`);
  }

  status(): Promise<DaemonStatus> {
    return askDaemon(controlSocketPath(this.runDir), 'GET', '/status');
  }
}

/** One export of the peer. */
export interface PeerDisk {
  readonly name: string;
  readonly socket: string;
  /** A file, or undefined for null-co. */
  readonly file?: string;
  /** It is an encrypted image: where its passphrase is. */
  readonly keyFile?: string;
}

/** qemu-storage-daemon in its best configuration: one iothread for all exports, io_uring, pinned to one CPU. */
export function storageDaemon(cpu: number, disks: readonly PeerDisk[]): BackEndProcess {
  const args = ['-c', String(cpu), 'qemu-storage-daemon', '--object', 'iothread,id=t'];
  for (const { name, socket, file, keyFile } of disks) {
    const node = keyFile === undefined ? name : `${name}-file`;
    const blockdev = file
      ? `driver=file,node-name=${node},filename=${file},aio=io_uring,locking=off`
      : `driver=null-co,node-name=${node},size=1073741824,read-zeroes=off`;
    args.push('--blockdev', blockdev);
    if (keyFile !== undefined) {
      args.push('--object', `secret,id=key-${name},file=${keyFile}`);
      args.push('--blockdev', `driver=luks,node-name=${name},file=${node},key-secret=key-${name}`);
    }
    args.push(
      '--export',
      `type=vhost-user-blk,id=e${name},node-name=${name},addr.type=unix,addr.path=${socket},writable=on,iothread=t`,
    );
  }
  return new BackEndProcess('qemu-storage-daemon', 'taskset', args);
}
