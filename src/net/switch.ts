import { DELIVERY_WORK_BYTES, MAC_SLOTS } from '../limits.js';
import { Direction } from './capture/capture-ring.js';
import { isGroup, TAG_TYPE_LE, UNTAGGED } from './ethernet.js';
import { FlowCache } from './flow-cache.js';
import { Frame } from './frame.js';
import { BURST_FRAMES, type FrameBurst, Way } from './frame-burst.js';
import { Learn, type MacTable } from './mac-table.js';
import { neededOffloads } from './offloads.js';
import { type Port, PortCounter } from './port.js';
import { SoftwareOffload } from './software-offload.js';
import { Egress, egressOf, ingressVlan, VLAN_DROP } from './vlan.js';

/** Slots of the address table that are looked through for each second that passes: all of them in about a minute. */
const SWEEP_SLOTS_PER_S = 1024;
/** The same in one tick, however long nobody ticked: about 10 us. */
const SWEEP_SLOTS_MAX = 4096;

/** What `Switch.work` counts to: a small number, which needs no memory of its own, and more than any turn. */
const WORK_MAX = 2 ** 30 - 1;

/** Frames that filters look at together while those that pass are copied to several ports. */
const FLOODED_TOGETHER = 4;

/**
 * A learning switch, as one sidecore sees it: ports, and behind which of them an address was seen last. A frame to an address
 * that is known goes to one port, all others to every port of its VLAN but its own. IEEE 802.1Q, 8
 *
 * Switches of the same network on several sidecores are a mesh: each has a port to every other one, and knows the ports there. What came from one of these
 * is not sent to another, since that one has got it from where it came.
 */
export class Switch {
  readonly #table: MacTable;
  readonly #flows = new FlowCache();
  readonly #ports: (Port | undefined)[] = [];
  /** The same without gaps, for flooding. */
  readonly #plugged: Port[] = [];
  readonly #offload = new SoftwareOffload();
  readonly #frame = new Frame();
  /** What was delivered by the general way since this was set to zero, as bytes of `BATCH_BYTES_MAX`: it tells a sender when its turn ends. */
  work = 0;
  /** Its ports are being moved between sidecores: nothing is taken from those that send. */
  frozen = false;
  /** Frames of a burst that filters look at before any goes on. */
  #filteredTogether = BURST_FRAMES;
  /** Coarse time, s. */
  #nowS: number;
  /** Slots that should have been looked through by now. */
  #unswept = 0;

  /** @param nowS - what is expected before the first tick is as old as this */
  constructor(table: MacTable, nowS = 0) {
    this.#table = table;
    this.#nowS = nowS;
  }

  /** Moves the time along, and forgets some of what is old by now: the more, the more time has passed. */
  tick(nowS: number): void {
    this.#unswept = Math.min(this.#unswept + SWEEP_SLOTS_PER_S * (nowS - this.#nowS), MAC_SLOTS);
    const slots = Math.min(this.#unswept, SWEEP_SLOTS_MAX);
    this.#unswept -= slots;
    this.#table.sweep(slots, nowS);
    // What is in use has to be learned again now and then, so that it does not age.
    this.#flows.clear();
    this.#nowS = nowS;
  }

  plug(port: Port): void {
    this.#ports[port.number] = port;
    this.#plugged.push(port);
    this.#flows.clear();
  }

  /** What was learned behind the port stays so, for whoever has its number next. */
  unplug(port: Port): void {
    if (this.#ports[port.number] === port) this.#ports[port.number] = undefined;
    const at = this.#plugged.indexOf(port);
    if (at >= 0) this.#plugged.splice(at, 1);
    this.#flows.clear();
  }

  /** A port that is plugged in here, not on another sidecore. */
  plugged(number: number): Port | undefined {
    const port = this.#ports[number];
    return port === undefined || port.mesh ? undefined : port;
  }

  /** There are ports other than the ways to other sidecores. */
  get hasPorts(): boolean {
    return this.#plugged.some(({ mesh }) => !mesh);
  }

  /**
   * Makes a port known that is plugged in on another sidecore, and how it is reached. Addresses are learned behind it, not behind the
   * mesh port that leads there: so it has as many as it may, here as there, and cannot push out those of its neighbours.
   */
  know(port: Port): void {
    this.#ports[port.number] ??= port;
  }

  /** The same for one that was known, and is on another sidecore than it was. */
  relocate(port: Port): void {
    this.#ports[port.number] = port;
    this.#flows.clear();
  }

  /** Notes that a station is behind a port before it was heard from, and until it is heard from elsewhere. */
  expect(high: number, low: number, port: Port, vlan = port.vlans.native): void {
    if (vlan === VLAN_DROP) return;
    this.#table.expect(vlan, high, low, port.number, this.#nowS);
    this.#flows.clear();
  }

  /** Notes where the sender of a frame is that went elsewhere. */
  hear({ sourceHigh, sourceLow }: Frame, from: Port, vlan: number): void {
    this.#learn(vlan, sourceHigh, sourceLow, from);
  }

  /** Lets more addresses be learned on a port than a guest's card may have. */
  allowAddresses(port: Port, entriesMax: number): void {
    this.#table.setQuota(port.number, entriesMax);
  }

  /** @param native - VLAN of a frame without a tag, if it is not the port's own: it was found out where the frame came from */
  forward(frame: Frame, from: Port, native = from.vlans.native): void {
    if (from.capture !== undefined) from.capture.add(frame, Direction.OUTBOUND);
    if (from.filters === undefined || from.filters.outbound(frame, native)) this.sendOn(frame, from, native);
  }

  /** Goes on with a frame that the filters of its port have let pass. */
  sendOn(frame: Frame, from: Port, native: number): void {
    const vlan = ingressVlan(from.vlans, frame.tag, native);
    if (vlan === VLAN_DROP) {
      from.counters[PortCounter.DROPPED_VLAN]!++;
      return;
    }
    frame.vlan = vlan;
    frame.port = from.number;
    const { sourceHigh, sourceLow, destinationHigh, destinationLow } = frame;
    const fresh = this.#learn(vlan, sourceHigh, sourceLow, from);
    const known = isGroup(destinationHigh) ? -1 : this.#table.lookup(vlan, destinationHigh, destinationLow, this.#nowS);
    const to = known < 0 ? undefined : this.#ports[known];
    if (to === undefined) return this.#flood(frame, from);
    if (fresh) this.#tell(frame, from);
    if (to === from || (to.mesh && from.mesh)) from.counters[PortCounter.DROPPED_SAME_PORT]!++;
    else if (!this.#leave(frame, to)) from.counters[PortCounter.DROPPED_VLAN]!++;
  }

  /**
   * A station was heard from at a port where it was not before: all other sidecores are told, wherever the frame goes. Else one that
   * had it elsewhere would go on sending there, until that is old.
   */
  #tell(frame: Frame, from: Port): void {
    if (from.mesh) return;
    for (let i = 0; i < this.#plugged.length; i++) {
      const port = this.#plugged[i]!;
      if (port.tell === undefined) continue;
      port.tell(frame);
      this.work += DELIVERY_WORK_BYTES;
    }
  }

  /**
   * Forwards the frames `from` … `to` - 1 of a burst, all of which are `READ`, in their order. `native` as for `forward`. Returns where
   * it has stopped: before `to` if `work` has come to `workMax`.
   */
  forwardBurst(
    burst: FrameBurst,
    from: number,
    to: number,
    port: Port,
    native = port.vlans.native,
    workMax = Number.POSITIVE_INFINITY,
  ): number {
    if (port.filters === undefined) return this.#forwardBurst(burst, from, to, port, native, workMax, false);
    return this.#filterBurst(burst, from, to, port, native, workMax);
  }

  /** Goes on with frames of a burst that the filters of their port have let pass. */
  sendBurstOn(burst: FrameBurst, from: number, to: number, port: Port): void {
    this.#forwardBurst(burst, from, to, port, burst.native, Number.POSITIVE_INFINITY, true);
  }

  /**
   * Has filters look at frames of a burst. What they have let pass goes on, however much work it makes: so they are given few at a time
   * if the last ones have made any.
   */
  #filterBurst(burst: FrameBurst, from: number, to: number, port: Port, native: number, workMax: number): number {
    const filters = port.filters!;
    burst.port = port.number;
    for (let i = from; i < to; ) {
      const end = Math.min(to, i + this.#filteredTogether);
      if (port.capture !== undefined) port.capture.addBurst(burst, i, end, Direction.OUTBOUND);
      const before = this.work;
      filters.outboundBurst(burst, i, end, native);
      this.#filteredTogether = this.work > before ? FLOODED_TOGETHER : BURST_FRAMES;
      i = end;
      if (this.work >= workMax) return i;
    }
    return to;
  }

  #forwardBurst(
    burst: FrameBurst,
    from: number,
    to: number,
    port: Port,
    native: number,
    workMax: number,
    filtered: boolean,
  ): number {
    burst.port = port.number;
    burst.native = native;
    const { way, head } = burst;
    /** All from here on are alike. */
    let last = from;
    for (let i = from; i < to; i++) {
      const at = 4 * i;
      // Frames of one flow mostly come together.
      const same =
        i > from &&
        head[at] === head[at - 4] &&
        head[at + 1] === head[at - 3] &&
        head[at + 2] === head[at - 2] &&
        head[at + 3] === head[at - 1];
      if (same) {
        way[i] = way[i - 1]!;
      } else {
        last = i;
        way[i] = this.#way(burst, i, port);
      }
    }
    for (let i = from; i < to; ) {
      const there = way[i]!;
      let end = i + 1;
      if (there < 0) {
        const frame = burst.frame(i, this.#frame);
        if (filtered) this.sendOn(frame, port, native);
        else this.forward(frame, port, native);
        if (this.work >= workMax) return end;
      } else {
        if (i >= last) end = to;
        while (end < to && way[end] === there) end++;
        if (port.capture !== undefined && !filtered) port.capture.addBurst(burst, i, end, Direction.OUTBOUND);
        const receiver = this.#ports[there]!;
        if (receiver.filters !== undefined) receiver.filters.inboundBurst(burst, i, end);
        else this.deliverBurstOn(burst, i, end, receiver);
      }
      i = end;
    }
    return to;
  }

  /** Delivers frames of a burst that the filters of their receiver have let pass, or that has none. */
  deliverBurstOn(burst: FrameBurst, from: number, to: number, receiver: Port): void {
    if (receiver.capture !== undefined) receiver.capture.addBurst(burst, from, to, Direction.INBOUND);
    receiver.deliverBurst(burst, from, to);
  }

  /** The port that a frame of a burst goes to as it is, or `Way.GENERAL`. */
  #way(burst: FrameBurst, index: number, from: Port): number {
    const { head } = burst;
    const at = 4 * index;
    const a = head[at]!;
    const b = head[at + 1]!;
    const c = head[at + 2]!;
    const d = head[at + 3]!;
    const tagged = (d & 0xffff) === TAG_TYPE_LE;
    const key = from.number | (tagged ? (d & 0xffff_0000) | TAGGED : burst.native << 16);
    const flows = this.#flows;
    const place = flows.place(a, b, c);
    if (flows.has(place, a, b, c, key)) return flows.way(place);
    const way = this.#findWay(burst.frame(index, this.#frame), from, burst.native);
    // Later: what was learned has cleared the cache.
    flows.put(place, a, b, c, key, way);
    return way;
  }

  #findWay(frame: Frame, from: Port, native: number): number {
    const { tag, destinationHigh } = frame;
    const vlan = ingressVlan(from.vlans, tag, native);
    if (vlan === VLAN_DROP || tag === 0) return Way.GENERAL;
    const fresh = this.#learn(vlan, frame.sourceHigh, frame.sourceLow, from);
    if (isGroup(destinationHigh)) return Way.GENERAL;
    const known = this.#table.lookup(vlan, destinationHigh, frame.destinationLow, this.#nowS);
    const to = known < 0 ? undefined : this.#ports[known];
    if (to === undefined) return Way.GENERAL;
    if (fresh) {
      frame.vlan = vlan;
      frame.port = from.number;
      this.#tell(frame, from);
    }
    if (to === from || (to.mesh && from.mesh)) return Way.GENERAL;
    const asItCame = tag === UNTAGGED ? Egress.UNTAGGED : Egress.TAGGED;
    return to.mesh || egressOf(to.vlans, vlan) === asItCame ? known : Way.GENERAL;
  }

  /** Returns whether the address was not known there before. */
  #learn(vlan: number, high: number, low: number, from: Port): boolean {
    const learned = this.#table.learn(vlan, high, low, from.number, this.#nowS);
    if (learned !== Learn.ADDED && learned !== Learn.MOVED) return false;
    this.#flows.clear();
    return true;
  }

  #flood(frame: Frame, from: Port): void {
    let kept = 0;
    for (let i = 0; i < this.#plugged.length; i++) {
      const port = this.#plugged[i]!;
      if (port === from || (port.mesh && from.mesh) || this.#leave(frame, port)) continue;
      if (frame.hidesTag && egressOf(port.vlans, frame.vlan) !== Egress.NONE) kept = 1;
    }
    from.counters[PortCounter.DROPPED_VLAN]! += kept;
  }

  /**
   * Has a frame leave by a port, with or without a tag, done what its receiver does not do. False if the port is not in its VLAN, or
   * would get it with a tag that says another one. To another sidecore it goes as it came, together with its VLAN.
   */
  #leave(frame: Frame, port: Port): boolean {
    if (port.mesh) {
      frame.leaveAs(frame.tag);
    } else {
      const egress = egressOf(port.vlans, frame.vlan);
      if (egress === Egress.NONE || (egress === Egress.UNTAGGED && frame.hidesTag)) return false;
      frame.leaveAs(egress === Egress.TAGGED ? frame.vlan : UNTAGGED);
    }
    if (port.filters === undefined || port.filters.inbound(frame)) this.deliverOn(frame, port);
    else this.count(DELIVERY_WORK_BYTES);
    return true;
  }

  /** Delivers a frame that the filters of its receiver have let pass, or that has none: done what that does not do itself. */
  deliverOn(frame: Frame, port: Port): void {
    if (port.capture !== undefined) port.capture.add(frame, Direction.INBOUND);
    let deliveries = 1;
    if ((neededOffloads(frame.header) & ~port.offloads) === 0) port.deliver(frame);
    else deliveries = this.#offload.deliver(frame, port);
    this.count(frame.byteLength + deliveries * DELIVERY_WORK_BYTES);
  }

  /** Adds to `work`. */
  count(work: number): void {
    this.work = Math.min(this.work + work, WORK_MAX);
  }
}

/** Bit of a flow's key, above all ports' numbers. */
const TAGGED = 1 << 15;
