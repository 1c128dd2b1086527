/** Who is on the other side of a replay's network card: a built-in guest in the same network, which sends from two queue pairs. */
import { setImmediate as turn } from 'node:timers/promises';
import { NetDriver, NetRing } from '../../src/guest/net-driver.js';
import { NET_FEATURES, NET_HEADER_BYTES } from '../../src/net/features.js';
import { RING_FEATURES } from '../../src/virtio/features.js';

const { MAC, MRG_RXBUF, MQ } = NET_FEATURES;
/** Queue pairs that it sends from. It receives on the first. */
export const NEIGHBOUR_PAIRS = 2;
/** Ring of the second pair to send from. VIRTIO 1.3, 5.1.2 */
const SECOND_TX = 3;
const BUFFERS = 64;
const BUFFER_BYTES = 2048;

export class Neighbour {
  readonly #driver: NetDriver;
  /** What the second pair sends from, and its next buffer: all are given back before it comes to the first again. */
  readonly #second: NetRing;
  #next = 0;

  private constructor(driver: NetDriver, second: NetRing) {
    this.#driver = driver;
    this.#second = second;
  }

  /** @param socket - of a card with two queue pairs */
  static async connect(socket: string): Promise<Neighbour> {
    const driver = await NetDriver.connect({ socket, features: MAC | MRG_RXBUF | MQ });
    const { ram, frontEnd } = driver;
    const eventIdx = (frontEnd.features & RING_FEATURES.EVENT_IDX) !== 0n;
    const second = new NetRing(ram, BUFFERS, BUFFER_BYTES, eventIdx, 0);
    const { ring, kickFd, callFd } = second;
    const user = ram.userAddress;
    const place = { descriptors: user + ring.descriptors, available: user + ring.available, used: user + ring.used };
    await frontEnd.startRing({ index: SECOND_TX, size: ring.size, ...place, kickFd, callFd });
    return new Neighbour(driver, second);
  }

  get mac(): Buffer {
    return this.#driver.mac;
  }

  /** Sends a frame from one of its queue pairs. */
  async send(pair: number, frame: Uint8Array): Promise<void> {
    if (pair === 0) {
      while (!this.#driver.send(frame)) await turn();
      this.#driver.tx.publish();
      return;
    }
    const second = this.#second;
    if (this.#next >= BUFFERS) await this.#reclaim();
    const slot = this.#next++;
    second.bytes(slot).fill(0, 0, NET_HEADER_BYTES).set(frame, NET_HEADER_BYTES);
    second.offer(slot, NET_HEADER_BYTES + frame.length);
    second.publish();
  }

  /** The next frame that it gets, if there is one. */
  receive(): Buffer | undefined {
    return this.#driver.receive();
  }

  close(): void {
    this.#driver.close();
    this.#second.close();
  }

  async #reclaim(): Promise<void> {
    for (let count = 0; count < BUFFERS; ) {
      if (this.#second.ring.take() >= 0) count++;
      else await turn();
    }
    this.#next = 0;
  }
}
