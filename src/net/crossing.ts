import { assert } from '../errors.js';
import { Segments } from '../guest-memory/segments.js';
import { BATCH_BYTES_MAX, MAC_PORTS_MAX } from '../limits.js';
import { CrossingRing, NETWORK_SHIFT } from './crossing-ring.js';
import type { Directory, DirectoryEntry } from './directory.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame } from './frame.js';
import { BURST_FRAMES, FrameBurst } from './frame-burst.js';
import { readNetHeader } from './net-header.js';
import { PORT_COUNTER_BYTES, type Port, type PortAddress, PortCounter } from './port.js';
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

/** Frames from all networks of one sidecore to the same networks of another, and back. */
export class Crossing {
  readonly core: number;
  /** Of arrivals that went no further, by `PortCounter`. */
  readonly arrived: Float64Array;
  readonly #arrivals: CrossingRing;
  readonly #departures: CrossingRing;
  readonly #directory: Directory;
  readonly #wake: () => void;
  /** Frames that crossed, and frames that found no room. */
  readonly #counts: Float64Array;
  readonly #burst: FrameBurst;
  readonly #frame = new Frame();
  readonly #segments = new Segments(1);
  /** By network: its switch, and by their numbers the ports of the other sidecore that were heard of. */
  readonly #ends: ({ readonly network: Switch; readonly origins: (Port | undefined)[] } | undefined)[] = [];
  /** Arrivals that were taken last, and how many of them were switched. Their room is given back when all were. */
  #taken = 0;
  #switched = 0;
  #dirty = false;

  /**
   * @param wake - wakes the other sidecore if it sleeps
   * @param counts - of frames that crossed and of those that found no room; several crossings may share them
   * @param arrived - counters, by `PortCounter`, of what becomes of arrivals; several crossings may share them
   */
  constructor(
    setup: CrossingSetup,
    directory: Directory,
    wake: () => void,
    counts: Float64Array = new Float64Array(2),
    arrived: Float64Array = new Float64Array(PORT_COUNTER_BYTES / 8),
  ) {
    this.arrived = arrived;
    this.core = setup.core;
    this.#counts = counts;
    this.#arrivals = new CrossingRing(setup.arrivals, 'reader');
    this.#departures = new CrossingRing(setup.departures, 'writer');
    this.#directory = directory;
    this.#wake = wake;
    this.#burst = new FrameBurst(this.#arrivals, 0, undefined, true);
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

  /** Ends that: nothing crosses from or to the network any more. */
  part(id: number): void {
    this.#ends[id] = undefined;
  }

  put(frame: Frame, network: number): void {
    if (!this.#directory.has(this.core, network)) return;
    this.#count(this.#departures.put(frame, recordFrom(network, frame.port, frame.pair)));
  }

  putBurst(burst: FrameBurst, from: number, to: number, network: number): void {
    if (!this.#directory.has(this.core, network)) return;
    const record = recordFrom(network, burst.port, burst.pair);
    for (let i = from; i < to; i++) this.#count(this.#departures.putOf(burst, i, record));
  }

  /** Sends a copy to a port of the other sidecore. False if there is no room. */
  putCopy(frame: Frame, { number, network }: PortAddress): boolean {
    const fits = this.#departures.putCopy(frame, recordFrom(network, number, frame.pair));
    this.#count(fits);
    return fits;
  }

  /** Tells the other sidecore where a frame's sender is. */
  tell(frame: Frame, network: number): void {
    if (!this.#directory.has(this.core, network)) return;
    if (this.#departures.putHead(frame, recordFrom(network, frame.port, frame.pair))) this.#dirty = true;
  }

  /** A station is expected behind a port of the other sidecore. */
  expect({ network: id, number, vlan, high, low }: DirectoryEntry): void {
    const end = this.#ends[id]!;
    end.network.expect(high, low, this.#origin(id, number), vlan);
  }

  /** A port that was elsewhere is on the other sidecore now. */
  relocate({ network: id, number }: DirectoryEntry): void {
    this.#ends[id]!.network.relocate(this.#origin(id, number));
  }

  /** Shows the other sidecore what was put in this turn. */
  flush(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#departures.publish();
    this.#wake();
  }

  get hasArrivals(): boolean {
    return this.#switched < this.#taken || this.#arrivals.hasRecords;
  }

  /**
   * Switches what has arrived, whoever sent it: a burst of frames, or as many as a turn has time for, with what comes of them. What is
   * left of those that were taken waits for the next turn. Returns how many.
   *
   * @param lookAround - called before what was taken is switched: ports may be elsewhere than when the turn began, and the others send
   * by where they are now
   */
  turn(lookAround: () => void): number {
    let count = 0;
    for (let work = 0; count < BURST_FRAMES && work < BATCH_BYTES_MAX; ) {
      if (this.#switched === this.#taken) {
        const bytes = this.#take(BURST_FRAMES - count, BATCH_BYTES_MAX - work);
        if (bytes === 0) break;
        work += bytes;
        lookAround();
      }
      const before = this.#switched;
      work += this.#receive(BATCH_BYTES_MAX - work);
      count += this.#switched - before;
      if (this.#switched === this.#taken) this.#arrivals.release();
    }
    return count;
  }

  /** Takes the next frames, all of one queue pair of one port. Returns their bytes, with network headers; zero if there are none. */
  #take(limit: number, bytesMax: number): number {
    const burst = this.#burst;
    this.#switched = 0;
    this.#taken = this.#arrivals.take(burst, limit, bytesMax);
    if (this.#taken === 0) return 0;
    let bytes = 0;
    for (let i = 0; i < this.#taken; i++) bytes += burst.chains.length[i]!;
    burst.pair = this.#arrivals.from & PAIR_MASK;
    burst.read(this.#taken);
    return bytes;
  }

  /** Switches frames that were taken, one at least, until that has come to `workMax`. Returns what it has come to, as `Switch.work`. */
  #receive(workMax: number): number {
    const { from, headsOnly, copies } = this.#arrivals;
    const id = from >>> NETWORK_SHIFT;
    const number = (from >>> PAIR_BITS) & PORT_MASK;
    const network = this.#ends[id]?.network;
    const receiver = copies ? network?.plugged(number) : undefined;
    if (network === undefined || (copies && receiver === undefined)) {
      // Of a thread that has died and is being replaced; or copies for a port that is elsewhere by now.
      this.arrived[PortCounter.DROPPED_NOT_READY]! += this.#taken - this.#switched;
      this.#switched = this.#taken;
      return 0;
    }
    network.work = 0;
    if (receiver !== undefined) this.#deliver(network, receiver, workMax);
    else if (headsOnly) this.#hear(network, this.#origin(id, number));
    else this.#forward(network, this.#origin(id, number), workMax);
    return network.work;
  }

  /** A port of the other sidecore, which is made known here when it is heard of for the first time. */
  #origin(id: number, number: number): Port {
    const { network, origins } = this.#ends[id]!;
    let port = origins[number];
    if (port === undefined) {
      port = origins[number] = new CrossingPort(number, id, this);
      network.know(port);
    }
    return port;
  }

  #hear(network: Switch, port: Port): void {
    const { vlan } = this.#arrivals;
    while (this.#switched < this.#taken) network.hear(this.#frameOf(this.#switched++), port, vlan);
  }

  #forward(network: Switch, port: Port, workMax: number): void {
    const burst = this.#burst;
    const { vlan } = this.#arrivals;
    do {
      const first = this.#switched;
      const end = burst.endOfRead(first, this.#taken);
      if (end > first) this.#switched = network.forwardBurst(burst, first, end, port, vlan, workMax);
      else network.forward(this.#frameOf(this.#switched++), port, vlan);
    } while (this.#switched < this.#taken && network.work < workMax);
  }

  /** Copies are delivered as they are, and that is all. */
  #deliver(network: Switch, receiver: Port, workMax: number): void {
    const burst = this.#burst;
    do {
      const first = this.#switched;
      const end = burst.endOfRead(first, this.#taken);
      this.#switched = Math.max(end, first + 1);
      if (end > first) network.deliverBurstOn(burst, first, end, receiver);
      else network.deliverOn(this.#frameOf(first), receiver);
    } while (this.#switched < this.#taken && network.work < workMax);
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

/**
 * A network's switch on another sidecore, or a port of that, as a port of the one here. It carries all VLANs: a frame crosses as it
 * came, and its VLAN beside it.
 */
class CrossingPort implements Port {
  readonly number: number;
  readonly counters: Float64Array;
  readonly vlans = trunkPort();
  /** The other switch does what is left to do. */
  readonly offloads = -1;
  readonly mesh = true;
  readonly capture = undefined;
  readonly filters = undefined;
  readonly #network: number;
  readonly #crossing: Crossing;

  constructor(number: number, network: number, crossing: Crossing) {
    this.number = number;
    this.#network = network;
    this.#crossing = crossing;
    this.counters = crossing.arrived;
  }

  deliver(frame: Frame): void {
    this.#crossing.put(frame, this.#network);
  }

  tell(frame: Frame): void {
    this.#crossing.tell(frame, this.#network);
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    this.#crossing.putBurst(burst, from, to, this.#network);
  }
}

/** What a record says of whose it is: network, number of the port, queue pair. */
const PAIR_BITS = 8;
const PAIR_MASK = 2 ** PAIR_BITS - 1;
const PORT_BITS = NETWORK_SHIFT - PAIR_BITS;
const PORT_MASK = MAC_PORTS_MAX - 1;
const recordFrom = (network: number, port: number, pair: number): number =>
  (network << NETWORK_SHIFT) | (port << PAIR_BITS) | (pair & PAIR_MASK);

assert(2 ** PORT_BITS === MAC_PORTS_MAX, 'a record has room for every port');
