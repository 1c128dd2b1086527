import { LoadCounters } from '../../src/guest/load-counters.js';
import { NetDriver } from '../../src/guest/net-driver.js';
import { GuestRam } from '../../src/guest/ram.js';
import { nowNs } from '../../src/host/clock.js';
import { NET_FEATURES, NET_HEADER_BYTES } from '../../src/net/features.js';
import type { Part } from './drive.js';
import { LARGE_FRAME_BYTES, writeFrame, writeLargeFrame } from './frames.js';

/** Features of the cards: buffers of any number to a frame, large packets both ways. */
const CARD_FEATURES =
  NET_FEATURES.MAC |
  NET_FEATURES.MTU |
  NET_FEATURES.STATUS |
  NET_FEATURES.MRG_RXBUF |
  NET_FEATURES.CSUM |
  NET_FEATURES.GUEST_CSUM |
  NET_FEATURES.HOST_TSO4 |
  NET_FEATURES.GUEST_TSO4;

/** What a guest's stream is made of. */
export interface StreamPlan {
  /** Bytes of each frame; those of `LARGE_FRAME_BYTES` are TCP packets that nobody has cut up. */
  readonly frameBytes: number;
  /** Frames in flight. A receiver has twice as many buffers, so that no frame is lost. */
  readonly frames: number;
}

/** A guest and its partner: two cards with memory of their own. */
async function connectPair(sockets: readonly [string, string], buffers: number, frameBytes: number) {
  const bufferBytes = Math.ceil((NET_HEADER_BYTES + frameBytes) / 64) * 64;
  const options = { buffers, bufferBytes, features: CARD_FEATURES };
  const from = await NetDriver.connect({ socket: sockets[0], ...options });
  try {
    return { from, to: await NetDriver.connect({ socket: sockets[1], ...options }) };
  } catch (error) {
    from.close();
    throw error;
  }
}

const fill = (buffer: Buffer, from: NetDriver, to: NetDriver, frameBytes: number): void =>
  frameBytes === LARGE_FRAME_BYTES
    ? writeLargeFrame(buffer, from.mac, to.mac)
    : writeFrame(buffer, from.mac, to.mac, frameBytes);

/** A guest that sends to its partner as much as goes through. A request is a frame that the partner has received. */
export class NetStream implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes: number;
  readonly callFds: readonly number[];
  inFlight = 0;
  readonly #from: NetDriver;
  readonly #to: NetDriver;
  readonly #frames: number;
  readonly #sentBytes: number;

  static async connect(sockets: readonly [string, string], plan: StreamPlan): Promise<NetStream> {
    const { from, to } = await connectPair(sockets, 2 * plan.frames, plan.frameBytes);
    return new NetStream(from, to, plan);
  }

  private constructor(from: NetDriver, to: NetDriver, { frameBytes, frames }: StreamPlan) {
    this.#from = from;
    this.#to = to;
    this.#frames = frames;
    this.requestBytes = frameBytes;
    this.#sentBytes = NET_HEADER_BYTES + frameBytes;
    this.callFds = [from.tx.callFd, to.rx.callFd];
    for (let slot = 0; slot < frames; slot++) fill(from.tx.bytes(slot), from, to, frameBytes);
  }

  start(): void {
    const { tx } = this.#from;
    for (let slot = 0; slot < this.#frames; slot++) tx.offer(slot, this.#sentBytes);
    this.inFlight = this.#frames;
    tx.publish();
  }

  turn(goOn: boolean): number {
    // First what has come: then the buffers for what is sent now are there.
    const received = this.#receive();
    const { tx } = this.#from;
    const kicks = tx.kicks;
    let sent = 0;
    for (let slot = tx.ring.take(); slot >= 0; slot = tx.ring.take()) {
      sent++;
      if (goOn) tx.offer(slot, this.#sentBytes);
      else this.inFlight--;
    }
    if (sent > 0) tx.publish();
    if (received + sent > 0) this.counters.countTurn(received, tx.kicks - kicks);
    return received + sent;
  }

  #receive(): number {
    const { rx } = this.#to;
    const kicks = rx.kicks;
    let received = 0;
    for (let slot = rx.ring.take(); slot >= 0; slot = rx.ring.take()) {
      received++;
      if (rx.ring.takenBytes !== this.#sentBytes) this.counters.countError();
      rx.offer(slot, rx.bufferBytes);
    }
    if (received === 0) return 0;
    rx.publish();
    if (rx.kicks > kicks) this.counters.countTurn(0, rx.kicks - kicks);
    return received;
  }

  requestCalls(): boolean {
    const one = this.#from.tx.ring.requestCalls();
    return this.#to.rx.ring.requestCalls() || one;
  }

  suppressCalls(): void {
    this.#from.tx.ring.suppressCalls();
    this.#to.rx.ring.suppressCalls();
  }

  close(): void {
    this.#from.close();
    this.#to.close();
  }
}

/** Buffers of a card that has one frame in flight. */
const TALK_BUFFERS = 16;
/** A question without its answer after so long is lost, ns. */
const LOST_NS = 2e9;

/** A guest that asks its partner, and asks again when it has the answer: one frame in flight. A request is a question with its answer. */
export class NetRequestResponse implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes: number;
  readonly callFds: readonly number[];
  inFlight = 0;
  readonly #asking: NetDriver;
  readonly #answering: NetDriver;
  readonly #sentBytes: number;
  readonly #askedAt = new Float64Array(1);
  #questions = 0;
  #answers = 0;

  static async connect(sockets: readonly [string, string], frameBytes: number): Promise<NetRequestResponse> {
    const { from, to } = await connectPair(sockets, TALK_BUFFERS, frameBytes);
    return new NetRequestResponse(from, to, frameBytes);
  }

  private constructor(asking: NetDriver, answering: NetDriver, frameBytes: number) {
    this.#asking = asking;
    this.#answering = answering;
    this.requestBytes = frameBytes;
    this.#sentBytes = NET_HEADER_BYTES + frameBytes;
    this.callFds = [asking.rx.callFd, answering.rx.callFd];
    for (let slot = 0; slot < TALK_BUFFERS; slot++) {
      writeFrame(asking.tx.bytes(slot), asking.mac, answering.mac, frameBytes);
      writeFrame(answering.tx.bytes(slot), answering.mac, asking.mac, frameBytes);
    }
  }

  start(): void {
    this.inFlight = 1;
    this.#ask(nowNs());
  }

  turn(goOn: boolean): number {
    const heard = this.#takeFrame(this.#answering);
    if (heard) this.#say(this.#answering, this.#answers++);
    if (!this.#takeFrame(this.#asking)) return heard ? 1 : 0;
    const now = nowNs();
    this.counters.latency.add(now - this.#askedAt[0]!);
    this.counters.countTurn(1, 0);
    if (goOn) this.#ask(now);
    else this.inFlight = 0;
    return 1;
  }

  /** Asks anew if the question or its answer was lost. */
  tend(now: number): void {
    if (this.inFlight === 0 || now - this.#askedAt[0]! < LOST_NS) return;
    this.counters.countError();
    this.#ask(now);
  }

  #ask(now: number): void {
    this.#askedAt[0] = now;
    this.#say(this.#asking, this.#questions++);
  }

  /** Takes a frame that has come, and gives its buffer back; false if none has. */
  #takeFrame({ rx }: NetDriver): boolean {
    const slot = rx.ring.take();
    if (slot < 0) return false;
    const kicks = rx.kicks;
    rx.offer(slot, rx.bufferBytes);
    rx.publish();
    if (rx.kicks > kicks) this.counters.countTurn(0, 1);
    return true;
  }

  /** Sends the frame of the next slot, which was given back long ago: far fewer are in flight than there are. */
  #say({ tx }: NetDriver, number: number): void {
    while (tx.ring.take() >= 0);
    const kicks = tx.kicks;
    tx.offer(number % TALK_BUFFERS, this.#sentBytes);
    tx.publish();
    if (tx.kicks > kicks) this.counters.countTurn(0, 1);
  }

  requestCalls(): boolean {
    const one = this.#asking.rx.ring.requestCalls();
    return this.#answering.rx.ring.requestCalls() || one;
  }

  suppressCalls(): void {
    for (const { rx, tx } of [this.#asking, this.#answering]) {
      rx.ring.suppressCalls();
      tx.ring.suppressCalls();
    }
  }

  close(): void {
    this.#asking.close();
    this.#answering.close();
  }
}

/** A guest that copies its frames into its partner's memory itself. */
export class DirectNet implements Part {
  readonly counters = new LoadCounters();
  readonly requestBytes: number;
  readonly callFds: readonly number[] = [];
  readonly inFlight = 0;
  readonly #ram: readonly [GuestRam, GuestRam];
  readonly #from: Buffer;
  readonly #to: Buffer;
  readonly #frames: number;
  readonly #answered: boolean;
  readonly #startedAt = new Float64Array(1);
  #slot = 0;

  /** @param answered - each frame is answered by one as long, and that is one request */
  constructor(frameBytes: number, frames: number, answered: boolean) {
    this.requestBytes = frameBytes;
    this.#frames = frames;
    this.#answered = answered;
    // The receiver has twice as many buffers, as the one with a back end has.
    this.#ram = [new GuestRam(frames * frameBytes), new GuestRam(2 * frames * frameBytes)];
    this.#from = this.#ram[0].bytes.fill(1);
    this.#to = this.#ram[1].bytes.fill(1);
  }

  start(): void {
    this.#startedAt[0] = nowNs();
  }

  turn(goOn: boolean): number {
    if (!goOn) return 0;
    const { requestBytes } = this;
    const count = this.#answered ? 1 : this.#frames;
    for (let i = 0; i < count; i++) {
      const from = (this.#slot % this.#frames) * requestBytes;
      const to = this.#slot * requestBytes;
      this.#from.copy(this.#to, to, from, from + requestBytes);
      if (this.#answered) this.#to.copy(this.#from, from, to, to + requestBytes);
      this.#slot = this.#slot + 1 === 2 * this.#frames ? 0 : this.#slot + 1;
    }
    if (this.#answered) {
      const now = nowNs();
      this.counters.latency.add(now - this.#startedAt[0]!);
      this.#startedAt[0] = now;
    }
    this.counters.countTurn(count, 0);
    return count;
  }

  requestCalls(): boolean {
    return true;
  }

  suppressCalls(): void {}

  close(): void {
    for (const ram of this.#ram) ram.close();
  }
}
