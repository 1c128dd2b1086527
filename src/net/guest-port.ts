import type { FrameCapture } from './capture/frame-capture.js';
import type { NetDeviceState } from './device-state.js';
import { Frame } from './frame.js';
import type { FrameBurst } from './frame-burst.js';
import { guestOffloads } from './offloads.js';
import { type Port, PortCounter } from './port.js';
import type { PortFilters } from './port-filters.js';
import type { NetRxQueue } from './rx-queue.js';
import type { PortVlans } from './vlan.js';

/** A network card of a guest, as a port of the switch: its receive rings. */
export class GuestPort implements Port {
  readonly number: number;
  readonly counters: Float64Array;
  readonly vlans: PortVlans;
  readonly mesh = false;
  capture: FrameCapture | undefined = undefined;
  filters: PortFilters | undefined = undefined;
  offloads = 0;
  readonly #device: NetDeviceState;
  /** Receive rings that are served here. */
  readonly #rings: NetRxQueue[] = [];
  readonly #frame = new Frame();

  constructor(number: number, device: NetDeviceState, vlans: PortVlans) {
    this.number = number;
    this.counters = device.counters;
    this.vlans = vlans;
    this.#device = device;
  }

  /** A receive ring is served from now on; its driver has settled on features before. */
  add(ring: NetRxQueue): void {
    this.#rings.push(ring);
    this.#rings.sort((a, b) => a.pair - b.pair);
    this.offloads = guestOffloads(this.#device.features);
  }

  remove(ring: NetRxQueue): void {
    const at = this.#rings.indexOf(ring);
    if (at >= 0) this.#rings.splice(at, 1);
  }

  deliver(frame: Frame): void {
    const { filter } = this.#device;
    if (filter.active && !filter.accepts(frame.destinationHigh, frame.destinationLow, frame.tagNow)) {
      this.counters[PortCounter.DROPPED_FILTERED]!++;
      return;
    }
    const ring = this.#ringFor(frame.pair, 1);
    if (ring === undefined) return;
    if (ring.put(frame)) {
      this.counters[PortCounter.FRAMES_OUT]!++;
      this.counters[PortCounter.BYTES_OUT]! += frame.byteLength;
    } else {
      this.counters[PortCounter.DROPPED_NO_BUFFER]!++;
    }
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    if (this.#device.filter.active) {
      for (let i = from; i < to; i++) this.deliver(burst.frame(i, this.#frame));
      return;
    }
    const ring = this.#ringFor(burst.pair, to - from);
    if (ring === undefined) return;
    for (let at = from; at < to; ) {
      // One that was found to be broken is not touched again.
      const count = ring.closed ? 0 : ring.putBurst(burst, at, to);
      if (count > 0) {
        this.#count(burst, at, at + count);
        at += count;
      } else if (!ring.closed && ring.isEmpty) {
        this.counters[PortCounter.DROPPED_NO_BUFFER]! += to - at;
        return;
      } else {
        // Its buffer is one of several that it takes, or the ring is broken.
        this.deliver(burst.frame(at++, this.#frame));
      }
    }
  }

  #count(burst: FrameBurst, from: number, to: number): void {
    this.counters[PortCounter.FRAMES_OUT]! += to - from;
    this.counters[PortCounter.BYTES_OUT]! += burst.bytesOf(from, to);
  }

  /** The ring for so many frames, which are counted if there is none. Those of one queue pair of a sender keep their order in one. */
  #ringFor(pair: number, frames: number): NetRxQueue | undefined {
    const rings = this.#rings;
    const { pairs, linkUp } = this.#device;
    const count = pairs === 0 || pairs > rings.length ? rings.length : pairs;
    if (linkUp && count > 0) {
      const ring = rings[count === 1 ? 0 : pair % count]!;
      const found =
        ring.ready && !ring.closed && (rings.length === 1 || ring.inUse) ? ring : this.#standIn(pair, count);
      if (found !== undefined) return found;
    }
    this.counters[linkUp ? PortCounter.DROPPED_NOT_READY : PortCounter.DROPPED_LINK_DOWN]! += frames;
    return undefined;
  }

  /**
   * A ring for frames of a pair whose own is not ready or not used by its driver: one that is, else one that is ready. Not every front
   * end passes on which queue pairs these are: Cloud Hypervisor enables all that there are, and crosvm does not say that a driver has
   * gone which used more of them.
   */
  #standIn(pair: number, count: number): NetRxQueue | undefined {
    let ready: NetRxQueue | undefined;
    for (let i = 0; i < count; i++) {
      const ring = this.#rings[(pair + i) % count]!;
      if (!ring.ready || ring.closed) continue;
      if (ring.inUse) return ring;
      ready ??= ring;
    }
    return ready;
  }
}
