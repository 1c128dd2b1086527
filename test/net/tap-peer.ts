/**
 * A process in a network namespace of its own, for a TAP device that is moved there: the other end of a TCP connection. Started as a
 * program it listens, sends back what it gets, and writes the port that it listens at.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Cleanup, spawnTied } from '../support/daemon.js';
import { ip } from '../support/network-namespace.js';

const PORT = 7;

export class TapPeer {
  readonly port = PORT;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(test: Cleanup): Promise<TapPeer> {
    const child = spawnTied('unshare', ['--net', process.execPath, fileURLToPath(import.meta.url)]);
    test.after(() => void child.kill('SIGKILL'));
    await once(child.stdout!, 'data');
    return new TapPeer(child);
  }

  /** Takes a device over, with an address such as 192.0.2.2/24. */
  take(device: string, address: string): void {
    const pid = String(this.#child.pid);
    ip('link', 'set', device, 'netns', pid);
    for (const words of [
      ['address', 'add', address, 'dev', device],
      ['link', 'set', device, 'up'],
    ])
      execFileSync('nsenter', ['--net', '--target', pid, 'ip', ...words], { stdio: 'pipe' });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  createServer((socket) => socket.pipe(socket)).listen(PORT, () => process.stdout.write('ready\n'));
}
