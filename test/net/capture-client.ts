/** `sidecore capture` as a process of its own, and guests whose frames it records. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { NetDriver } from '../../src/guest/net-driver.js';
import { type Cleanup, repositoryRoot, spawnTied } from '../support/daemon.js';
import { until, within } from '../vhost-user/raw-front-end.js';

export const MAIN = join(repositoryRoot, 'dist/src/cli/main.js');
export const BROADCAST = Buffer.from('ffffffffffff', 'hex');
/** For local experiments: no dissector looks into such frames. */
const EXPERIMENTAL_TYPE = 0x88b5;

export function frame(to: Uint8Array, from: Uint8Array, byteLength: number, seed: number): Buffer {
  const bytes = Buffer.alloc(byteLength);
  for (let i = 14; i < byteLength; i++) bytes[i] = (i * 31 + seed * 7) & 0xff;
  bytes.set(to, 0);
  bytes.set(from, 6);
  bytes.writeUInt16BE(EXPERIMENTAL_TYPE, 12);
  return bytes;
}

/** Sends a frame, and waits for a place for it if there is none. */
export async function send(driver: NetDriver, bytes: Uint8Array): Promise<void> {
  await until(() => driver.send(bytes), 'the device takes frames');
  driver.tx.publish();
}

/** Waits for a frame. */
export async function receive(driver: NetDriver): Promise<Buffer> {
  let found: Buffer | undefined;
  await until(() => (found = driver.receive()) !== undefined, 'a frame comes');
  return found!;
}

export class CaptureClient {
  readonly child: ChildProcess;
  stderr = '';
  readonly #closed: Promise<unknown>;

  private constructor(child: ChildProcess) {
    this.child = child;
    this.#closed = once(child, 'exit');
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  /** Starts one, and waits until it captures. It ends with the test at the latest. */
  static async start(test: Cleanup, runDirectory: string, ...args: string[]): Promise<CaptureClient> {
    const client = new CaptureClient(
      spawnTied(process.execPath, [MAIN, 'capture', ...args, '--run-dir', runDirectory]),
    );
    test.after(() => void client.child.kill('SIGKILL'));
    await until(() => client.stderr.includes('captures') || client.child.exitCode !== null, 'it captures');
    assert.equal(client.child.exitCode, null, client.stderr);
    return client;
  }

  get stdout(): Readable {
    return this.child.stdout!;
  }

  /** Its exit status. */
  async end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal !== undefined) this.child.kill(signal);
    await within(this.#closed, `the capture ends\n${this.stderr}`);
    return this.child.exitCode;
  }
}
