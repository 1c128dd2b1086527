/** A port of the switch that keeps what it is given. */
import { Frame } from '../../src/net/frame.js';
import type { FrameBurst } from '../../src/net/frame-burst.js';
import { NetHeader } from '../../src/net/net-header.js';
import { type Port, PortCounter } from '../../src/net/port.js';
import { type PortVlans, trunkPort } from '../../src/net/vlan.js';

/** A frame as it was delivered. */
export interface Delivered {
  readonly bytes: Buffer;
  readonly header: NetHeader;
  readonly pair: number;
  readonly vlan: number;
}

export class TestPort implements Port {
  readonly number: number;
  readonly counters = new Float64Array(Object.keys(PortCounter).length);
  readonly vlans: PortVlans;
  readonly offloads: number;
  readonly mesh: boolean;
  readonly capture = undefined;
  /** Frames that came in bursts. */
  inBursts = 0;
  readonly #frame = new Frame();
  #delivered: Delivered[] = [];

  constructor(number: number, options: { vlans?: PortVlans; offloads?: number; mesh?: boolean } = {}) {
    this.number = number;
    this.vlans = options.vlans ?? trunkPort();
    this.offloads = options.offloads ?? 0;
    this.mesh = options.mesh ?? false;
  }

  deliver(frame: Frame): void {
    const bytes = Buffer.alloc(frame.byteLength);
    frame.copyTo(bytes, 0);
    const header = new NetHeader();
    header.copyFrom(frame.header);
    this.#delivered.push({ bytes, header, pair: frame.pair, vlan: frame.vlan });
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    this.inBursts += to - from;
    for (let i = from; i < to; i++) this.deliver(burst.frame(i, this.#frame));
  }

  /** What came since the last time. */
  take(): Delivered[] {
    const taken = this.#delivered;
    this.#delivered = [];
    return taken;
  }

  /** The bytes alone. */
  frames(): Buffer[] {
    return this.take().map(({ bytes }) => bytes);
  }
}
