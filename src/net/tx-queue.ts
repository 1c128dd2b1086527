import type { GuestMemory } from '../guest-memory/guest-memory.js';
import { Segments } from '../guest-memory/segments.js';
import { DESCRIPTOR_WORK_BYTES, FRAME_BYTES_MAX, FRAME_BYTES_MIN } from '../limits.js';
import type { CallLine } from '../virtio/call-line.js';
import { Chain } from '../virtio/chain.js';
import type { DeviceQueue, QueueHost } from '../virtio/device-queue.js';
import { QueueCounter, type QueueState } from '../virtio/queue-state.js';
import { Pop, type Virtqueue } from '../virtio/virtqueue.js';
import type { NetDeviceState } from './device-state.js';
import { VLAN_TAG_BYTES } from './ethernet.js';
import { NET_HEADER_BYTES } from './features.js';
import { Frame, TAGGED_HEAD_BYTES } from './frame.js';
import { BURST_FRAMES, FrameBurst } from './frame-burst.js';
import { HeldChains } from './held-chains.js';
import { asksForOffload, readNetHeader } from './net-header.js';
import { checkOffload } from './offload-check.js';
import { hostOffloads } from './offloads.js';
import { type Port, PortCounter } from './port.js';
import type { Switch } from './switch.js';

/**
 * The ring in which a guest offers frames that it sends. Each is switched at once, those in one piece that ask for nothing many
 * together; its chain is given back when nobody uses it any more, which mostly is at once too.
 */
export class NetTxQueue implements DeviceQueue {
  readonly passive = false;
  readonly ring: Virtqueue;
  readonly state: QueueState;
  closed = false;
  readonly #memory: GuestMemory;
  readonly #device: NetDeviceState;
  readonly #switch: Switch;
  readonly #port: Port;
  readonly #host: QueueHost;
  readonly #calls: CallLine;
  readonly #headerBytes: number;
  /** What the driver may leave to us, bits of `Offload`. */
  readonly #offloads: number;
  readonly #counters: Float64Array;
  readonly #burst: FrameBurst;
  readonly #held: HeldChains;
  /** Of a frame that is looked at by itself: its chain or its only piece, itself, and its network header and first bytes in private memory. */
  readonly #chain = new Chain();
  readonly #piece = new Segments(1);
  readonly #frame = new Frame();
  readonly #head = Buffer.alloc(NET_HEADER_BYTES + TAGGED_HEAD_BYTES);
  /** Its headers, once they are private: as filters, switch and receiver have them too. */
  readonly #headers: Buffer;
  /** Bytes of the chains taken in this piece of work, and at how many it ends. */
  #bytes = 0;
  #bytesMax = 0;
  #dirty = false;

  constructor(parts: {
    ring: Virtqueue;
    memory: GuestMemory;
    state: QueueState;
    device: NetDeviceState;
    network: Switch;
    port: Port;
    pair: number;
    host: QueueHost;
    calls: CallLine;
    headerBytes: number;
  }) {
    this.ring = parts.ring;
    this.state = parts.state;
    this.#memory = parts.memory;
    this.#device = parts.device;
    this.#switch = parts.network;
    this.#port = parts.port;
    this.#host = parts.host;
    this.#calls = parts.calls;
    this.#headerBytes = parts.headerBytes;
    this.#offloads = hostOffloads(parts.device.features);
    this.#counters = parts.state.counters;
    this.#held = new HeldChains(parts.ring, parts.state.queueSize, () => this.#markDirty());
    this.#burst = new FrameBurst(parts.memory, parts.pair, this.#held);
    this.#frame.pair = parts.pair;
    this.#frame.owner = this.#held;
    this.#headers = this.#frame.prefix.subarray(VLAN_TAG_BYTES);
  }

  get inFlight(): number {
    return this.#held.count;
  }

  pending(): number {
    return this.#switch.frozen ? 0 : this.ring.waiting();
  }

  get servedBytes(): number {
    const { work } = this.#switch;
    return work > this.#bytes ? work : this.#bytes;
  }

  serve(limit: number, bytesMax: number): number {
    let taken = 0;
    this.#bytesMax = bytesMax;
    this.#bytes = 0;
    this.#switch.work = 0;
    const most = this.#switch.frozen ? 0 : limit < BURST_FRAMES ? limit : BURST_FRAMES;
    while (taken < most && this.ring.waiting() !== 0 && !this.#hasHadItsTurn()) {
      const count = this.#serveBurst(most - taken);
      if (count === 0 && !this.#serveOne()) break;
      taken += count === 0 ? 1 : count;
    }
    if (taken > 0) {
      // Behind the rings that frames were put into: a receiver waits for them, the sender only for room.
      this.#markDirty();
      this.#counters[QueueCounter.REQUESTS]! += taken;
      this.#counters[QueueCounter.BYTES_WRITTEN]! += this.#bytes;
    }
    return taken;
  }

  /** What it has sent, or what came of that, is as much as others wait for. */
  #hasHadItsTurn(): boolean {
    return this.#bytes >= this.#bytesMax || this.#switch.work >= this.#bytesMax;
  }

  publish(): void {
    this.#dirty = false;
    // Nobody waits for one send to be over: the driver wants room for more, or memory back.
    this.#calls.publish(true);
  }

  /** A frame that a dead sidecore had taken may have been delivered: it counts as sent. */
  retakeUnfinished(): void {
    for (const head of this.ring.unfinished) this.ring.push(head, 0);
    this.ring.publish();
    this.#calls.call();
  }

  start(): void {}

  quiesce(): boolean {
    return true;
  }

  close(): void {
    this.#calls.end();
  }

  /** Sends the next frames that are in one piece each. Returns how many. */
  #serveBurst(limit: number): number {
    const burst = this.#burst;
    const { chains } = burst;
    if (this.#headerBytes !== NET_HEADER_BYTES) return 0;
    const popped = this.ring.popBurst(chains, limit, false);
    if (popped === 0) return 0;
    burst.firstSlot = this.#held.begin();
    burst.read(popped);
    let sent = 0;
    while (sent < popped && !this.#hasHadItsTurn()) {
      const end = burst.endOfRead(sent, popped);
      if (end > sent) sent = this.#forward(sent, end);
      else this.#sendPiece(sent++);
    }
    for (let i = popped; i > sent; i--) this.ring.unpop(chains.head[i - 1]!);
    this.#held.end(chains, sent);
    return sent;
  }

  /** Takes and sends the next frame, whatever its form; false if there is none, or the driver has broken the ring. */
  #serveOne(): boolean {
    const chain = this.#chain;
    const head = this.ring.pop(chain);
    if (head < 0) {
      if (head !== Pop.EMPTY) this.#fail(head);
      return false;
    }
    this.#bytes += chain.readableBytes + chain.descriptors * DESCRIPTOR_WORK_BYTES;
    const { chains } = this.#burst;
    chains.head[0] = head;
    this.#frame.slot = this.#held.begin();
    this.#send(chain.segments, chain.readableCount, chain.readableBytes);
    this.#held.end(chains, 1);
    return true;
  }

  /** Forwards frames of the burst that ask for nothing, as many as this turn has room for. Returns the first that is left, or `to`. */
  #forward(from: number, to: number): number {
    const burst = this.#burst;
    const { counters } = this.#port;
    let end = to;
    let bytes = burst.bytesOf(from, to);
    while (this.#bytes + bytes >= this.#bytesMax && end > from + 1) bytes -= burst.chains.length[--end]!;
    if (!this.#device.linkUp) {
      counters[PortCounter.DROPPED_LINK_DOWN]! += end - from;
    } else {
      const stop = this.#switch.forwardBurst(burst, from, end, this.#port, undefined, this.#bytesMax);
      if (stop !== end) bytes = burst.bytesOf(from, stop);
      end = stop;
      counters[PortCounter.FRAMES_IN]! += end - from;
      counters[PortCounter.BYTES_IN]! += bytes;
    }
    this.#bytes += bytes + (end - from) * NET_HEADER_BYTES;
    return end;
  }

  /** Sends one of the burst that has to be looked at more closely. */
  #sendPiece(index: number): void {
    const { chains, firstSlot } = this.#burst;
    const piece = this.#piece;
    piece.window[0] = chains.window[index]!;
    piece.offset[0] = chains.offset[index]! - NET_HEADER_BYTES;
    piece.length[0] = chains.length[index]! + NET_HEADER_BYTES;
    piece.count = 1;
    this.#bytes += piece.length[0]!;
    this.#frame.slot = firstSlot + index;
    this.#send(piece, 1, piece.length[0]!);
  }

  /** Sends header and frame in `segments[0 … end)`, or drops the frame and counts why. */
  #send(segments: Segments, end: number, readableBytes: number): void {
    const { counters } = this.#port;
    const byteLength = readableBytes - this.#headerBytes;
    if (byteLength < FRAME_BYTES_MIN || byteLength > FRAME_BYTES_MAX) {
      counters[PortCounter.DROPPED_MALFORMED]!++;
      return;
    }
    if (!this.#device.linkUp) {
      counters[PortCounter.DROPPED_LINK_DOWN]!++;
      return;
    }
    counters[PortCounter.FRAMES_IN]!++;
    counters[PortCounter.BYTES_IN]! += byteLength;
    const frame = this.#frame;
    this.#readHead(segments, readableBytes);
    // A legacy header ends before num_buffers, which means nothing here.
    readNetHeader(this.#head, 0, frame.header);
    frame.set(this.#memory, segments, end, this.#headerBytes, byteLength, this.#head, this.#headerBytes);
    // What is checked is what goes on: the guest may change its memory meanwhile.
    if (asksForOffload(frame.header)) frame.privatise();
    if (checkOffload(frame.header, this.#headers, byteLength, this.#offloads) !== 0) {
      counters[PortCounter.DROPPED_OFFLOAD]!++;
      return;
    }
    this.#switch.forward(frame, this.#port);
  }

  /** Copies the network header and what the frame begins with. */
  #readHead(segments: Segments, readableBytes: number): void {
    const head = this.#head;
    const wanted = Math.min(readableBytes, this.#headerBytes + TAGGED_HEAD_BYTES);
    for (let i = 0, at = 0; at < wanted; i++) {
      const from = segments.offset[i]!;
      const to = from + Math.min(segments.length[i]!, wanted - at);
      at += this.#memory.bytes[segments.window[i]!]!.copy(head, at, from, to);
    }
  }

  /** There may be chains to give back: of frames that were sent, or that ports had kept. */
  #markDirty(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#host.markDirty(this);
  }

  #fail(fault: number): void {
    this.closed = true;
    this.state.fault = fault;
  }
}
