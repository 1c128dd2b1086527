import { completeChecksum, holdsChecksum } from './checksum.js';
import { Frame } from './frame.js';
import { GsoType, NetHeader } from './net-header.js';
import { type Port, PortCounter } from './port.js';
import { Segmenter } from './segmentation.js';
import { StagingMemory } from './staging-memory.js';

/**
 * Does what a frame's header asks for and its receiver does not take: completes its checksum, or cuts it up. So an offload that
 * was promised to the sender is kept whoever receives.
 */
export class SoftwareOffload {
  readonly #whole = new StagingMemory();
  readonly #segment = new StagingMemory();
  readonly #segmenter = new Segmenter();
  readonly #out = new Frame();
  readonly #header = new NetHeader();

  /** Delivers a frame, whose header was checked, in the form that any port takes. Returns how many it has become. */
  deliver(frame: Frame, port: Port): number {
    const whole = this.#whole.buffer;
    const length = frame.copyTo(whole, 0);
    const { header } = frame;
    port.counters[PortCounter.SOFTWARE_OFFLOADS]!++;
    if (header.gsoType === GsoType.NONE) {
      if (!holdsChecksum(length, header.csumStart, header.csumOffset)) {
        port.counters[PortCounter.DROPPED_OFFLOAD]!++;
        return 1;
      }
      completeChecksum(whole, length, header.csumStart, header.csumOffset);
      this.#deliver(this.#whole, length, frame, port);
      return 1;
    }
    const segmenter = this.#segmenter;
    this.#header.copyFrom(header);
    if (segmenter.start(whole, length, this.#header) !== 0) {
      // Its sender has changed it since it was checked.
      port.counters[PortCounter.DROPPED_OFFLOAD]!++;
      return 1;
    }
    for (let count = 0; ; count++) {
      const bytes = segmenter.next(this.#segment.buffer, 0);
      if (bytes <= 0) return count;
      this.#deliver(this.#segment, bytes, frame, port);
    }
  }

  #deliver(memory: StagingMemory, length: number, like: Frame, port: Port): void {
    const out = this.#out;
    out.header.clear();
    out.pair = like.pair;
    out.vlan = like.vlan;
    memory.describe(0, length, out);
    port.deliver(out);
  }
}
