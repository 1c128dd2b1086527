/** Two guests and the network between them, for the tests here. */
import assert from 'node:assert/strict';
import type { DaemonStatus } from '../../src/daemon/daemon.js';
import { type Cleanup, Daemon } from '../support/daemon.js';
import { RealGuest } from './guest.js';
import type { GuestDisk, GuestNic, GuestOptions } from './qemu.js';

/** What crosses in `expectFile`: a file of random bytes, so many times, each time with a number before it. */
const FILE_MIB = 10;
const FILE_TIMES = 10;
const SLOW_MS = 90_000;

/** What iperf3 says in JSON, as far as it is looked at here. */
export interface IperfReport {
  readonly end: {
    readonly sum_received?: { readonly bytes: number };
    readonly sum?: { readonly bytes: number; readonly lost_percent: number };
  };
}

export type NicStatus = DaemonStatus['nics'][string][string];

/** Addresses of the guests. */
export const ADDRESS = { a: '10.0.0.1', b: '10.0.0.2' } as const;
export type GuestName = keyof typeof ADDRESS;

export interface PairOptions {
  readonly mode?: 'sidecore' | 'adaptive' | 'baseline';
  readonly queuePairs?: number;
  readonly packed?: boolean;
  readonly mtu?: number;
  /** Guests whose cards are offered no offloads. */
  readonly withoutOffloads?: readonly GuestName[];
  /** Gives each guest a disk in memory too. */
  readonly disks?: boolean;
  /** Of their cards. */
  readonly filters?: Readonly<Partial<Record<GuestName, readonly unknown[]>>>;
}

/** A daemon with a switch, and two guests whose eth0 are plugged into it and up. */
export class Pair {
  readonly daemon: Daemon;
  readonly a: RealGuest;
  readonly b: RealGuest;

  private constructor(daemon: Daemon, a: RealGuest, b: RealGuest) {
    this.daemon = daemon;
    this.a = a;
    this.b = b;
  }

  static async boot(test: Cleanup, options: PairOptions = {}): Promise<Pair> {
    const { mode = 'adaptive', queuePairs = 1, packed = false, mtu, withoutOffloads = [] } = options;
    const nics = { net0: { queue_pairs: queuePairs, ...(mtu === undefined ? {} : { mtu }) } };
    const disks = options.disks ? { disk0: { backend: { type: 'memory', size: '64MiB' } } } : {};
    const vm = (name: GuestName) => {
      const filters = options.filters?.[name];
      return { nics: { net0: { ...nics.net0, ...(filters && { filters }) } }, disks };
    };
    const daemon = await Daemon.start(test, { cores: [1], mode, vms: { a: vm('a'), b: vm('b') } });
    const status = await daemon.status();
    const start = async (name: GuestName): Promise<RealGuest> => {
      const nic: GuestNic = {
        socket: daemon.socket(name, 'net0'),
        mac: status.nics[name]!.net0!.mac,
        queuePairs,
        packed,
        offloads: !withoutOffloads.includes(name),
        ...(mtu === undefined ? {} : { mtu }),
      };
      const guestDisks: GuestDisk[] = options.disks ? [{ socket: daemon.socket(name, 'disk0') }] : [];
      const guestOptions: GuestOptions = { cpus: queuePairs, nics: [nic], disks: guestDisks };
      const guest = await RealGuest.boot(guestOptions);
      test.after(() => guest.kill());
      await bringUp(guest, name);
      return guest;
    };
    const [a, b] = await Promise.all([start('a'), start('b')]);
    return new Pair(daemon, a, b);
  }

  async nic(name: GuestName): Promise<NicStatus> {
    return (await this.daemon.status()).nics[name]!.net0!;
  }

  /** `a` reaches `b`. */
  async expectPing(options = ''): Promise<void> {
    const output = await this.a.must(`ping -c 3 -i 0.2 -W 5 ${options} ${ADDRESS.b}`);
    assert.match(output, / 0% packet loss/);
  }

  /** 100 MiB go from one guest to the other by TCP, and arrive as they were. */
  async expectFile(from: RealGuest, to: RealGuest, address: string): Promise<void> {
    const stream = `for i in $(seq ${FILE_TIMES}); do echo $i; cat /tmp/file; done`;
    const sent = await from.must(
      `[ -f /tmp/file ] || dd if=/dev/urandom of=/tmp/file bs=1M count=${FILE_MIB} 2>/dev/null; (${stream}) | sha256sum`,
      { timeoutMs: SLOW_MS },
    );
    // Left to itself, busybox's nc ends with its standard input.
    await to.must(
      `rm -f /tmp/sum; nc -l -p 99 -e sh -c 'sha256sum > /tmp/sum.new; mv /tmp/sum.new /tmp/sum' > /dev/null 2>&1 &`,
    );
    await from.must(`for try in $(seq 20); do ((${stream}) | nc ${address} 99) && break; sleep 0.1; done`, {
      timeoutMs: SLOW_MS,
    });
    const received = await to.must('until [ -f /tmp/sum ]; do sleep 0.1; done; cat /tmp/sum', { timeoutMs: SLOW_MS });
    assert.equal(received, sent);
  }
}

/** Gives a guest its address. */
export async function bringUp(guest: RealGuest, name: GuestName): Promise<void> {
  await guest.must(`ip addr add ${ADDRESS[name]}/24 dev eth0; ip link set eth0 up`);
}
