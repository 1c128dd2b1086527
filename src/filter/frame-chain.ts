import { threadCpuNs } from '../host/clock.js';
import { Frame } from '../net/frame.js';
import type { FrameBurst } from '../net/frame-burst.js';
import { type Port, PortCounter } from '../net/port.js';
import type { PortFilters } from '../net/port-filters.js';
import type { Switch } from '../net/switch.js';
import { vlanOf } from '../net/vlan.js';
import { faultText } from './fault-text.js';
import type { CardRule, FrameChainFilter, FrameHost } from './frame-chain-filter.js';
import { FrameDirection, NO_TOKEN } from './frame-contract.js';
import { compileFrameProgram, type FrameExits, type FrameProgram } from './frame-program.js';
import { FrameVerdict, FrameView, passFrameOn } from './frame-view.js';
import type { KeptFrames } from './kept-frames.js';
import type { ChainControl } from './memory.js';

/** One frame in so many is timed, which takes system calls: more of them at first, when nothing is known of the filters. */
const SAMPLE_MIN = 64;
const SAMPLE_MAX = 8192;

/**
 * The filters of one card, between its port and the switch. What its guest sends goes through `outbound` of all filters, the first of
 * them nearest to the guest; what the guest gets goes through `inbound` the other way round.
 *
 * What filters do wrong ends here: a throw takes the filter out of service for its card.
 */
export class FrameChain implements PortFilters, FrameExits {
  readonly filters: readonly FrameChainFilter[];
  readonly rule: CardRule;
  readonly #control: ChainControl;
  readonly #controlWords: Int32Array;
  readonly #port: Port;
  readonly #network: Switch;
  readonly #host: FrameHost;
  /** Those that keep frames. */
  readonly #keepers: readonly KeptFrames[];
  /** Of the frame that comes, by direction; and by number of a filter, of one that goes on from there, which it had kept. */
  readonly #outboundView: FrameView;
  readonly #inboundView: FrameView;
  readonly #views: readonly FrameView[];
  readonly #frames: readonly Frame[];
  /** Of a burst: one that is too long to be staged. */
  readonly #frame = new Frame();
  readonly #now = new Float64Array(1);
  readonly #time = new Float64Array(1);
  /** Frames until one is timed, and until the one after that. */
  #untilSample = SAMPLE_MIN;
  #sample = SAMPLE_MIN;
  #timed = false;
  #program: FrameProgram;
  /** What the control word was when the program was made. */
  #made = 0;

  /** @param filters - nearest to the guest first */
  constructor(
    filters: readonly FrameChainFilter[],
    parts: { control: ChainControl; port: Port; network: Switch; host: FrameHost; rule: CardRule },
  ) {
    this.filters = filters;
    this.rule = parts.rule;
    this.#control = parts.control;
    this.#controlWords = parts.control.words;
    this.#port = parts.port;
    this.#network = parts.network;
    this.#host = parts.host;
    const keepers = filters.map(({ kept }) => kept);
    this.#keepers = keepers.filter((kept) => kept !== undefined);
    this.#outboundView = new FrameView(keepers);
    this.#inboundView = new FrameView(keepers);
    this.#views = filters.map(() => new FrameView(keepers));
    this.#frames = filters.map(() => new Frame());
    this.#program = this.#compile();
  }

  outbound(frame: Frame, native: number): boolean {
    if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
    const { tag } = frame;
    this.#outboundView.look(frame, FrameDirection.OUTBOUND, tag > 0 ? tag : vlanOf(native), native);
    if (--this.#untilSample <= 0) return this.#goOnTimed(this.#outboundView, -1);
    return this.#program.outbound(this.#outboundView);
  }

  inbound(frame: Frame): boolean {
    if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
    this.#inboundView.look(frame, FrameDirection.INBOUND, frame.vlan, frame.vlan);
    if (--this.#untilSample <= 0) return this.#goOnTimed(this.#inboundView, this.filters.length);
    return this.#program.inbound(this.#inboundView);
  }

  outboundBurst(burst: FrameBurst, from: number, to: number, native: number): void {
    const staged = this.#host.outboundStaged;
    const own = burst.isPrivate ? burst : staged.burst;
    own.native = native;
    // The first frame is timed, if one is.
    this.#untilSample -= to - from;
    for (let at = from; at < to; ) {
      if (this.#untilSample > 0) {
        if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
        const end = burst.isPrivate ? to : staged.fill(burst, at, to);
        if (end > at) {
          const first = burst.isPrivate ? at : 0;
          at += this.#program.outboundBurst(this.#outboundView, own, first, first + end - at) - first;
          continue;
        }
      }
      const frame = burst.frame(at++, this.#frame);
      if (this.outbound(frame, native)) this.#network.sendOn(frame, this.#port, native);
    }
  }

  inboundBurst(burst: FrameBurst, from: number, to: number): void {
    const staged = this.#host.inboundStaged;
    const own = burst.isPrivate ? burst : staged.burst;
    own.native = burst.native;
    this.#untilSample -= to - from;
    for (let at = from; at < to; ) {
      if (this.#untilSample > 0) {
        if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
        const end = burst.isPrivate ? to : staged.fill(burst, at, to);
        if (end > at) {
          const first = burst.isPrivate ? at : 0;
          at += this.#program.inboundBurst(this.#inboundView, own, first, first + end - at) - first;
          continue;
        }
      }
      const frame = burst.frame(at++, this.#frame);
      frame.vlan = frame.tag > 0 ? frame.tag : vlanOf(burst.native);
      if (this.inbound(frame)) this.#network.deliverOn(frame, this.#port);
    }
  }

  outboundPassed(burst: FrameBurst, from: number, to: number): void {
    if (from < to) this.#network.sendBurstOn(burst, from, to, this.#port);
  }

  inboundPassed(burst: FrameBurst, from: number, to: number): void {
    if (from < to) this.#network.deliverBurstOn(burst, from, to, this.#port);
  }

  get kept(): number {
    let count = 0;
    for (let i = 0; i < this.#keepers.length; i++) count += this.#keepers[i]!.count;
    return count;
  }

  turn(): number {
    if (!this.rule.mayKeep) return 0;
    if (this.#controlWords[0] !== this.#made) this.#program = this.#compile();
    this.#host.readNowNs(this.#now, 0);
    const before = this.kept;
    for (let at = 0; at < this.filters.length; at++) {
      const { kept, memory, onFault } = this.filters[at]!;
      if (kept === undefined || kept.count === 0) continue;
      if (!memory.out) this.#tick(at);
      else if (onFault === 'open') kept.setAllDue();
      this.#sendDue(at, FrameDirection.OUTBOUND);
      this.#sendDue(at, FrameDirection.INBOUND);
    }
    return Math.max(0, before - this.kept);
  }

  #tick(at: number): void {
    const { id, hooks } = this.filters[at]!;
    if (hooks.tick === undefined) return;
    this.#host.mark[0] = id;
    try {
      hooks.tick(this.#now[0]!);
    } catch (error) {
      this.#condemn(at, error);
    }
    this.#host.mark[0] = 0;
  }

  letGo(): void {
    for (let at = this.filters.length - 1; at >= 0; at--) this.#letGo(at, FrameDirection.OUTBOUND);
    for (let at = 0; at < this.filters.length; at++) this.#letGo(at, FrameDirection.INBOUND);
  }

  close(): void {
    this.rule.closed = true;
    this.letGo();
    for (let at = 0; at < this.filters.length; at++) this.closeFilter(at);
  }

  /** What a filter keeps goes on, and it is asked nothing more. For one that is taken out. */
  closeFilter(at: number): void {
    this.#letGo(at, FrameDirection.OUTBOUND);
    this.#letGo(at, FrameDirection.INBOUND);
    try {
      this.filters[at]!.hooks.close?.();
    } catch (error) {
      const { memory, file } = this.filters[at]!;
      memory.noteFault(`close() has thrown: ${faultText(error, file)}`);
    }
  }

  stopped(view: FrameView): void {
    this.#host.mark[0] = 0;
    const deferred = view.verdict === FrameVerdict.DEFERRED;
    view.verdict = FrameVerdict.CLOSED;
    if (!deferred) this.#port.counters[PortCounter.DROPPED_BY_FILTER]!++;
  }

  threw(view: FrameView, error: unknown): boolean {
    this.#host.mark[0] = 0;
    const deferred = view.verdict === FrameVerdict.DEFERRED;
    view.verdict = FrameVerdict.CLOSED;
    const at = view.stage;
    this.#condemn(at, error);
    // What went the other way goes on with the next turn: frames of that way may be under way just now.
    if (this.filters[at]!.onFault === 'open') this.#letGo(at, view.direction);
    // One that it kept before it threw has gone its way with all that it kept.
    if (deferred) return false;
    if (this.filters[at]!.onFault === 'open') return this.#goOn(view, at);
    this.#port.counters[PortCounter.DROPPED_BY_FILTER]!++;
    return false;
  }

  due(view: FrameView): void {
    this.#sendDue(view.stage, view.direction);
  }

  #compile(): FrameProgram {
    // First, so that a change that comes meanwhile is seen with the next frame.
    this.#made = Atomics.load(this.#controlWords, 0);
    const stages = this.filters.map(({ id, hooks, kept, onFault, memory }) => {
      const state = !memory.out ? 'live' : onFault === 'open' ? 'gone' : 'gate';
      return { id, hooks, kept, state } as const;
    });
    return compileFrameProgram(stages, { exits: this, mark: this.#host.mark });
  }

  /** It is out of service. What it keeps is dropped, or goes on when its turn comes. */
  #condemn(at: number, error: unknown): void {
    const { memory, file } = this.filters[at]!;
    memory.condemn(faultText(error, file));
    this.#failed(at);
  }

  #failed(at: number): void {
    const { kept, onFault } = this.filters[at]!;
    this.#control.change();
    this.#program = this.#compile();
    if (kept === undefined || onFault === 'open') return;
    for (const token of kept.tokens()) {
      kept.drop(token);
      this.#port.counters[PortCounter.DROPPED_BY_FILTER]!++;
    }
  }

  /** All that a filter keeps goes on that way. */
  #letGo(at: number, direction: number): void {
    const { kept } = this.filters[at]!;
    if (kept === undefined || kept.count === 0) return;
    kept.setAllDue();
    this.#sendDue(at, direction);
  }

  /** Sends on what a filter has kept and asked to go on that way. */
  #sendDue(at: number, direction: number): void {
    const { kept } = this.filters[at]!;
    if (kept === undefined) return;
    for (let token = kept.takeDue(direction); token !== NO_TOKEN; token = kept.takeDue(direction)) {
      const frame = this.#frames[at]!;
      const native = kept.describe(token, frame);
      const view = this.#views[at]!;
      view.look(frame, direction, frame.vlan, native);
      if (this.#goOn(view, at)) {
        if (direction === FrameDirection.OUTBOUND) this.#network.sendOn(frame, this.#port, native);
        else this.#network.deliverOn(frame, this.#port);
      }
      kept.free(token);
    }
  }

  /** The same, and times the hooks, in CPU time. */
  #goOnTimed(view: FrameView, from: number): boolean {
    if (this.#sample < SAMPLE_MAX) this.#sample *= 2;
    this.#untilSample = this.#sample;
    this.#timed = true;
    const passed = this.#goOn(view, from);
    this.#timed = false;
    return passed;
  }

  /** Takes a frame through the filters behind one, the slow way. Returns whether it has passed them. */
  #goOn(view: FrameView, from: number): boolean {
    const outbound = view.direction === FrameDirection.OUTBOUND;
    const step = outbound ? 1 : -1;
    const { filters } = this;
    for (let at = from + step; at >= 0 && at < filters.length; at += step) {
      const { id, hooks, onFault, memory, kept } = filters[at]!;
      const hook = outbound ? hooks.outbound : hooks.inbound;
      view.stage = at;
      if (memory.out && onFault === 'closed') {
        this.stopped(view);
        return false;
      }
      if (memory.out || hook === undefined) continue;
      try {
        view.verdict = FrameVerdict.ASKED;
        this.#host.mark[0] = id;
        if (this.#timed) this.#time[0] = threadCpuNs();
        hook.call(hooks, view, passFrameOn);
        this.#host.mark[0] = 0;
        if (this.#timed && memory.noteTime(threadCpuNs() - this.#time[0]!)) this.#failed(at);
        if (kept !== undefined && (outbound ? kept.outboundDue : kept.inboundDue) > 0) this.due(view);
      } catch (error) {
        return this.threw(view, error);
      }
      if (view.verdict !== FrameVerdict.PASSED) {
        this.stopped(view);
        return false;
      }
    }
    view.verdict = FrameVerdict.CLOSED;
    return true;
  }
}
