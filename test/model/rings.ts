/**
 * The real ends of a ring as threads of `machine.ts`: the product's rings and calls against the built-in guest's drivers. Every access
 * of either to their shared memory is one step, whether atomic or plain.
 */
import { PackedDriver } from '../../src/guest/packed-driver.js';
import type { GuestRam } from '../../src/guest/ram.js';
import { SplitDriver } from '../../src/guest/split-driver.js';
import type { GuestMemory } from '../../src/guest-memory/guest-memory.js';
import { mapAnonymous } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { CallLine } from '../../src/virtio/call-line.js';
import { Chain } from '../../src/virtio/chain.js';
import { QueueState } from '../../src/virtio/queue-state.js';
import { openRing } from '../../src/virtio/ring.js';
import type { RingKind } from '../../src/virtio/ring-layout.js';
import { Pop } from '../../src/virtio/virtqueue.js';
import type { Port, Program } from './machine.js';

export const KICK = 0;
export const CALL = 1;
export const LINES = 2;

/** Something left out or done in the wrong order, which must show. */
export type Mutation =
  | 'driver without fences'
  | 'device without fences'
  | 'device that does not look again after it has asked for kicks'
  | 'driver that does not look again after it has asked for calls'
  | 'device that reads the wish for calls before it publishes'
  | 'device that forgets a held call when it sleeps'
  | 'device that drops a held call';

export interface Scene {
  readonly kind: RingKind;
  readonly eventIdx: boolean;
  readonly size: number;
  readonly requests: number;
  /** Requests in flight at most. */
  readonly depth: number;
  /** Calls wait for more completions, until the device says so: at any time, at the latest before it sleeps. */
  readonly held: boolean;
  /** The driver turns calls off while it is awake. Otherwise it leaves its wish as it was. */
  readonly suppresses: boolean;
  readonly mutation?: Mutation;
}

/** A page at which the rings' views are made; nothing is ever in it. */
const page = mapAnonymous(4096);
const pageBytes = viewBytes(page.address, 4096);
const trapped = new WeakMap<object, { readonly base: number; readonly cells: number }>();
const { load, store } = Atomics;
const originals = { Uint16Array, Uint32Array } as const;

/** Bytes of a ring of these scenes with all its parts. */
const RING_BYTES_MAX = 512;
export const CELLS = RING_BYTES_MAX / 2;

/** Runs with all accesses to the page going through a port. */
function withTraps(
  port: Port,
  fences: boolean,
  isConstant: (cell: number) => boolean,
  image: Map<number, number>,
  run: () => void,
): void {
  const readCells = (cell: number, cells: number) => {
    if (!isConstant(cell)) return port.load(cell, cells);
    return cells === 1 ? (image.get(cell) ?? 0) : (image.get(cell) ?? 0) + 65_536 * (image.get(cell + 1) ?? 0);
  };
  const writeCells = (cell: number, cells: number, value: number) => {
    if (!isConstant(cell)) return port.store(cell, cells, cells === 1 ? value & 0xffff : value >>> 0);
    for (let i = 0; i < cells; i++) image.set(cell + i, (value >>> (16 * i)) & 0xffff);
  };
  const view = (byteOffset: number, length: number, cells: number): object => {
    const base = byteOffset / 2;
    const cellOf = (key: string | symbol) =>
      typeof key === 'string' && /^\d+$/.test(key) ? base + Number(key) * cells : -1;
    const proxy = new Proxy(
      {},
      {
        get: (_target, key) =>
          key === 'length' ? length : cellOf(key) < 0 ? undefined : readCells(cellOf(key), cells),
        set: (_target, key, value: number) => {
          writeCells(cellOf(key), cells, value);
          return true;
        },
      },
    );
    trapped.set(proxy, { base, cells });
    return proxy;
  };
  const construct = (name: keyof typeof originals, cells: number) => {
    const original = originals[name];
    function Trap(...parts: unknown[]): object {
      const offset = Number(parts[1]) - pageBytes.byteOffset;
      if (parts[0] === pageBytes.buffer && offset >= 0 && offset < pageBytes.length)
        return view(offset, Number(parts[2]), cells);
      return Reflect.construct(original, parts);
    }
    Trap.prototype = original.prototype;
    return Trap as unknown as (typeof originals)[typeof name];
  };
  const place = (array: object, index: number) => {
    const { base, cells } = trapped.get(array)!;
    return [base + index * cells, cells] as const;
  };
  Object.assign(globalThis, { Uint16Array: construct('Uint16Array', 1), Uint32Array: construct('Uint32Array', 2) });
  const isTrapped = (array: object) => trapped.has(array);
  Atomics.load = ((array: Int32Array, index: number) =>
    isTrapped(array) ? readCells(...place(array, index)) : load(array, index)) as typeof Atomics.load;
  Atomics.store = ((array: Int32Array, index: number, value: number) => {
    if (!isTrapped(array)) return store(array, index, value);
    writeCells(...place(array, index), value);
    if (fences) port.fence();
    return value;
  }) as typeof Atomics.store;
  try {
    run();
  } finally {
    Object.assign(globalThis, originals);
    Object.assign(Atomics, { load, store });
  }
}

/** Where a driver's parts lie, as it asks for them; the table in which chains are described never changes. */
class Places {
  readonly starts: number[] = [];
  readonly lengths: number[] = [];

  readonly ram = {
    allocate: (bytes: number) => {
      const start = this.starts.reduce((end, at, i) => Math.max(end, at + this.lengths[i]!), 0);
      this.starts.push(Math.ceil(start / 16) * 16);
      this.lengths.push(bytes);
      return this.starts.at(-1)!;
    },
    words16: (at: number, bytes: number) => new Uint16Array(pageBytes.buffer, pageBytes.byteOffset + at, bytes >>> 1),
    words32: (at: number, bytes: number) => new Uint32Array(pageBytes.buffer, pageBytes.byteOffset + at, bytes >>> 2),
  } as unknown as GuestRam;

  constructor(kind: RingKind, size: number, eventIdx: boolean) {
    // Once without a thread, for the places alone.
    const nowhere: Port = {
      load: () => 0,
      store: () => {},
      fence: () => {},
      signal: () => {},
      wait: () => {},
      choose: () => 0,
    };
    withTraps(
      nowhere,
      false,
      () => false,
      new Map(),
      () => newDriver(kind, this.ram, size, eventIdx),
    );
    this.#fixed = kind === 'split' ? 0 : 3;
    this.starts.length = 4;
  }

  readonly #fixed: number;
  readonly isConstant = (cell: number): boolean => {
    const start = this.starts[this.#fixed]! / 2;
    return cell >= start && cell < start + this.lengths[this.#fixed]! / 2;
  };

  /** The same places again. */
  again(): GuestRam {
    let next = 0;
    return { ...this.ram, allocate: () => this.starts[next++]! } as unknown as GuestRam;
  }
}

function newDriver(kind: RingKind, ram: GuestRam, size: number, eventIdx: boolean): SplitDriver | PackedDriver {
  return kind === 'split' ? new SplitDriver(ram, size, eventIdx) : new PackedDriver(ram, size, eventIdx);
}

/** The driver and the device of a scene. The driver is at its end when all its requests have come back, in their order. */
export function programsOf(scene: Scene): [Program, Program] {
  const { kind, eventIdx, size, requests, depth, held, suppresses, mutation } = scene;
  const places = new Places(kind, size, eventIdx);
  // Descriptors of no bytes: the chains' places are all that matters.
  const table = new Map<number, number>();

  const driver: Program = (port, begin) =>
    withTraps(port, mutation !== 'driver without fences', places.isConstant, table, () => {
      const ring = newDriver(kind, places.again(), size, eventIdx);
      begin();
      let added = 0;
      let done = 0;
      while (done < requests) {
        while (added < requests && added - done < depth) ring.add(added++ % size);
        if (ring.publish()) port.signal(KICK);
        for (let taken = 0; taken === 0; ) {
          for (let head = ring.take(); head >= 0; head = ring.take(), taken++)
            if (head !== done++ % size) throw new Error(`head ${head} came as number ${done - 1}`);
          if (taken > 0) break;
          const there = ring.requestCalls();
          if (!there || mutation === 'driver that does not look again after it has asked for calls') port.wait(CALL);
          if (suppresses) ring.suppressCalls();
        }
      }
    });

  const device: Program = (port, begin) =>
    withTraps(port, mutation !== 'device without fences', places.isConstant, table, () => {
      const state = QueueState.create(size, kind);
      const layout = {
        kind,
        size,
        eventIdx,
        indirect: false,
        descriptors: page.address + places.starts[0]!,
        driverArea: page.address + places.starts[1]!,
        deviceArea: page.address + places.starts[2]!,
      };
      const base = kind === 'split' ? 0 : 0x8000_8000;
      const ring = openRing(layout, {} as GuestMemory, state.inflight, false, base);
      const policy = { waits: () => true, ended: () => {} };
      const options = { ring, state, callFd: 0, host: { holdCall: () => {} } };
      const line = new SignalledLine(port, held ? { ...options, policy } : options);
      const event = new Uint16Array(pageBytes.buffer, pageBytes.byteOffset + places.starts[1]!, 4 + size);
      const chain = new Chain();
      ring.requestKicks();
      begin();
      port.wait(KICK);
      ring.suppressKicks();
      for (let served = 0; ; ) {
        const head = ring.pop(chain);
        if (head >= 0) {
          served++;
          ring.push(head, 0);
          if (mutation === 'device that reads the wish for calls before it publishes') {
            const wish = wishes(scene, event, served - 1);
            ring.publish();
            if (wish) port.signal(CALL);
          } else line.publish(served < requests);
        } else if (head !== Pop.EMPTY) {
          throw new Error(`fault ${head}`);
        } else if (line.held && mutation === 'device that drops a held call') {
          line.held = false;
        } else {
          if (line.held && mutation !== 'device that forgets a held call when it sleeps') line.end();
          const there = ring.requestKicks();
          if (!there || mutation === 'device that does not look again after it has asked for kicks') port.wait(KICK);
          ring.suppressKicks();
        }
        // The wait for more may be over at any time.
        if (line.held && port.choose(2) === 1) line.end();
      }
    });
  return [driver, device];
}

/** Whether the driver wants a call for one more chain, as it says now. */
function wishes({ kind, eventIdx, size }: Scene, area: Uint16Array, served: number): boolean {
  if (kind === 'split') return eventIdx ? area[2 + size] === served : (area[0]! & 1) === 0;
  const flags = area[1]! & 3;
  const position = (served % size) | (Math.floor(served / size) % 2 === 0 ? 0x8000 : 0);
  return flags === 2 ? area[0] === position : flags === 0;
}

/** Calls of the product whose descriptor is a line of the machine. */
class SignalledLine extends CallLine {
  readonly #port: Port;

  constructor(port: Port, options: ConstructorParameters<typeof CallLine>[0]) {
    super(options);
    this.#port = port;
  }

  override call(): void {
    this.#port.signal(CALL);
  }
}
