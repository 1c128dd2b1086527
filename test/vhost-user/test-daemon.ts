/** A daemon with small memory disks for the tests here, and looks at it from outside. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type Agent, globalAgent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { askDaemon } from '../../src/daemon/control-server.js';
import { controlSocketPath, type DaemonStatus } from '../../src/daemon/daemon.js';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { type Cleanup, Daemon } from '../support/daemon.js';
import { until } from './raw-front-end.js';

export type Mode = 'sidecore' | 'adaptive' | 'baseline';
export type DiskOptions = Record<string, unknown>;
export type DiskStatus = DaemonStatus['vms'][string][string];

// A connection to the control socket that is kept for later would count among what the daemon holds.
(globalAgent as Agent & { keepAlive: boolean }).keepAlive = false;

const DISK = { backend: { type: 'memory', size: '16MiB' } };

/** The CPU of the tests' only sidecore. */
export const SIDECORE_CPU = allowedCpus().at(-1) ?? 0;

/** CPUs of two sidecores, or why there are none. */
export const TWO_CPUS = allowedCpus().slice(0, 2);
export const NEEDS_TWO_CPUS = TWO_CPUS.length < 2 ? 'two sidecores need two CPUs' : false;

export interface TestVm {
  readonly weight?: number;
  readonly unsealed_memory?: 'refuse' | 'allow';
  readonly disks?: Record<string, DiskOptions>;
  readonly nics?: Record<string, Record<string, unknown>>;
}

export class TestDaemon {
  readonly daemon: Daemon;

  constructor(daemon: Daemon) {
    this.daemon = daemon;
  }

  /** One sidecore, if not several. A disk is 16 MiB of memory unless its options say otherwise. */
  static async start(
    test: Cleanup,
    vms: Record<string, TestVm>,
    mode: Mode = 'adaptive',
    cores: readonly number[] = [SIDECORE_CPU],
    others: Record<string, unknown> = {},
  ): Promise<TestDaemon> {
    const complete = Object.entries(vms).map(([name, vm]) => {
      const disks = Object.entries(vm.disks ?? {}).map(([disk, options]) => [disk, { ...DISK, ...options }]);
      return [name, { ...vm, disks: Object.fromEntries(disks) }];
    });
    return new TestDaemon(await Daemon.start(test, { cores, mode, ...others, vms: Object.fromEntries(complete) }));
  }

  socket(vm: string, disk = 'd'): string {
    return this.daemon.socket(vm, disk);
  }

  status(): Promise<DaemonStatus> {
    return askDaemon(controlSocketPath(this.daemon.runDirectory), 'GET', '/status');
  }

  resize(label: string, sizeBytes: number): Promise<{ sizeBytes: number; guestTold: boolean }> {
    return askDaemon(controlSocketPath(this.daemon.runDirectory), 'POST', '/resize', { disk: label, sizeBytes });
  }

  async disk(vm: string, disk = 'd'): Promise<DiskStatus> {
    const found = (await this.status()).vms[vm]?.[disk];
    assert.ok(found !== undefined, `${vm}/${disk} is served`);
    return found;
  }

  /** Waits until a disk's status is as a test wants it. */
  async untilDisk(vm: string, holds: (disk: DiskStatus) => boolean, what: string, disk = 'd'): Promise<DiskStatus> {
    let last = await this.disk(vm, disk);
    await until(async () => holds((last = await this.disk(vm, disk))), `${vm}: ${what}`);
    return last;
  }

  /** Lines of the log that name this code. */
  logLines(code: string): string[] {
    return this.daemon.log.split('\n').filter((line) => line.includes(code));
  }

  /** What the process holds open, by kind: each kind of descriptor, and mappings of shared memory. */
  get held(): Record<string, number> {
    const counts: Record<string, number> = {};
    const count = (kind: string) => {
      counts[kind] = (counts[kind] ?? 0) + 1;
    };
    const directory = `/proc/${this.daemon.pid}/fd`;
    for (const fd of readdirSync(directory)) {
      try {
        const kind = readlinkSync(`${directory}/${fd}`).replace(/:\[\d+\]| \(deleted\)/g, '');
        // A thread that starts is reading its modules.
        if (!kind.endsWith('.js')) count(kind);
      } catch {
        // Closed since the listing.
      }
    }
    for (const line of readFileSync(`/proc/${this.daemon.pid}/maps`, 'utf8').split('\n')) {
      if (/ rw-s .*memfd:/.test(line)) count('mapped memory');
    }
    return counts;
  }

  /** What it holds once it has come to rest. */
  async heldAtRest(): Promise<Record<string, number>> {
    let before = {};
    let now = this.held;
    while (!isDeepStrictEqual(before, now)) {
      before = now;
      await sleep(100);
      now = this.held;
    }
    return now;
  }

  /** Waits until the daemon holds neither more nor less than before. */
  async expectHeld(before: Record<string, number>, what: string): Promise<void> {
    await until(() => isDeepStrictEqual(this.held, before), what).catch(() =>
      assert.deepEqual(this.held, before, what),
    );
  }
}

/** A guest that minds its own business: it checks everything it reads, and must never notice what its neighbours do. */
export class HealthyGuest {
  readonly #guest: BlockDriver;
  readonly #load: Load;

  private constructor(guest: BlockDriver) {
    this.#guest = guest;
    const pattern = { depth: 4, requestBytes: 4096, readShare: 0.5, workingSetBytes: 2 ** 20, verify: true };
    this.#load = new Load([guest], pattern);
    this.#load.start();
  }

  static async start(test: Cleanup, socket: string): Promise<HealthyGuest> {
    const healthy = new HealthyGuest(await BlockDriver.connect({ socket, depth: 4, requestBytes: 4096 }));
    test.after(() => healthy.#guest.close());
    return healthy;
  }

  /** Works for a while. Fails if anything goes wrong, or nothing gets done for long. */
  run(ms = 20): void {
    for (let attempt = 0; attempt < 200; attempt++) {
      const { requests, errors, mismatches } = this.#load.run(ms);
      assert.deepEqual({ errors, mismatches }, { errors: 0, mismatches: 0 }, 'the healthy guest');
      if (requests > 0) return;
    }
    assert.fail('the healthy guest is not served any more');
  }

  /** Nothing is lost. */
  finish(): void {
    assert.ok(this.#load.finish(), 'all requests of the healthy guest come back');
  }
}
