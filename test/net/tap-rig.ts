import { writeFileSync } from 'node:fs';
import { RequestPool } from '../../src/block/request.js';
import { close } from '../../src/host/libc.js';
import { openTap } from '../../src/host/tap.js';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { Frame, type FrameOwner } from '../../src/net/frame.js';
import { BURST_FRAMES, FrameBurst, Way } from '../../src/net/frame-burst.js';
import { MacTable } from '../../src/net/mac-table.js';
import { NetHeader } from '../../src/net/net-header.js';
import { PORT_COUNTER_BYTES, type Port, PortCounter, type PortCounterName } from '../../src/net/port.js';
import { TapMemory } from '../../src/net/ports/tap/memory.js';
import { tapOffloads } from '../../src/net/ports/tap/offloads.js';
import { TapPort } from '../../src/net/ports/tap/port.js';
import { Switch } from '../../src/net/switch.js';
import { accessPort, type PortVlans } from '../../src/net/vlan.js';
import { UringDesk } from '../../src/sidecore/uring-desk.js';

export type TapEngineKind = 'uring' | 'polled' | 'sync';

export const HOST_MAC = Buffer.from('020000000001', 'hex');
export const GUEST_MAC = Buffer.from('020000000002', 'hex');
/** For local experiments. */
export const TEST_TYPE = 0x88b5;
const TIMEOUT_MS = 10_000;

/** Frames without a word of the host's own: nothing but ours on the devices. */
export function silenceHost(): void {
  writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
}

/** A frame whose bytes tell where they belong. */
export function testFrame(byteLength: number, seed: number, to: Buffer = HOST_MAC, from: Buffer = GUEST_MAC): Buffer {
  const bytes = Buffer.alloc(byteLength);
  for (let i = 14; i < byteLength; i++) bytes[i] = (i * 31 + seed * 7) & 0xff;
  to.copy(bytes, 0);
  from.copy(bytes, 6);
  bytes.writeUInt16BE(TEST_TYPE, 12);
  return bytes;
}

/** Whoever sends frames from memory of its own, and waits for those that are kept. */
export class Sender implements FrameOwner {
  held = 0;
  heldMost = 0;
  readonly memory = new TapMemory(BURST_FRAMES);
  readonly #burst = new FrameBurst(this.memory, 0);

  hold(): number {
    this.heldMost = Math.max(this.heldMost, ++this.held);
    return 7;
  }

  release(token: number): void {
    if (token !== 7) throw new Error(`released ${token}`);
    this.held--;
  }

  /** Sends frames as a burst; it can wait for them if `owned`. */
  send(network: Switch, port: Port, frames: readonly Buffer[], pair: number, owned: boolean): void {
    const burst = this.#burst;
    burst.pair = pair;
    burst.owner = owned ? this : undefined;
    frames.forEach((bytes, i) => {
      const at = this.memory.headerAt(i);
      this.memory.bytes[0]!.fill(0, at, at + NET_HEADER_BYTES);
      bytes.copy(this.memory.bytes[0]!, at + NET_HEADER_BYTES);
      burst.chains.window[i] = 0;
      burst.chains.offset[i] = at;
      burst.chains.length[i] = NET_HEADER_BYTES + bytes.length;
    });
    burst.read(frames.length);
    if (burst.way.subarray(0, frames.length).some((way) => way !== Way.READ)) throw new Error('frames are not read');
    network.forwardBurst(burst, 0, frames.length, port);
  }
}

/** A port that keeps copies of what reaches it. */
export class Recorder implements Port {
  readonly number: number;
  readonly vlans: PortVlans;
  readonly offloads: number;
  readonly counters = new Float64Array(PORT_COUNTER_BYTES / 8);
  readonly mesh = false;
  readonly capture = undefined;
  readonly frames: { readonly bytes: Buffer; readonly header: NetHeader; readonly pair: number }[] = [];
  readonly #frame = new Frame();

  constructor(number: number, vlans: PortVlans, offloads: number) {
    this.number = number;
    this.vlans = vlans;
    this.offloads = offloads;
  }

  deliver(frame: Frame): void {
    const bytes = Buffer.alloc(frame.byteLength);
    frame.copyTo(bytes, 0);
    const header = new NetHeader();
    header.copyFrom(frame.header);
    this.frames.push({ bytes, header, pair: frame.pair });
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    for (let i = from; i < to; i++) this.deliver(burst.frame(i, this.#frame));
  }
}

/** A TAP device, its port in a switch, and a guest's port beside it; what a sidecore's loop would do is done by `turn`. */
export class TapRig {
  readonly network = new Switch(new MacTable({ secrets: [1, 2] }));
  readonly sender = new Sender();
  readonly port: TapPort;
  readonly guest: Recorder;
  readonly fds: readonly number[];
  readonly #desk: UringDesk;

  constructor(
    engine: TapEngineKind,
    device: string,
    options: { queues?: number; vlans?: PortVlans; guestVlans?: PortVlans; guestOffloads?: number } = {},
  ) {
    const { queues = 1, vlans = accessPort(0), guestVlans = accessPort(0), guestOffloads = -1 } = options;
    const tap = openTap({ device, queues, headerBytes: NET_HEADER_BYTES, address: HOST_MAC });
    this.fds = tap.fds;
    const desk = new UringDesk(engine === 'polled' ? { sqpollCpu: 0 } : {}, new RequestPool(1), () => {}, {
      countBeat() {},
    });
    this.#desk = desk;
    const uring = () => (engine === 'sync' ? undefined : desk.ring);
    this.port = new TapPort(
      {
        kind: 'tap',
        number: 1,
        switchId: 0,
        vlans,
        shared: new SharedArrayBuffer(PORT_COUNTER_BYTES),
        fds: tap.fds,
        offloads: tapOffloads(tap.offloads),
        mac: { high: HOST_MAC.readUInt16BE(0), low: HOST_MAC.readInt32BE(2) },
      },
      this.network,
      { uring, uringUser: (user) => desk.add(user) },
    );
    this.network.plug(this.port);
    this.guest = new Recorder(2, guestVlans, guestOffloads);
    this.network.plug(this.guest);
  }

  turn(): number {
    const work = this.port.turn();
    return work + this.#desk.turn();
  }

  /** Turns until something is so. */
  until(what: string, isSo: () => boolean): void {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!isSo()) {
      this.turn();
      if (Date.now() > deadline) throw new Error(`${what} has not happened; ${JSON.stringify(this.counts())}`);
    }
  }

  /** Turns until the device has nothing more to give and nothing is being written. */
  settle(): void {
    let quiet = 0;
    this.until('that all is quiet', () => {
      const atRest = this.turn() === 0 && this.port.inFlight <= this.fds.length;
      quiet = atRest ? quiet + 1 : 0;
      return quiet > 1000;
    });
  }

  /** Counters of the port that are not zero. */
  counts(): Partial<Record<PortCounterName, number>> {
    const counts = Object.entries(PortCounter).map(([name, slot]) => [name, this.port.counters[slot]!] as const);
    return Object.fromEntries(counts.filter(([, count]) => count !== 0));
  }

  close(): void {
    this.port.closed = true;
    this.until('that nothing is in flight', () => this.port.inFlight === 0);
    this.port.close();
    this.#desk.close();
    for (const fd of this.fds) close(fd);
  }
}
