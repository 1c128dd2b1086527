import { assert } from '../../../errors.js';
import { copyPiece } from '../../../guest-memory/copy.js';
import { FRAME_BYTES_MAX } from '../../../limits.js';
import type { FrameCapture } from '../../capture/frame-capture.js';
import { EthernetOffset, writeMac } from '../../ethernet.js';
import { NET_HEADER_BYTES } from '../../features.js';
import { type Frame, HEAD_BYTES } from '../../frame.js';
import { BURST_FRAME_BYTES_MIN, BURST_FRAMES, FrameBurst } from '../../frame-burst.js';
import { PortCounter } from '../../port.js';
import { StagingMemory } from '../../staging-memory.js';
import type { Switch } from '../../switch.js';
import type { PortVlans } from '../../vlan.js';
import type { ServedPort } from '../served-port.js';
import type { GeneratorPortSpec } from './spec.js';

/** For local experiments. IEEE 802, Local Experimental Ethertype 1 */
const EXPERIMENTAL_TYPE = 0x88b5;

/** Frames begin where lines of the cache do, as those of most drivers. */
const LINE_BYTES = 64;

/**
 * Makes frames as fast as others take them, and takes all that it is sent, into private memory, and forgets it. To measure guests
 * and the switch without another guest.
 */
export class GeneratorPort implements ServedPort {
  readonly number: number;
  readonly counters: Float64Array;
  readonly vlans: PortVlans;
  /** Whoever looks at nothing needs no checksum. */
  readonly offloads = -1;
  readonly mesh = false;
  capture: FrameCapture | undefined = undefined;
  readonly filters = undefined;
  readonly inFlight = 0;
  readonly active: boolean;
  closed = false;
  readonly #switch: Switch;
  readonly #frameBytes: number;
  /** Its frames, each behind an empty network header. */
  readonly #sent: StagingMemory;
  readonly #burst: FrameBurst;
  readonly #sink = new StagingMemory();

  constructor(spec: GeneratorPortSpec, network: Switch) {
    const { frameBytes } = spec;
    assert(
      frameBytes >= BURST_FRAME_BYTES_MIN && frameBytes <= FRAME_BYTES_MAX,
      'generated frames are such as go in bursts',
    );
    this.number = spec.number;
    this.counters = new Float64Array(spec.shared);
    this.vlans = spec.vlans;
    this.active = spec.send;
    this.#switch = network;
    this.#frameBytes = spec.frameBytes;
    const stride = LINE_BYTES * Math.ceil((NET_HEADER_BYTES + frameBytes) / LINE_BYTES);
    this.#sent = new StagingMemory(LINE_BYTES + BURST_FRAMES * stride);
    this.#burst = new FrameBurst(this.#sent, 0);
    const { chains } = this.#burst;
    for (let i = 0; i < BURST_FRAMES; i++) {
      const at = LINE_BYTES + i * stride;
      this.#write(at, spec);
      chains.offset[i] = at - NET_HEADER_BYTES;
      chains.length[i] = NET_HEADER_BYTES + frameBytes;
    }
    // Once: nobody changes them.
    this.#burst.read(BURST_FRAMES);
    network.expect(spec.mac.high, spec.mac.low, this);
  }

  /** Sends a burst. Returns its frames. */
  turn(): number {
    if (!this.active || this.closed) return 0;
    this.counters[PortCounter.FRAMES_IN]! += BURST_FRAMES;
    this.counters[PortCounter.BYTES_IN]! += BURST_FRAMES * this.#frameBytes;
    this.#switch.forwardBurst(this.#burst, 0, BURST_FRAMES, this);
    return BURST_FRAMES;
  }

  deliver(frame: Frame): void {
    this.counters[PortCounter.FRAMES_OUT]!++;
    this.counters[PortCounter.BYTES_OUT]! += frame.copyTo(this.#sink.buffer, 0);
  }

  deliverBurst(burst: FrameBurst, from: number, to: number): void {
    const { chains, head, memory } = burst;
    const sink = this.#sink;
    const into = sink.words[0]!;
    let bytes = 0;
    for (let i = from; i < to; i++) {
      for (let j = 0; j < HEAD_BYTES / 4; j++) into[j] = head[4 * i + j]!;
      const rest = chains.length[i]! - HEAD_BYTES;
      copyPiece(memory, chains.window[i]!, chains.offset[i]! + HEAD_BYTES, sink, 0, HEAD_BYTES, rest);
      bytes += chains.length[i]!;
    }
    this.counters[PortCounter.FRAMES_OUT]! += to - from;
    this.counters[PortCounter.BYTES_OUT]! += bytes;
  }

  close(): void {}

  #write(at: number, { mac, destination, frameBytes }: GeneratorPortSpec): void {
    const { buffer } = this.#sent;
    writeMac(buffer, at + EthernetOffset.DESTINATION, destination.high, destination.low);
    writeMac(buffer, at + EthernetOffset.SOURCE, mac.high, mac.low);
    buffer.writeUInt16BE(EXPERIMENTAL_TYPE, at + EthernetOffset.TYPE);
    for (let i = EthernetOffset.TYPE + 2; i < frameBytes; i++) buffer[at + i] = i;
  }
}
