import type { z } from 'zod';
import {
  defineFrameFilter,
  type FilterFrame,
  type FrameFilterContext,
  type NextFrame,
  NO_TOKEN,
} from '../../../filter/index.js';
import { FRAMES_DEFERRED_MAX, RATE_BURST_MS_MAX, RATE_MAX } from '../../../limits.js';
import { BUCKET_WORDS, Bucket } from './bucket.js';

/** Buckets of a card or group: bytes and frames, of what is sent and of what is received. */
const BUCKETS = 4;
const STATE_BYTES = 4 * BUCKETS * BUCKET_WORDS;
const MS_PER_S = 1000;

const schema = (zod: typeof z) => {
  const rates = zod.strictObject({
    bytes_per_second: zod.number().min(1).max(RATE_MAX).optional(),
    frames_per_second: zod.number().min(1).max(RATE_MAX).optional(),
  });
  return zod
    .strictObject({
      outbound: rates.default({}),
      inbound: rates.default({}),
      burst_ms: zod.number().min(1).max(RATE_BURST_MS_MAX).default(20),
      mode: zod.enum(['drop', 'shape']).default('drop'),
      queue: zod.int().min(1).max(FRAMES_DEFERRED_MAX).default(512),
      group: zod.string().min(1).optional(),
    })
    .refine(({ outbound, inbound }) => Object.keys({ ...outbound, ...inbound }).length > 0, 'name at least one rate');
};

type Options = z.output<ReturnType<typeof schema>>;

/** Bounds what a card, or a group of cards, sends and receives: bytes and frames in a second. RFC 2697's token bucket, with debt. */
export const rateLimit = defineFrameFilter({
  name: 'rate-limit',
  options: schema,
  counters: ['dropped_sent', 'dropped_received', 'delayed_sent', 'delayed_received'],
  sharedBytes: STATE_BYTES,
  group: ({ group }) => group,
  groupBytes: STATE_BYTES,
  defers: true,
  create(context) {
    const outbound = new Limit(context, 'outbound');
    const inbound = new Limit(context, 'inbound');
    const hooks = {
      outbound: (frame: FilterFrame, next: NextFrame) => outbound.ask(frame, next),
      inbound: (frame: FilterFrame, next: NextFrame) => inbound.ask(frame, next),
      tick(nowNs: number) {
        outbound.tick(nowNs);
        inbound.tick(nowNs);
      },
    };
    return hooks;
  },
});

/** One direction of a card. */
class Limit {
  readonly #context: FrameFilterContext<Options>;
  readonly #bytes: Bucket | undefined;
  readonly #frames: Bucket | undefined;
  readonly #dropped;
  readonly #delayed;
  readonly #now = new Float64Array(1);
  /** Frames that wait, as a ring: tokens and bytes. */
  readonly #tokens: Int32Array;
  readonly #lengths: Uint32Array;
  #first = 0;
  #waiting = 0;

  constructor(context: FrameFilterContext<Options>, way: 'outbound' | 'inbound') {
    this.#context = context;
    const { mode, queue, group, burst_ms: burstMs } = context.options;
    const state = new Int32Array(group === undefined ? context.shared : context.group);
    const bucket = (rate: number | undefined, place: number) => {
      const words = state.subarray(place * BUCKET_WORDS, (place + 1) * BUCKET_WORDS);
      return rate === undefined ? undefined : new Bucket(words, rate, (rate * burstMs) / MS_PER_S);
    };
    const { bytes_per_second: bytes, frames_per_second: frames } = context.options[way];
    const first = way === 'outbound' ? 0 : 2;
    this.#bytes = bucket(bytes, first);
    this.#frames = bucket(frames, first + 1);
    const does = way === 'outbound' ? 'sent' : 'received';
    this.#dropped = context.counter(`dropped_${does}`);
    this.#delayed = context.counter(`delayed_${does}`);
    this.#tokens = new Int32Array(mode === 'shape' ? queue : 0);
    this.#lengths = new Uint32Array(this.#tokens.length);
  }

  ask(frame: FilterFrame, next: NextFrame): void {
    const { byteLength } = frame;
    if (this.#waiting === 0 && this.#mayGo()) {
      this.#take(byteLength);
      next(frame);
      return;
    }
    const room = this.#tokens.length;
    const token = this.#waiting < room ? frame.defer() : NO_TOKEN;
    if (token === NO_TOKEN) {
      this.#dropped.add(1);
      return;
    }
    const place = (this.#first + this.#waiting++) % room;
    this.#tokens[place] = token;
    this.#lengths[place] = byteLength;
    this.#delayed.add(1);
  }

  /** Has those go on for which there is enough by now. */
  tick(nowNs: number): void {
    if (this.#waiting === 0) return;
    this.#bytes?.fill(nowNs);
    this.#frames?.fill(nowNs);
    while (this.#waiting > 0 && this.#hasSome()) {
      const token = this.#tokens[this.#first]!;
      // One that has gone on otherwise, because its card moves, is not there any more.
      if (this.#context.goOn(token)) this.#take(this.#lengths[this.#first]!);
      this.#first = (this.#first + 1) % this.#tokens.length;
      this.#waiting--;
    }
  }

  #mayGo(): boolean {
    if (this.#hasSome()) return true;
    const now = this.#now;
    this.#context.readNowNs(now, 0);
    this.#bytes?.fill(now[0]!);
    this.#frames?.fill(now[0]!);
    return this.#hasSome();
  }

  #hasSome(): boolean {
    return (this.#bytes?.hasSome ?? true) && (this.#frames?.hasSome ?? true);
  }

  #take(byteLength: number): void {
    this.#bytes?.take(byteLength);
    this.#frames?.take(1);
  }
}
