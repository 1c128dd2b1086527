import { Segments } from '../guest-memory/segments.js';
import { MAC_PORTS_MAX } from '../limits.js';
import { CrossingRing } from './crossing-ring.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame } from './frame.js';
import { BURST_FRAMES, FrameBurst, Way } from './frame-burst.js';
import { readNetHeader } from './net-header.js';
import { PORT_COUNTER_BYTES, type Port } from './port.js';
import type { Switch } from './switch.js';
import { trunkPort } from './vlan.js';

/** The way to one other sidecore and back, as its thread is set up. Plain data. */
export interface CrossingSetup {
  /** Number of the other sidecore. */
  readonly core: number;
  /** Memory of the `CrossingRing`s: what comes from there, and what goes there. */
  readonly arrivals: SharedArrayBuffer;
  readonly departures: SharedArrayBuffer;
}

/** Says which sidecores have ports in which networks, so that nothing crosses in vain. One byte each, in shared memory. */
export class Presence {
  readonly #bytes: Uint8Array;
  readonly #networks: number;

  constructor(shared: SharedArrayBuffer, networks: number) {
    this.#bytes = new Uint8Array(shared);
    this.#networks = networks;
  }

  note(core: number, network: number): void {
    this.#bytes[core * this.#networks + network] = 1;
  }

  has(core: number, network: number): boolean {
    return this.#bytes[core * this.#networks + network] === 1;
  }
}

/** Frames from all networks of one sidecore to the same networks of another, and back. */
export class Crossing {
  readonly core: number;
  readonly #arrivals: CrossingRing;
  readonly #departures: CrossingRing;
  readonly #presence: Presence;
  readonly #wake: () => void;
  /** Frames that crossed, and frames that found no room. */
  readonly #counts: Float64Array;
  readonly #burst: FrameBurst;
  readonly #frame = new Frame();
  readonly #segments = new Segments(1);
  /** By network: its switch, and by their numbers the ports of the other sidecore that were heard from. */
  readonly #ends: { readonly network: Switch; readonly origins: (Port | undefined)[] }[] = [];
  #dirty = false;

  /**
   * @param wake - wakes the other sidecore if it sleeps
   * @param counts - of frames that crossed and of those that found no room; several crossings may share them
   */
  constructor(setup: CrossingSetup, presence: Presence, wake: () => void, counts: Float64Array = new Float64Array(2)) {
    this.core = setup.core;
    this.#counts = counts;
    this.#arrivals = new CrossingRing(setup.arrivals, 'reader');
    this.#departures = new CrossingRing(setup.departures, 'writer');
    this.#presence = presence;
    this.#wake = wake;
    this.#burst = new FrameBurst(this.#arrivals, 0);
  }

  /** Frames that went to the other sidecore. */
  get crossed(): number {
    return this.#counts[0]!;
  }

  /** Frames that found no room. */
  get dropped(): number {
    return this.#counts[1]!;
  }

  /** Plugs a network's switch into its like on the other sidecore. */
  join(id: number, network: Switch): void {
    this.#ends[id] = { network, origins: [] };
    network.plug(new CrossingPort(MAC_PORTS_MAX - 1 - this.core, id, this));
  }

  put(frame: Frame, network: number): void {
    if (!this.#presence.has(this.core, network)) return;
    this.#count(this.#departures.put(frame, recordFrom(network, frame.port, frame.pair)));
  }

  putBurst(burst: FrameBurst, from: number, to: number, network: number): void {
    if (!this.#presence.has(this.core, network)) return;
    const record = recordFrom(network, burst.port, burst.pair);
    for (let i = from; i < to; i++) this.#count(this.#departures.putOf(burst, i, record));
  }

  /** Shows the other sidecore what was put in this turn. */
  flush(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#departures.publish();
    this.#wake();
  }

  get hasArrivals(): boolean {
    return this.#arrivals.hasRecords;
  }

  /** Switches what has arrived, one burst of it. Returns how many frames. */
  turn(): number {
    const burst = this.#burst;
    const count = this.#arrivals.take(burst, BURST_FRAMES);
    if (count === 0) return 0;
    const { from } = this.#arrivals;
    const id = from >>> (PORT_BITS + PAIR_BITS);
    const end = this.#ends[id];
    if (end !== undefined) {
      burst.pair = from & PAIR_MASK;
      burst.read(count);
      const number = (from >>> PAIR_BITS) & PORT_MASK;
      this.#forward(count, end.network, end.origins[number] ?? this.#meet(id, number));
    }
    this.#arrivals.release();
    return count;
  }

  /** A port of the other sidecore is heard from for the first time. */
  #meet(id: number, number: number): Port {
    const { network, origins } = this.#ends[id]!;
    const port = new CrossingPort(number, id, this);
    origins[number] = port;
    network.know(port);
    return port;
  }

  #forward(count: number, network: Switch, port: Port): void {
    const { way } = this.#burst;
    for (let i = 0; i < count; ) {
      let end = i;
      while (end < count && way[end]! === Way.READ) end++;
      if (end > i) network.forwardBurst(this.#burst, i, end, port);
      else network.forward(this.#frameOf(end++), port);
      i = end;
    }
  }

  /** One whose header asks for something, which was checked where it came from. */
  #frameOf(index: number): Frame {
    const { chains, pair } = this.#burst;
    const frame = this.#frame;
    const bytes = this.#arrivals.bytes[0]!;
    const at = chains.offset[index]!;
    const length = chains.length[index]!;
    readNetHeader(bytes, at - NET_HEADER_BYTES, frame.header);
    const segments = this.#segments;
    segments.offset[0] = at;
    segments.length[0] = length;
    segments.count = 1;
    frame.pair = pair;
    frame.set(this.#arrivals, segments, 1, 0, length, bytes, at);
    return frame;
  }

  #count(fits: boolean): void {
    this.#counts[fits ? 0 : 1]!++;
    this.#dirty = true;
  }
}

/** A network's switch on another sidecore, or a port of that, as a port of the one here: a trunk that carries all VLANs. */
class CrossingPort implements Port {
  readonly number: number;
  readonly counters = new Float64Array(PORT_COUNTER_BYTES / 8);
  readonly vlans = trunkPort();
  /** The other switch does what is left to do. */
  readonly offloads = -1;
  readonly mesh = true;
  readonly capture = undefined;
  readonly #network: number;
  readonly #crossing: Crossing;

  constructor(number: number, network: number, crossing: Crossing) {
    this.number = number;
    this.#network = network;
    this.#crossing = crossing;
  }

  deliver(frame: Frame): void {
    this.#crossing.put(frame, this.#network);
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    this.#crossing.putBurst(burst, from, to, this.#network);
  }
}

/** A record's word: network, number of the port, queue pair. */
const PAIR_BITS = 8;
const PAIR_MASK = 2 ** PAIR_BITS - 1;
const PORT_BITS = 12;
const PORT_MASK = MAC_PORTS_MAX - 1;
const recordFrom = (network: number, port: number, pair: number): number =>
  (network << (PORT_BITS + PAIR_BITS)) | (port << PAIR_BITS) | (pair & PAIR_MASK);
