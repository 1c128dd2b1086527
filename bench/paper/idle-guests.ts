import type { LoadPattern } from '../../src/guest/load.js';
import type { Switched } from './alternate.js';
import { BlockPart, DirectBlock, fillDisk, IdleDirect } from './block-parts.js';
import { finish, type Part } from './drive.js';
import type { PaperDaemon, Stand } from './stand.js';

export const DISK_BYTES = 2 ** 20;
/** Rings that are switched at the same time. */
const SWITCHED_AT_ONCE = 32;

const pattern = (seed: number): LoadPattern => ({
  depth: 1,
  requestBytes: 4096,
  readShare: 1,
  workingSetBytes: DISK_BYTES,
  seed,
});

/** Guests that read, and beside them guests that do nothing, all of one daemon. */
export class CrowdedDaemon {
  readonly daemon: PaperDaemon;
  readonly active: BlockPart[] = [];
  readonly idle: BlockPart[] = [];
  readonly #stand: Stand;

  constructor(stand: Stand, daemon: PaperDaemon) {
    this.#stand = stand;
    this.daemon = daemon;
  }

  async connectActive(count: number): Promise<void> {
    const { daemon } = this;
    daemon.process.resume();
    for (let i = 0; i < count; i++) await fillDisk(daemon.disk(i), DISK_BYTES);
    await daemon.settle();
    daemon.process.resume();
    for (let i = 0; i < count; i++)
      this.active.push(await BlockPart.connect(daemon.disk(i), pattern(this.#stand.seed * 100 + i)));
    daemon.process.pause();
  }

  /** Connects idle guests up to so many. */
  async connectIdle(count: number): Promise<void> {
    if (this.idle.length >= count) return;
    this.daemon.process.resume();
    while (this.idle.length < count) {
      const disk = this.daemon.disk(this.active.length + this.idle.length);
      const part = await BlockPart.connect(disk, pattern(this.#stand.seed));
      this.idle.push(part);
      requestOnce([part]);
      if (this.idle.length % 16 === 0) await this.#stand.breathe();
    }
    this.daemon.process.pause();
  }

  /**
   * Their idle guests, so many of them: off, the rings of all are disabled, and no sidecore knows of them; on, they are enabled, and each has
   * made a request, so that its queue has been started.
   */
  switched(name: string, count: number, sleeping: boolean, settleMs: number): Switched {
    const { daemon, active, idle } = this;
    const contender = { key: name, daemon, sleeping, parts: active, unasked: true };
    return { name, settleMs, contender: () => contender, turn: (on) => this.#turn(idle.slice(0, count), on) };
  }

  async #turn(parts: readonly BlockPart[], on: boolean): Promise<void> {
    this.daemon.process.resume();
    try {
      for (let i = 0; i < parts.length; i += SWITCHED_AT_ONCE)
        await Promise.all(parts.slice(i, i + SWITCHED_AT_ONCE).map((part) => part.enable(on)));
      if (on) requestOnce(parts);
    } finally {
      this.daemon.process.pause();
    }
  }

  /** How many of the idle guests' queues are polled at this moment. The daemon has to run, or stand still for a moment only. */
  async polled(): Promise<number> {
    this.daemon.process.resume();
    try {
      const { vms } = await this.daemon.process.status();
      const idle = this.idle.map((_, i) => vms[`g${this.active.length + i}`]!);
      const queues = idle.flatMap((disks) => Object.values(disks).flatMap(({ queues }) => queues));
      return queues.filter(({ phase }) => phase === 'polled').length;
    } finally {
      this.daemon.process.pause();
    }
  }

  /** The active guests leave. */
  leave(): void {
    for (const part of this.active) part.close();
    this.active.length = 0;
  }

  close(): void {
    this.leave();
    for (const part of this.idle) part.close();
    this.idle.length = 0;
  }
}

function requestOnce(parts: readonly BlockPart[]): void {
  for (const part of parts) part.start();
  finish(parts);
}

/** The same without a back end: on, the guests' thread looks at the idle ones too, each time round; off, it does not. */
export class CrowdedDirect {
  readonly #active: Part[];
  readonly #idle: Part[];

  constructor(stand: Stand, active: number, idle: number) {
    this.#active = Array.from({ length: active }, (_, i) => new DirectBlock(pattern(stand.seed * 100 + i)));
    this.#idle = Array.from({ length: idle }, () => new IdleDirect());
  }

  switched(count: number): Switched {
    const name = 'direct';
    const [alone, crowd] = [this.#active, [...this.#active, ...this.#idle.slice(0, count)]];
    return {
      name,
      settleMs: 10,
      contender: (on) => ({ key: name, sleeping: false, parts: on ? crowd : alone, watched: alone }),
      turn: async () => {},
    };
  }

  close(): void {
    for (const part of [...this.#active, ...this.#idle]) part.close();
  }
}
