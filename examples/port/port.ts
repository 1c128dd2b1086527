import { FRAME_BYTES_MAX } from '../../src/limits.js';
import { Frame } from '../../src/net/frame.js';
import type { FrameBurst } from '../../src/net/frame-burst.js';
import { PortCounter } from '../../src/net/port.js';
import type { CommonPortSpec } from '../../src/net/ports/port-spec.js';
import type { ServedPort } from '../../src/net/ports/served-port.js';
import { StagingMemory } from '../../src/net/staging-memory.js';
import type { Switch } from '../../src/net/switch.js';

/** Frames that wait for the next turn, and the room that each has: the longest, with a tag, in whole words. */
const WAITING_MAX = 32;
const STRIDE = (FRAME_BYTES_MAX + 4 + 7) & ~7;
const ADDRESS_BYTES = 6;

/** Sends every frame back to where it came from. */
export class EchoPort implements ServedPort {
  readonly number;
  readonly counters;
  readonly vlans;
  /** It takes frames that need nothing more done to them: the switch completes checksums and cuts up what is too large. */
  readonly offloads = 0;
  readonly mesh = false;
  readonly inFlight = 0;
  capture = undefined;
  closed = false;
  readonly #switch: Switch;
  readonly #memory = new StagingMemory(WAITING_MAX * STRIDE);
  readonly #lengths = new Uint32Array(WAITING_MAX);
  readonly #frame = new Frame();
  #waiting = 0;

  constructor({ number, vlans, shared }: CommonPortSpec, network: Switch) {
    this.number = number;
    this.vlans = vlans;
    this.counters = new Float64Array(shared);
    this.#switch = network;
  }

  /** While something waits, the sidecore must not sleep. */
  get active(): boolean {
    return this.#waiting > 0;
  }

  /** Keeps a copy: the frame's memory is its sender's again after this, and the switch is still at work on it. */
  deliver(frame: Frame): void {
    if (this.#waiting === WAITING_MAX) {
      this.counters[PortCounter.DROPPED_NO_BUFFER]!++;
      return;
    }
    const { buffer } = this.#memory;
    const at = this.#waiting * STRIDE;
    this.#lengths[this.#waiting++] = frame.copyTo(buffer, at);
    this.counters[PortCounter.FRAMES_OUT]!++;
    this.counters[PortCounter.BYTES_OUT]! += frame.byteLength;
    for (let i = 0; i < ADDRESS_BYTES; i++) {
      const from = buffer[at + ADDRESS_BYTES + i]!;
      buffer[at + ADDRESS_BYTES + i] = buffer[at + i]!;
      buffer[at + i] = from;
    }
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    for (let i = from; i < to; i++) this.deliver(burst.frame(i, this.#frame));
  }

  /** Sends what waits. */
  turn(): number {
    const count = this.closed ? 0 : this.#waiting;
    this.#waiting = 0;
    for (let i = 0; i < count; i++) {
      const length = this.#lengths[i]!;
      this.counters[PortCounter.FRAMES_IN]!++;
      this.counters[PortCounter.BYTES_IN]! += length;
      this.#frame.header.clear();
      this.#memory.describe(i * STRIDE, length, this.#frame);
      this.#switch.forward(this.#frame, this);
    }
    return count;
  }

  close(): void {}
}
