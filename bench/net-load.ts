import type { NetDriver, NetRing } from '../src/guest/net-driver.js';
import { nowNs, threadCpuNs } from '../src/host/clock.js';
import { ETHERNET_HEADER_BYTES, EthernetOffset, parseMac, writeMac } from '../src/net/ethernet.js';
import { NET_HEADER_BYTES } from '../src/net/features.js';

/** For local experiments. IEEE 802, Local Experimental Ethertype 1 */
const EXPERIMENTAL_TYPE = 0x88b5;

/** Writes a frame, behind a header that asks for nothing, into every send buffer of a guest. */
export function writeFrames({ tx }: NetDriver, source: string, destination: string, frameBytes: number): void {
  const [from, to] = [parseMac(source)!, parseMac(destination)!];
  for (let slot = 0; slot < tx.ring.size; slot++) {
    const buffer = tx.bytes(slot).fill(0);
    writeMac(buffer, NET_HEADER_BYTES + EthernetOffset.DESTINATION, to.high, to.low);
    writeMac(buffer, NET_HEADER_BYTES + EthernetOffset.SOURCE, from.high, from.low);
    buffer.writeUInt16BE(EXPERIMENTAL_TYPE, NET_HEADER_BYTES + EthernetOffset.TYPE);
    buffer.fill(slot, NET_HEADER_BYTES + ETHERNET_HEADER_BYTES, NET_HEADER_BYTES + frameBytes);
  }
}

/** Keeps one ring of a guest going: what the device has given back is offered again. Allocates nothing. */
export class Pump {
  /** Buffers that came back. */
  count = 0;
  readonly #ring: NetRing;
  readonly #byteLength: number;

  /** @param byteLength - offered of each buffer */
  constructor(ring: NetRing, byteLength: number) {
    this.#ring = ring;
    this.#byteLength = byteLength;
  }

  /** Offers all of a send ring's buffers. */
  start(): void {
    for (let slot = 0; slot < this.#ring.ring.size; slot++) this.#ring.offer(slot, this.#byteLength);
    this.#ring.publish();
  }

  turn(): void {
    const { ring } = this.#ring;
    let slot = ring.take();
    if (slot < 0) return;
    for (; slot >= 0; slot = ring.take()) {
      this.#ring.offer(slot, this.#byteLength);
      this.count++;
    }
    this.#ring.publish();
  }
}

/** What guests in one thread had of a stretch of time. */
export interface Stretch {
  readonly seconds: number;
  /** Share of its CPU that the thread had. */
  readonly clientShare: number;
}

/** Turns pumps in turn for a while. */
export function turnPumps(pumps: readonly Pump[], ms: number): Stretch {
  const start = nowNs();
  const cpu = threadCpuNs();
  const end = start + ms * 1e6;
  while (nowNs() < end) for (let i = 0; i < 64; i++) for (const pump of pumps) pump.turn();
  const ns = nowNs() - start;
  return { seconds: ns / 1e9, clientShare: (threadCpuNs() - cpu) / ns };
}
