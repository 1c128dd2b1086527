import { DELIVERY_WORK_BYTES, MAC_SLOTS } from '../limits.js';
import { Direction } from './capture/capture-ring.js';
import { EtherType, isGroup, UNTAGGED } from './ethernet.js';
import { FlowCache } from './flow-cache.js';
import { Frame } from './frame.js';
import { type FrameBurst, Way } from './frame-burst.js';
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
  /**
   * What has been delivered by the general way since it was set to zero, as bytes of `BATCH_BYTES_MAX`: by it a sender knows when its
   * turn ends.
   */
  work = 0;
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
    const forgotten = this.#table.sweep(slots, nowS);
    // What is in use has to be learned again now and then, so that it does not age.
    if (forgotten > 0 || nowS !== this.#nowS) this.#flows.clear();
    this.#nowS = nowS;
  }

  plug(port: Port): void {
    this.#ports[port.number] = port;
    this.#plugged.push(port);
    this.#flows.clear();
  }

  /**
   * Makes a port known that is plugged in on another sidecore, and how it is reached. Addresses are learned behind it, not behind the
   * mesh port that leads there: so it has as many as it may, here as there, and cannot push out those of its neighbours.
   */
  know(port: Port): void {
    this.#ports[port.number] ??= port;
  }

  unplug(port: Port): void {
    this.#ports[port.number] = undefined;
    this.#plugged.splice(this.#plugged.indexOf(port), 1);
    this.#table.flushPort(port.number);
    this.#flows.clear();
  }

  /** Notes that an address is behind a port before it was heard from, so that what comes first is not flooded. */
  expect(high: number, low: number, port: Port): void {
    if (port.vlans.native !== VLAN_DROP) this.#learn(port.vlans.native, high, low, port);
  }

  /** Lets more addresses be learned on a port than a guest's card may have. */
  allowAddresses(port: Port, entriesMax: number): void {
    this.#table.setQuota(port.number, entriesMax);
  }

  forward(frame: Frame, from: Port): void {
    if (from.capture !== undefined) from.capture.add(frame, Direction.OUTBOUND);
    this.#forward(frame, from);
  }

  #forward(frame: Frame, from: Port): void {
    const vlan = ingressVlan(from.vlans, frame.tag);
    if (vlan === VLAN_DROP) {
      from.counters[PortCounter.DROPPED_VLAN]!++;
      return;
    }
    frame.vlan = vlan;
    frame.port = from.number;
    const { sourceHigh, sourceLow, destinationHigh, destinationLow } = frame;
    this.#learn(vlan, sourceHigh, sourceLow, from);
    const known = isGroup(destinationHigh) ? -1 : this.#table.lookup(vlan, destinationHigh, destinationLow, this.#nowS);
    const to = known < 0 ? undefined : this.#ports[known];
    if (to === undefined) this.#flood(frame, from);
    else if (to === from) from.counters[PortCounter.DROPPED_SAME_PORT]!++;
    else if (!(to.mesh && from.mesh) && !this.#leave(frame, to)) from.counters[PortCounter.DROPPED_VLAN]!++;
  }

  /**
   * Forwards the frames `from` … `to` - 1 of a burst, all of which are `READ`, in their order. Returns where it has stopped: before `to`
   * if `work` has come to `workMax`.
   */
  forwardBurst(burst: FrameBurst, from: number, to: number, port: Port, workMax = Number.POSITIVE_INFINITY): number {
    burst.port = port.number;
    const { way, head } = burst;
    for (let i = from; i < to; i++) {
      const at = 4 * i;
      // Frames of one flow mostly come together.
      const same =
        i > from &&
        head[at] === head[at - 4] &&
        head[at + 1] === head[at - 3] &&
        head[at + 2] === head[at - 2] &&
        head[at + 3] === head[at - 1];
      way[i] = same ? way[i - 1]! : this.#way(burst, i, port);
    }
    for (let i = from; i < to; ) {
      const there = way[i]!;
      let end = i + 1;
      if (there < 0) {
        this.forward(burst.frame(i, this.#frame), port);
        if (this.work >= workMax) return end;
      } else {
        while (end < to && way[end] === there) end++;
        if (port.capture !== undefined) port.capture.addBurst(burst, i, end, Direction.OUTBOUND);
        const receiver = this.#ports[there]!;
        if (receiver.capture !== undefined) receiver.capture.addBurst(burst, i, end, Direction.INBOUND);
        receiver.deliverBurst(burst, i, end);
      }
      i = end;
    }
    return to;
  }

  /** The port that a frame of a burst goes to as it is, or `Way.GENERAL`. */
  #way(burst: FrameBurst, index: number, from: Port): number {
    const { head } = burst;
    const at = 4 * index;
    const a = head[at]!;
    const b = head[at + 1]!;
    const c = head[at + 2]!;
    const d = head[at + 3]!;
    const tagged = (d & 0xffff) === TAG_TYPE;
    const key = tagged ? from.number | (d & 0xffff_0000) | TAGGED : from.number;
    const flows = this.#flows;
    const place = flows.place(a, b, c);
    if (flows.has(place, a, b, c, key)) return flows.way(place);
    const way = this.#findWay(burst.frame(index, this.#frame), from);
    // Later: what was learned has cleared the cache.
    flows.put(place, a, b, c, key, way);
    return way;
  }

  #findWay(frame: Frame, from: Port): number {
    const { tag, destinationHigh } = frame;
    const vlan = ingressVlan(from.vlans, tag);
    if (vlan === VLAN_DROP || tag === 0) return Way.GENERAL;
    this.#learn(vlan, frame.sourceHigh, frame.sourceLow, from);
    if (isGroup(destinationHigh)) return Way.GENERAL;
    const known = this.#table.lookup(vlan, destinationHigh, frame.destinationLow, this.#nowS);
    const to = known < 0 ? undefined : this.#ports[known];
    if (to === undefined || to === from || (to.mesh && from.mesh)) return Way.GENERAL;
    const asItCame = tag === UNTAGGED ? Egress.UNTAGGED : Egress.TAGGED;
    return egressOf(to.vlans, vlan) === asItCame ? known : Way.GENERAL;
  }

  #learn(vlan: number, high: number, low: number, from: Port): void {
    const learned = this.#table.learn(vlan, high, low, from.number, this.#nowS);
    if (learned === Learn.ADDED || learned === Learn.MOVED) this.#flows.clear();
  }

  #flood(frame: Frame, from: Port): void {
    for (let i = 0; i < this.#plugged.length; i++) {
      const port = this.#plugged[i]!;
      if (port !== from && !(port.mesh && from.mesh)) this.#leave(frame, port);
    }
  }

  /** Has a frame leave by a port, with or without a tag, done what its receiver does not do; false if the port is not in its VLAN. */
  #leave(frame: Frame, port: Port): boolean {
    const egress = egressOf(port.vlans, frame.vlan);
    if (egress === Egress.NONE) return false;
    frame.leaveAs(egress === Egress.TAGGED ? frame.vlan : UNTAGGED);
    if (port.capture !== undefined) port.capture.add(frame, Direction.INBOUND);
    let deliveries = 1;
    if ((neededOffloads(frame.header) & ~port.offloads) === 0) port.deliver(frame);
    else deliveries = this.#offload.deliver(frame, port);
    this.work = Math.min(this.work + frame.byteLength + deliveries * DELIVERY_WORK_BYTES, WORK_MAX);
    return true;
  }
}

/** 802.1Q's type as it lies in memory, read as a little-endian number. */
const TAG_TYPE = ((EtherType.VLAN & 0xff) << 8) | (EtherType.VLAN >>> 8);
/** Bit of a flow's key, above all ports' numbers. */
const TAGGED = 1 << 15;
