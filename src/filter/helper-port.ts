import { FILTER_JOBS_MAX } from '../limits.js';
import { OwnBuffer } from './buffers.js';
import type { ChainFilter } from './chain-filter.js';
import type { HelperPort, IoBuffer } from './contract.js';
import type { FilterDesk } from './filter-desk.js';
import type { HelperBell, HelperChannel } from './helper-channel.js';

/** A filter's end of the way to its helper. */
export class SidecoreHelperPort implements HelperPort {
  readonly channel: HelperChannel;
  readonly #filter: ChainFilter;
  readonly #bell: HelperBell;
  readonly #desk: FilterDesk;
  readonly #wake: () => void;

  /** @param wake - has the chain look for answers */
  constructor(filter: ChainFilter, channel: HelperChannel, bell: HelperBell, desk: FilterDesk, wake: () => void) {
    this.#filter = filter;
    this.channel = channel;
    this.#bell = bell;
    this.#desk = desk;
    this.#wake = wake;
  }

  ask(code: number, buffer: IoBuffer | undefined, tag: number, a = 0, b = 0): void {
    if (this.#filter.jobs >= FILTER_JOBS_MAX) throw new Error(`more than ${FILTER_JOBS_MAX} jobs at once`);
    if (this.#filter.gone) throw new Error('the filter is let go of');
    if (buffer !== undefined && !(buffer instanceof OwnBuffer))
      throw new TypeError('the buffer is none of `context.buffers`');
    this.#desk.readNow();
    // Throws for what is no number; nothing was asked then.
    this.channel.ask(code, buffer?.address ?? 0, buffer?.bytes.length ?? 0, a, b, tag, this.#desk.now);
    this.#filter.jobs++;
    this.#bell.ring();
    this.#wake();
  }
}
