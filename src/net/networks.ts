import { randomInt } from 'node:crypto';
import { nowNs } from '../host/clock.js';
import { DELIVERY_WORK_BYTES } from '../limits.js';
import type { FrameCapture } from './capture/frame-capture.js';
import type { Crossing } from './crossing.js';
import type { NetDeviceSpec } from './device.js';
import { NetDeviceState } from './device-state.js';
import type { Directory } from './directory.js';
import { Frame } from './frame.js';
import { GuestPort } from './guest-port.js';
import { MacTable } from './mac-table.js';
import type { Port, PortAddress } from './port.js';
import type { PortFilters } from './port-filters.js';
import { createPort } from './ports/index.js';
import type { PortSpec } from './ports/port-spec.js';
import type { ServedPort } from './ports/served-port.js';
import { StagingMemory } from './staging-memory.js';
import { Switch } from './switch.js';
import type { UringHost } from './uring-user.js';

/** Makes what stands between a card and its switch, in place of what stood there; undefined if nothing shall. */
export type FilterMaker = (
  spec: NetDeviceSpec,
  port: GuestPort,
  network: Switch,
  before: PortFilters | undefined,
  networks: Pick<Networks, 'copy'>,
) => PortFilters | undefined;

/** The switches of one sidecore and what is plugged into them: guests' cards, other ports, the same networks of other sidecores. */
export class Networks {
  readonly #core: number;
  readonly #directory: Directory;
  readonly #crossings: readonly Crossing[];
  /** The same by number of the other sidecore. */
  readonly #ways: (Crossing | undefined)[] = [];
  readonly #switches = new Map<number, Switch>();
  readonly #guests = new Map<number, GuestPort>();
  readonly #makeFilters: FilterMaker;
  /** What stands before cards here. */
  readonly #filtered: { readonly port: GuestPort; readonly network: Switch; readonly filters: PortFilters }[] = [];
  readonly #served: { readonly port: ServedPort; readonly network: Switch }[] = [];
  readonly #staging = new StagingMemory();
  readonly #frame = new Frame();
  /** By number of the port, which need not be there yet. */
  readonly #captures = new Map<number, FrameCapture>();
  /** In which nothing is sent now. */
  readonly #frozen = new Set<number>();
  /** By number, on which other sidecore a port is as far as is known here; and changes of the directory then. */
  readonly #elsewhere = new Map<number, number>();
  #changesSeen = 0;
  /** The switches' time, s. */
  #nowS = Math.floor(nowNs() / 1e9);

  /** @param core - number of the sidecore, for `directory` */
  constructor(
    core: number,
    directory: Directory,
    crossings: readonly Crossing[],
    makeFilters: FilterMaker = () => undefined,
  ) {
    this.#makeFilters = makeFilters;
    this.#core = core;
    this.#directory = directory;
    this.#crossings = crossings;
    for (const crossing of crossings) this.#ways[crossing.core] = crossing;
  }

  /** Made when first asked for. */
  switch(id: number): Switch {
    let found = this.#switches.get(id);
    if (found === undefined) {
      found = new Switch(new MacTable({ secrets: randomPair(), quotas: this.#directory.quotas }), this.#nowS);
      found.frozen = this.#frozen.has(id);
      this.#switches.set(id, found);
      for (const crossing of this.#crossings) crossing.join(id, found);
      this.#directory.note(this.#core, id);
      this.#lookAround();
    }
    return found;
  }

  /** Something has to be looked at in every turn, or has come already: the sidecore must not sleep. */
  get busy(): boolean {
    for (const { port } of this.#served) if (port.active || port.closed) return true;
    for (const { filters } of this.#filtered) if (filters.kept > 0) return true;
    for (const crossing of this.#crossings) if (crossing.hasArrivals) return true;
    return false;
  }

  /** Passes on what has come by other ways than guests' rings. Returns how many frames. */
  turn(): number {
    this.#lookAgain();
    let work = 0;
    for (let i = 0; i < this.#served.length; i++) {
      const { port, network } = this.#served[i]!;
      if (!network.frozen || port.closed) work += port.turn();
    }
    for (let i = 0; i < this.#crossings.length; i++) work += this.#crossings[i]!.turn(this.#lookAgain);
    for (let i = 0; i < this.#filtered.length; i++) {
      const { filters } = this.#filtered[i]!;
      if (filters.kept > 0) work += filters.turn();
    }
    return work;
  }

  /** Shows other sidecores what has gone to them in this turn. */
  flush(): void {
    for (let i = 0; i < this.#crossings.length; i++) this.#crossings[i]!.flush();
  }

  /**
   * To be told the time at least once a second while there is work, and after a sleep before anything is switched: addresses age, and
   * those that are old are forgotten little by little.
   */
  tick(nowS: number): void {
    if (nowS === this.#nowS) return;
    this.#nowS = nowS;
    for (const network of this.#switches.values()) network.tick(nowS);
  }

  /** The port of a card; a card is plugged in when the first of its queues is served. */
  port(spec: NetDeviceSpec): GuestPort {
    let port = this.#guests.get(spec.port);
    if (port === undefined) {
      port = new GuestPort(spec.port, new NetDeviceState(spec.shared), spec.vlans);
      port.capture = this.#captures.get(spec.port);
      this.#guests.set(spec.port, port);
      const network = this.switch(spec.switchId);
      this.#setFilters(port, network, this.#makeFilters(spec, port, network, undefined, this));
      network.plug(port);
      // If it was on another sidecore, what was heard of its station since is known.
      if (!this.#elsewhere.delete(spec.port)) network.expect(spec.mac.high, spec.mac.low, port);
      this.#enter(port, spec);
    }
    return port;
  }

  /** Puts other filters before a card, between two frames. Nothing happens if it is not here. */
  refilter(spec: NetDeviceSpec): void {
    const port = this.#guests.get(spec.port);
    if (port === undefined) return;
    const network = this.switch(spec.switchId);
    this.#setFilters(port, network, this.#makeFilters(spec, port, network, port.filters, this));
  }

  #setFilters(port: GuestPort, network: Switch, filters: PortFilters | undefined): void {
    port.filters = filters;
    const at = this.#filtered.findIndex((filtered) => filtered.port === port);
    if (at >= 0) this.#filtered.splice(at, 1);
    if (filters !== undefined) this.#filtered.push({ port, network, filters });
  }

  /** Says to other sidecores that a port is here, and which station is expected behind it. */
  #enter({ number, vlans }: Port, { switchId, mac }: Pick<NetDeviceSpec, 'switchId' | 'mac'>): void {
    this.#directory.enter({ number, core: this.#core, network: switchId, vlan: vlans.native, ...mac });
  }

  /** Looks around if anything has changed since. */
  readonly #lookAgain = (): void => {
    if (this.#directory.changes !== this.#changesSeen) this.#lookAround();
  };

  /** Learns which ports there are on other sidecores, and which have moved from there or from here. */
  #lookAround(): void {
    this.#changesSeen = this.#directory.changes;
    for (const entry of this.#directory.entries()) {
      const { number, core, network } = entry;
      const before = this.#guests.has(number) ? this.#core : this.#elsewhere.get(number);
      if (core === before) continue;
      if (before === this.#core) this.#letGo(number, network);
      const crossing = this.#ways[core];
      if (crossing === undefined || !this.#switches.has(network)) continue;
      this.#elsewhere.set(number, core);
      // What was learned behind the port stays behind it.
      if (before === undefined) crossing.expect(entry);
      else crossing.relocate(entry);
    }
  }

  /** A card is on another sidecore now. A network of which no port is left here is not joined any more. */
  #letGo(number: number, id: number): void {
    const port = this.#guests.get(number)!;
    const network = this.switch(id);
    port.filters?.close();
    this.#guests.delete(number);
    this.#setFilters(port, network, undefined);
    network.unplug(port);
    if (network.hasPorts) return;
    this.#directory.forget(this.#core, id);
    this.#switches.delete(id);
    for (const crossing of this.#crossings) crossing.part(id);
    for (const entry of this.#directory.entries()) if (entry.network === id) this.#elsewhere.delete(entry.number);
  }

  /** Nothing more is sent by the ports here, or made visible later, until the network is thawed. What has come is passed on. */
  freeze(id: number): void {
    this.#frozen.add(id);
    const network = this.#switches.get(id);
    if (network !== undefined) {
      // First, so that what filters let go of is kept by none of them.
      network.frozen = true;
      for (const filtered of this.#filtered) if (filtered.network === network) filtered.filters.letGo();
    }
    this.flush();
  }

  thaw(id: number): void {
    this.#frozen.delete(id);
    this.#lookAgain();
    const network = this.#switches.get(id);
    if (network !== undefined) network.frozen = false;
  }

  /** Serves a port that is no guest's. Throws what keeps it from being made. */
  plug(spec: PortSpec, host: UringHost): void {
    const network = this.switch(spec.switchId);
    const port = createPort(spec, network, host);
    port.capture = this.#captures.get(spec.number);
    network.plug(port);
    this.#served.push({ port, network });
    this.#enter(port, spec);
  }

  /** Takes nothing more from these ports; they are gone when `drained` says so. */
  unplugAll(): void {
    for (const { port } of this.#served) port.closed = true;
    for (const { filters } of this.#filtered) filters.close();
  }

  /** Lets go of closed ports of which nothing is in flight; true if there are no closed ones left. */
  drained(): boolean {
    for (let i = this.#served.length - 1; i >= 0; i--) {
      const { port } = this.#served[i]!;
      if (!port.closed || port.inFlight > 0) continue;
      port.close();
      this.#served.splice(i, 1);
    }
    return this.#served.every(({ port }) => !port.closed);
  }

  /** Sends a frame of ours, which asks for nothing, as if a card's guest had sent it. */
  inject(spec: NetDeviceSpec, bytes: Uint8Array): void {
    const frame = this.#frame;
    this.#staging.buffer.set(bytes);
    frame.header.clear();
    this.#staging.describe(0, bytes.length, frame);
    this.switch(spec.switchId).forward(frame, this.port(spec));
  }

  /**
   * Has a port get a copy of a frame, wherever that port is served, in whichever network: as the frame is now, past its filters and
   * its VLANs. Nothing is learned of it, and it goes no further. False if nobody serves the port, or there is no room on the way there.
   *
   * @param from - whose turn it is in which the frame came
   */
  copy(frame: Frame, to: PortAddress, from: Switch): boolean {
    const core = this.#directory.coreOf(to.number);
    if (core === this.#core) {
      const port = this.#switches.get(to.network)?.plugged(to.number);
      if (port === undefined) return false;
      from.deliverOn(frame, port);
      return true;
    }
    const way = this.#ways[core];
    if (way === undefined) return false;
    from.count(frame.byteLength + DELIVERY_WORK_BYTES);
    return way.putCopy(frame, to);
  }

  /** Has what passes a port recorded from now on, or not any more. */
  capture(number: number, capture: FrameCapture | undefined): void {
    if (capture === undefined) this.#captures.delete(number);
    else this.#captures.set(number, capture);
    const port = this.#guests.get(number) ?? this.#served.find(({ port }) => port.number === number)?.port;
    if (port !== undefined) port.capture = capture;
  }
}

const randomPair = (): [number, number] => [randomInt(2 ** 32), randomInt(2 ** 32)];
