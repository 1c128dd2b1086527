import { createEventFd, signal } from '../host/eventfd.js';
import { close } from '../host/libc.js';
import { NET_FEATURES, NET_HEADER_BYTES } from '../net/features.js';
import { NetConfigOffset } from '../net/net-config.js';
import { PROTOCOL_FEATURES } from '../vhost-user/messages.js';
import { RING_FEATURES } from '../virtio/features.js';
import { DESCRIPTOR_BYTES, DescriptorFlag } from '../virtio/ring-layout.js';
import { FrontEnd } from './front-end.js';
import { GuestRam } from './ram.js';
import { SplitDriver } from './split-driver.js';

/** How a built-in guest drives its network card. */
export interface NetDriverOptions {
  readonly socket: string;
  /** Buffers of each ring, a power of two. */
  readonly buffers?: number;
  /** Bytes of each buffer, header included. */
  readonly bufferBytes?: number;
  /** Features besides VERSION_1 that are taken where they are offered. */
  readonly features?: bigint;
}

const DEFAULT_FEATURES = NET_FEATURES.MAC | NET_FEATURES.MTU | NET_FEATURES.STATUS | NET_FEATURES.MRG_RXBUF;

/** One ring of the built-in guest's card: as many buffers as it has places, each with a descriptor of its own. */
export class NetRing {
  readonly ring: SplitDriver;
  readonly kickFd = createEventFd();
  readonly callFd = createEventFd();
  kicks = 0;
  readonly bufferBytes: number;
  readonly #ram: GuestRam;
  readonly #buffers: number;
  readonly #descriptors: number;

  constructor(ram: GuestRam, buffers: number, bufferBytes: number, eventIdx: boolean, flags: number) {
    this.#ram = ram;
    this.bufferBytes = bufferBytes;
    this.ring = new SplitDriver(ram, buffers, eventIdx);
    this.#buffers = ram.allocate(buffers * bufferBytes, 4096);
    this.#descriptors = this.ring.descriptors >>> 2;
    for (let slot = 0; slot < buffers; slot++) {
      const word = (this.ring.descriptors + slot * DESCRIPTOR_BYTES) >>> 2;
      ram.words[word] = this.address(slot);
      ram.words[word + 1] = 0;
      ram.words[word + 2] = bufferBytes;
      ram.words[word + 3] = flags;
    }
  }

  /** Where a slot's buffer is in guest memory: a header, then a frame. */
  address(slot: number): number {
    return this.#buffers + slot * this.bufferBytes;
  }

  /** The buffer of a slot. */
  bytes(slot: number): Buffer {
    return this.#ram.bytes.subarray(this.address(slot), this.address(slot) + this.bufferBytes);
  }

  /** Offers so many bytes of a slot's buffer; the device sees it at the next `publish`. */
  offer(slot: number, byteLength: number): void {
    this.#ram.words[this.#descriptors + 4 * slot + 2] = byteLength;
    this.ring.add(slot);
  }

  /** Shows the device what was offered, with a kick if it wants one. */
  publish(): void {
    if (!this.ring.publish()) return;
    this.kicks++;
    signal(this.kickFd);
  }

  close(): void {
    close(this.kickFd);
    close(this.callFd);
  }
}

/** A built-in guest with one virtio network card: memory of its own, a real vhost-user socket, one polling queue pair. */
export class NetDriver {
  readonly ram: GuestRam;
  readonly frontEnd: FrontEnd;
  readonly rx: NetRing;
  readonly tx: NetRing;
  /** Six bytes, as the device's configuration has them; zeros if it has none. */
  readonly mac: Buffer;
  readonly #free: number[];

  private constructor(ram: GuestRam, frontEnd: FrontEnd, rx: NetRing, tx: NetRing, mac: Buffer) {
    this.ram = ram;
    this.frontEnd = frontEnd;
    this.rx = rx;
    this.tx = tx;
    this.mac = mac;
    this.#free = Array.from({ length: tx.ring.size }, (_, slot) => slot);
  }

  /** Connects to a back end and brings both rings up, with all receive buffers offered. Nothing is left behind if that fails. */
  static async connect(options: NetDriverOptions): Promise<NetDriver> {
    const { socket, buffers = 256, bufferBytes = 2048, features = DEFAULT_FEATURES } = options;
    const frontEnd = await FrontEnd.connect(socket);
    const held: { close(): void }[] = [frontEnd];
    const hold = <T extends { close(): void }>(what: T): T => {
      held.unshift(what);
      return what;
    };
    try {
      await frontEnd.negotiate(RING_FEATURES.VERSION_1 | RING_FEATURES.EVENT_IDX | features);
      const eventIdx = (frontEnd.features & RING_FEATURES.EVENT_IDX) !== 0n;
      const ram = hold(new GuestRam(2 * buffers * (bufferBytes + 64) + 2 ** 20));
      const rx = hold(new NetRing(ram, buffers, bufferBytes, eventIdx, DescriptorFlag.WRITE));
      const tx = hold(new NetRing(ram, buffers, bufferBytes, eventIdx, 0));
      const user = BigInt(ram.userAddress);
      await frontEnd.shareMemory(
        [{ guestAddress: 0n, size: BigInt(ram.byteLength), userAddress: user, mmapOffset: 0n }],
        [ram.fd],
      );
      // A back end that has no configuration to read may end the connection if it is asked.
      const hasConfig = (frontEnd.protocolFeatures & PROTOCOL_FEATURES.CONFIG) !== 0n;
      const mac = hasConfig ? await frontEnd.readConfig(NetConfigOffset.MAC, 6) : Buffer.alloc(6);
      const driver = new NetDriver(ram, frontEnd, rx, tx, mac);
      await driver.#start();
      return driver;
    } catch (error) {
      for (const each of held) each.close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { rx, tx, frontEnd } = this;
    const user = this.ram.userAddress;
    for (let slot = 0; slot < rx.ring.size; slot++) rx.offer(slot, rx.bufferBytes);
    rx.ring.publish();
    for (const [index, { ring, kickFd, callFd }] of [rx, tx].entries()) {
      await frontEnd.startRing({
        index,
        size: ring.size,
        descriptors: user + ring.descriptors,
        available: user + ring.available,
        used: user + ring.used,
        kickFd,
        callFd,
      });
      signal(kickFd);
    }
  }

  /** Sends a frame if a buffer is free; false if not. The device sees it at the next `tx.publish`. */
  send(frame: Uint8Array): boolean {
    this.reclaim();
    const slot = this.#free.pop();
    if (slot === undefined) return false;
    const buffer = this.tx.bytes(slot);
    buffer.fill(0, 0, NET_HEADER_BYTES);
    buffer.set(frame, NET_HEADER_BYTES);
    this.tx.offer(slot, NET_HEADER_BYTES + frame.length);
    return true;
  }

  /** Takes back the buffers of what was sent. */
  reclaim(): void {
    for (let slot = this.tx.ring.take(); slot >= 0; slot = this.tx.ring.take()) this.#free.push(slot);
  }

  /** The next frame that came, as a copy, over however many buffers; undefined if there is none. */
  receive(): Buffer | undefined {
    const first = this.rx.ring.take();
    if (first < 0) return undefined;
    const count = this.rx.bytes(first).readUInt16LE(NET_HEADER_BYTES - 2);
    const parts = [Buffer.from(this.rx.bytes(first).subarray(NET_HEADER_BYTES, this.rx.ring.takenBytes))];
    this.rx.offer(first, this.rx.bufferBytes);
    for (let i = 1; i < count; i++) {
      const slot = this.rx.ring.take();
      parts.push(Buffer.from(this.rx.bytes(slot).subarray(0, this.rx.ring.takenBytes)));
      this.rx.offer(slot, this.rx.bufferBytes);
    }
    this.rx.publish();
    return Buffer.concat(parts);
  }

  /** Leaves: the back end sees the connection end. */
  close(): void {
    this.frontEnd.close();
    this.rx.close();
    this.tx.close();
    this.ram.close();
  }
}
