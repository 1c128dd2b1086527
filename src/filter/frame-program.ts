import type { FrameBurst } from '../net/frame-burst.js';
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
  /** Frames of a burst, `from` … `to` - 1, have passed: they go on. */
  outboundPassed(burst: FrameBurst, from: number, to: number): void;
  inboundPassed(burst: FrameBurst, from: number, to: number): void;
}

export interface FrameProgram {
  /** Whether a frame goes on. */
  outbound(view: FrameView): boolean;
  inbound(view: FrameView): boolean;
  /**
   * Takes frames of a private burst through, `from` … `to` - 1; those that pass go on. Returns where it has stopped: behind one at which a
   * filter has failed, since the program is an old one then.
   */
  outboundBurst(view: FrameView, burst: FrameBurst, from: number, to: number): number;
  inboundBurst(view: FrameView, burst: FrameBurst, from: number, to: number): number;
}

export interface FrameTools {
  readonly exits: FrameExits;
  /** One word: the filter whose hook is running, or zero. A watchdog reads it when this thread does not get on. */
  readonly mark: Int32Array;
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
const { exits, mark } = tools;
${numbers.map((at) => `const f${at} = hooks[${at}], k${at} = kept[${at}];`).join('\n')}
return {
  outbound(view) {${single(stages, 'outbound')}
  },
  inbound(view) {${single(stages, 'inbound')}
  },
  outboundBurst(view, burst, from, to) {${burst(stages, 'outbound')}
  },
  inboundBurst(view, burst, from, to) {${burst(stages, 'inbound')}
  },
};`;
}

const single = (stages: readonly FrameStage[], way: Way): string => `
    try {${asks(stages, way, '', 'return false;')}
    } catch (error) {
      return exits.threw(view, error);
    }
    mark[0] = 0;
    view.verdict = ${FrameVerdict.CLOSED};
    return true;`;

const burst = (stages: readonly FrameStage[], way: Way): string => `
    let first = from;
    let end = from;
    let i = from;
    view.turnTo(burst, ${way === 'outbound' ? FrameDirection.OUTBOUND : FrameDirection.INBOUND});
    while (i < to) {
      let passes = true;
      view.lookAt(burst, i);
      try {${asks(stages, way, `exits.${way}Passed(burst, first, end); first = end = i; `, 'i++; continue;')}
      } catch (error) {
        to = i + 1;
        passes = exits.threw(view, error);
      }
      if (passes) {
        if (end !== i) burst.move(i, end);
        end++;
      }
      i++;
    }
    mark[0] = 0;
    view.verdict = ${FrameVerdict.CLOSED};
    exits.${way}Passed(burst, first, end);
    return to;`;

/**
 * The filters' calls, in the order of the way.
 *
 * @param flush - what comes before frames that a filter has kept go on
 * @param leave - what comes when a frame is not passed on
 */
function asks(stages: readonly FrameStage[], way: Way, flush: string, leave: string): string {
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
        if (k${at}.${way}Due !== 0) { ${flush}exits.due(view); }`
        }
        if (view.verdict !== ${FrameVerdict.PASSED}) { exits.stopped(view); ${leave} }`);
  }
  return texts.join('');
}
