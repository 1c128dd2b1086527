import type { z } from 'zod';
import {
  defineFrameFilter,
  type FilterFrame,
  type FrameFilterContext,
  type NextFrame,
  NO_TOKEN,
} from '../../../filter/index.js';
import { FRAMES_DEFERRED_MAX, IMPAIR_DELAY_MS_MAX, IMPAIR_GAP_MAX } from '../../../limits.js';
import { Dice } from './dice.js';

const NS_PER_MS = 1e6;
/** A frame that is held back goes on after that time, though none has come that could overtake it. */
const HELD_NS_MAX = 10 * NS_PER_MS;

const schema = (zod: typeof z) => {
  const share = zod.number().min(0).max(1).default(0);
  const way = zod.strictObject({
    loss: share,
    duplicate: share,
    reorder: share,
    gap: zod.int().min(1).max(IMPAIR_GAP_MAX).default(3),
    delay_ms: zod.number().min(0).max(IMPAIR_DELAY_MS_MAX).default(0),
    jitter_ms: zod.number().min(0).max(IMPAIR_DELAY_MS_MAX).default(0),
  });
  return zod.strictObject({
    seed: zod.int().min(0).max(0xffff_ffff).default(1),
    outbound: way.prefault({}),
    inbound: way.prefault({}),
  });
};

type Options = z.output<ReturnType<typeof schema>>;

/**
 * A bad line: loses, duplicates, delays and reorders frames. What becomes of the nth frame of a direction is decided by the seed and by n
 * alone, also across moves and deaths of sidecores: `shared` counts them.
 */
export const impair = defineFrameFilter({
  name: 'impair',
  options: schema,
  counters: ['lost', 'duplicated', 'reordered', 'delayed', 'no_room'],
  sharedBytes: 8,
  defers: true,
  create(context) {
    const outbound = new Line(context, 'outbound');
    const inbound = new Line(context, 'inbound');
    return {
      outbound: (frame: FilterFrame, next: NextFrame) => outbound.ask(frame, next),
      inbound: (frame: FilterFrame, next: NextFrame) => inbound.ask(frame, next),
      tick(nowNs: number) {
        outbound.tick(nowNs);
        inbound.tick(nowNs);
      },
    };
  },
});

/** One direction of a card. */
class Line {
  readonly #context: FrameFilterContext<Options>;
  readonly #options: Options['outbound'];
  readonly #dice: Dice;
  readonly #lost;
  readonly #duplicated;
  readonly #reordered;
  readonly #delayed;
  readonly #noRoom;
  /** Time now, and when the last of those that are delayed goes on, ns. */
  readonly #times = new Float64Array(2);
  /** Those that are delayed, as a ring: tokens, and when they go on. */
  readonly #tokens = new Int32Array(FRAMES_DEFERRED_MAX);
  readonly #dueNs = new Float64Array(FRAMES_DEFERRED_MAX);
  #first = 0;
  #waiting = 0;
  /** Those that others shall overtake: tokens, by how many others, and until when at most. */
  readonly #held = new Int32Array(IMPAIR_GAP_MAX);
  readonly #overtakes = new Int32Array(IMPAIR_GAP_MAX);
  readonly #heldToNs = new Float64Array(IMPAIR_GAP_MAX);
  #heldCount = 0;

  constructor(context: FrameFilterContext<Options>, way: 'outbound' | 'inbound') {
    this.#context = context;
    this.#options = context.options[way];
    const place = way === 'outbound' ? 0 : 1;
    const counted = new Uint32Array(context.shared, 4 * place, 1);
    this.#dice = new Dice(context.options.seed, place, counted);
    const counter = (name: string) => context.counter(name);
    this.#lost = counter('lost');
    this.#duplicated = counter('duplicated');
    this.#reordered = counter('reordered');
    this.#delayed = counter('delayed');
    this.#noRoom = counter('no_room');
  }

  ask(frame: FilterFrame, next: NextFrame): void {
    const dice = this.#dice;
    const { loss, duplicate, reorder, gap, delay_ms: delayMs, jitter_ms: jitterMs } = this.#options;
    dice.roll();
    if (this.#heldCount > 0) this.#overtake();
    if (dice.value(0) < loss) {
      this.#lost.add(1);
      return;
    }
    const twice = dice.value(1) < duplicate;
    const outOfOrder = dice.value(2) < reorder;
    if (twice) this.#duplicated.add(1);
    if (outOfOrder) this.#reordered.add(1);
    if (delayMs + jitterMs > 0 && !outOfOrder) {
      this.#delay(frame, next, delayMs + dice.value(3) * jitterMs, twice);
      return;
    }
    if (twice) this.#goOnCopy(frame);
    if (outOfOrder && delayMs + jitterMs === 0) this.#hold(frame, next, 1 + Math.floor(dice.value(3) * gap));
    else next(frame);
  }

  tick(nowNs: number): void {
    while (this.#waiting > 0 && this.#dueNs[this.#first]! <= nowNs) {
      this.#context.goOn(this.#tokens[this.#first]!);
      this.#first = (this.#first + 1) % FRAMES_DEFERRED_MAX;
      this.#waiting--;
    }
    for (let i = 0; i < this.#heldCount; i++) if (this.#heldToNs[i]! <= nowNs) this.#overtakes[i] = 0;
    this.#letHeldGo();
  }

  #delay(frame: FilterFrame, next: NextFrame, ms: number, twice: boolean): void {
    const times = this.#times;
    this.#context.readNowNs(times, 0);
    // What is delayed less does not overtake.
    times[1] = Math.max(times[1]!, times[0]! + ms * NS_PER_MS);
    if (twice && this.#waiting < FRAMES_DEFERRED_MAX) this.#wait(frame.copy());
    const token = this.#waiting < FRAMES_DEFERRED_MAX ? frame.defer() : NO_TOKEN;
    if (token === NO_TOKEN) {
      this.#noRoom.add(1);
      next(frame);
      return;
    }
    this.#wait(token);
    this.#delayed.add(1);
  }

  #wait(token: number): void {
    if (token === NO_TOKEN) return;
    const place = (this.#first + this.#waiting++) % FRAMES_DEFERRED_MAX;
    this.#tokens[place] = token;
    this.#dueNs[place] = this.#times[1]!;
  }

  #goOnCopy(frame: FilterFrame): void {
    const token = frame.copy();
    if (token === NO_TOKEN) this.#noRoom.add(1);
    else this.#context.goOn(token);
  }

  #hold(frame: FilterFrame, next: NextFrame, others: number): void {
    const token = this.#heldCount < IMPAIR_GAP_MAX ? frame.defer() : NO_TOKEN;
    if (token === NO_TOKEN) {
      this.#noRoom.add(1);
      next(frame);
      return;
    }
    this.#context.readNowNs(this.#times, 0);
    this.#held[this.#heldCount] = token;
    // The frame that comes after the last one that overtakes it has it go on first.
    this.#overtakes[this.#heldCount] = others + 1;
    this.#heldToNs[this.#heldCount] = this.#times[0]! + HELD_NS_MAX;
    this.#heldCount++;
  }

  /** A frame comes. */
  #overtake(): void {
    for (let i = 0; i < this.#heldCount; i++) this.#overtakes[i]!--;
    this.#letHeldGo();
  }

  #letHeldGo(): void {
    let kept = 0;
    for (let i = 0; i < this.#heldCount; i++) {
      if (this.#overtakes[i]! <= 0) {
        this.#context.goOn(this.#held[i]!);
        continue;
      }
      this.#held[kept] = this.#held[i]!;
      this.#overtakes[kept] = this.#overtakes[i]!;
      this.#heldToNs[kept] = this.#heldToNs[i]!;
      kept++;
    }
    this.#heldCount = kept;
  }
}
