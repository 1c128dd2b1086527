import type { FrameBurst } from '../net/frame-burst.js';
import type { StagedBurst } from '../net/staged-burst.js';
import { FrameDirection, type FrameFilterHooks } from './frame-contract.js';
import { FrameVerdict, type FrameView, passFrameOn } from './frame-view.js';
import { freshFunction } from './fresh-function.js';
import type { KeptFrames } from './kept-frames.js';

/** A frame filter in its place, as a program is made from it. */
export interface FrameStage {
  /** Unique in the daemon, above zero. */
  readonly id: number;
  readonly hooks: FrameFilterHooks;
  /** Of a filter that keeps frames. */
  readonly kept: KeptFrames | undefined;
  /** `live`: asked. `gate`: drops every frame. `gone`: passed by. */
  readonly state: 'live' | 'gate' | 'gone';
}

/** What a program has done for it where a frame does not simply pass. */
export interface FrameExits {
  /** A filter has not passed the frame on. */
  stopped(view: FrameView): void;
  /** A hook has thrown. Returns whether the frame goes on nevertheless. */
  threw(view: FrameView, error: unknown): boolean;
  /** A hook has asked for kept frames to go on, before the one that it was asked about. */
  due(view: FrameView): void;
}

export interface FrameProgram {
  /** Whether a frame goes on. */
  outbound(view: FrameView): boolean;
  inbound(view: FrameView): boolean;
  /**
   * Stages the frames `from` … `to` - 1 of a burst, and counts there those that pass. Returns where it has stopped: at one that cannot be
   * staged, or behind one at which a filter has failed, since the program is an old one then.
   */
  outboundBurst(view: FrameView, source: FrameBurst, from: number, to: number): number;
  inboundBurst(view: FrameView, source: FrameBurst, from: number, to: number): number;
}

export interface FrameTools {
  readonly exits: FrameExits;
  /** One word: the filter whose hook is running, or zero. A watchdog reads it when this thread does not get on. */
  readonly mark: Int32Array;
  readonly outboundStaged: StagedBurst;
  readonly inboundStaged: StagedBurst;
}

/** The code for the chain of one card, as `compileProgram` makes that of a disk: each filter is called at places of its own. */
export function compileFrameProgram(stages: readonly FrameStage[], tools: FrameTools): FrameProgram {
  // Nothing of it comes from outside: it is made of the filters' numbers.
  const make = freshFunction('hooks', 'kept', 'tools', 'next', frameProgramSource(stages)) as (
    hooks: readonly FrameFilterHooks[],
    kept: readonly (KeptFrames | undefined)[],
    tools: FrameTools,
    next: typeof passFrameOn,
  ) => FrameProgram;
  return make(
    stages.map(({ hooks }) => hooks),
    stages.map(({ kept }) => kept),
    tools,
    passFrameOn,
  );
}

type Way = 'outbound' | 'inbound';

/** The program's text; for tests and the curious. */
function frameProgramSource(stages: readonly FrameStage[]): string {
  const numbers = stages.map((_, at) => at);
  return `'use strict';
const { exits, mark, outboundStaged, inboundStaged } = tools;
${numbers.map((at) => `const f${at} = hooks[${at}], k${at} = kept[${at}];`).join('\n')}
return {
  outbound(view) {${single(stages, 'outbound')}
  },
  inbound(view) {${single(stages, 'inbound')}
  },
  outboundBurst(view, source, from, to) {${burst(stages, 'outbound')}
  },
  inboundBurst(view, source, from, to) {${burst(stages, 'inbound')}
  },
};`;
}

const single = (stages: readonly FrameStage[], way: Way): string => `
    try {${asks(stages, way, 'return false;')}
    } catch (error) {
      return exits.threw(view, error);
    }
    mark[0] = 0;
    view.verdict = ${FrameVerdict.CLOSED};
    return true;`;

const burst = (stages: readonly FrameStage[], way: Way): string => `
    const staged = ${way}Staged;
    for (let i = from; i < to; i++) {
      if (!staged.take(source, i)) return i;
      view.lookAtStaged(staged, ${way === 'outbound' ? FrameDirection.OUTBOUND : FrameDirection.INBOUND});
      try {${asks(stages, way, 'continue;')}
      } catch (error) {
        if (exits.threw(view, error)) staged.count++;
        return i + 1;
      }
      staged.count++;
    }
    mark[0] = 0;
    view.verdict = ${FrameVerdict.CLOSED};
    return to;`;

/** The filters' calls, in the order of the way. */
function asks(stages: readonly FrameStage[], way: Way, leave: string): string {
  const numbers = stages.map((_, at) => at);
  const order = way === 'outbound' ? numbers : numbers.toReversed();
  const texts: string[] = [];
  for (const at of order) {
    const { id, hooks, kept, state } = stages[at]!;
    if (state === 'gate') {
      texts.push(`
        view.stage = ${at};
        view.verdict = ${FrameVerdict.DROPPED};
        if (view.verdict !== ${FrameVerdict.PASSED}) { exits.stopped(view); ${leave} }`);
      break;
    }
    if (state === 'gone' || hooks[way] === undefined) continue;
    texts.push(`
        view.stage = ${at};
        view.verdict = ${FrameVerdict.ASKED};
        mark[0] = ${id};
        f${at}.${way}(view, next);${
          kept === undefined
            ? ''
            : `
        if (k${at}.${way}Due !== 0) exits.due(view);`
        }
        if (view.verdict !== ${FrameVerdict.PASSED}) { exits.stopped(view); ${leave} }`);
  }
  return texts.join('');
}
