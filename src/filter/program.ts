import type { BlockBackend } from '../block/backends/backend.js';
import { RequestType, Status } from '../block/features.js';
import type { BlockRequest } from '../block/request.js';
import type { BlockFilterHooks, Next } from './contract.js';
import { freshFunction } from './fresh-function.js';
import { isStatus, passOn, type RequestView, Verdict, viewOf } from './request-view.js';

/** A filter in its place, as a program is made from it. */
export interface Stage {
  /** What the mark is while its code runs. */
  readonly id: number;
  readonly hooks: BlockFilterHooks;
  /** Which of them there are. */
  readonly hasSubmit: boolean;
  readonly hasComplete: boolean;
  /** It may keep requests. */
  readonly defers: boolean;
  /** `live`: asked. `gate`: ends every request with IOERR. `gone`: passed by. */
  readonly state: 'live' | 'gate' | 'gone';
}

/** What a program has done for it where a request does not simply go down and up. `at` is the number of a filter. */
export interface Exits {
  /** A filter has not passed the request on: it has ended it, keeps it, or said nothing. Returns the request's status, PENDING or MORE. */
  stopped(request: BlockRequest, view: RequestView, at: number): number;
  /** A filter's `submit` has thrown. Returns as above. */
  submitThrew(request: BlockRequest, view: RequestView, at: number, error: unknown): number;
  /** A filter's `complete` has got `status`, and given something else than one. Returns as above. */
  odd(request: BlockRequest, view: RequestView, at: number, status: number, answer: unknown): number;
  /** A filter's `complete` has thrown; it got `status`. Returns as above. */
  completeThrew(request: BlockRequest, view: RequestView, at: number, status: number, error: unknown): number;
  /** The back end will complete the request, or goes on with it. Returns `answer`. */
  later(request: BlockRequest, answer: number): number;
}

export interface Program {
  /** Takes a request down to the back end and up again. Returns its status, PENDING or MORE. */
  submit(request: BlockRequest): number;
  /** Takes one that has been down before up. Returns its status, or PENDING. */
  finish(request: BlockRequest, status: number): number;
}

/**
 * The code for one chain: its filters' calls one after the other, each at a place of its own, so that V8 knows what is called
 * there and can inline it. All chains in one loop would share one place, which sees many functions.
 *
 * @param mark - its only slot says whose code is running
 */
export function compileProgram(
  stages: readonly Stage[],
  backend: BlockBackend,
  mark: Int32Array,
  exits: Exits,
): Program {
  const source = programSource(stages);
  // Nothing of it comes from outside: it is made of the filters' numbers.
  const make = freshFunction('hooks', 'tools', source) as (hooks: BlockFilterHooks[], tools: Tools) => Program;
  const tools = { backend, exits, mark, next: passOn, viewOf, isStatus };
  return make(
    stages.map(({ hooks }) => hooks),
    tools,
  );
}

interface Tools {
  readonly backend: BlockBackend;
  readonly exits: Exits;
  readonly mark: Int32Array;
  readonly next: Next;
  readonly viewOf: typeof viewOf;
  readonly isStatus: typeof isStatus;
}

const { IN, OUT, FLUSH, DISCARD, WRITE_ZEROES } = RequestType;

/** The program's text; for tests and the curious. */
function programSource(stages: readonly Stage[]): string {
  const numbers = stages.map((_, at) => at);
  const gate = stages.findIndex(({ state }) => state === 'gate');
  const down = numbers.filter((at) => stages[at]!.state === 'live' && (gate < 0 || at < gate));
  const asked = down.filter((at) => stages[at]!.hasSubmit);
  const live = numbers.filter((at) => stages[at]!.state === 'live' && stages[at]!.hasComplete);
  // Those that were passed on by a filter before it failed: what it would have made of their data nobody knows.
  const gates = numbers.filter((at) => stages[at]!.state === 'gate');
  const upwards = (one: number, other: number) => other - one;
  const submit = asked.map(
    (at) => `
      at = ${at};
      mark[0] = ${stages[at]!.id};
      view.verdict = ${Verdict.ASKED};
      f${at}.submit(view, next);
      if (view.verdict !== ${Verdict.PASSED}) {
        stopped = ${at};
        break down;
      }`,
  );
  const complete = (hooks: readonly number[]) =>
    hooks.toSorted(upwards).map((at) =>
      stages[at]!.state === 'gate'
        ? `
      status = ${Status.IOERR};`
        : `
      at = ${at};
      mark[0] = ${stages[at]!.id};${stages[at]!.defers ? `\n      view.verdict = ${Verdict.ASKED_UP};` : ''}
      answer = f${at}.complete(view, status);
      if (answer !== status) {
        if (!isStatus(answer)) break up;
        status = answer;
      }`,
    );
  const up = (hooks: readonly number[]) =>
    hooks.length === 0
      ? 'return status;'
      : `let answer = status;
    up: try {${complete(hooks).join('')}
      mark[0] = 0;
      return status;
    } catch (error) {
      return exits.completeThrew(request, view, at, status, error);
    }
    return exits.odd(request, view, at, status, answer);`;
  const atBackend = `switch (request.type) {
      case ${IN}: status = backend.read(request); break;
      case ${OUT}: status = backend.write(request); break;
      case ${FLUSH}: status = backend.flush(request); break;
      case ${DISCARD}: status = backend.discard(request); break;
      case ${WRITE_ZEROES}: status = backend.writeZeroes(request); break;
      default: status = backend.secureErase(request);
    }
    if (status < 0) return exits.later(request, status);`;
  return `'use strict';
const { backend, exits, mark, next, viewOf, isStatus } = tools;
${numbers.map((at) => `const f${at} = hooks[${at}];`).join('\n')}
return {
  submit(request) {
    const view = request.view ?? viewOf(request);
    let at = 0;
    let status = ${Status.IOERR};
    ${
      submit.length === 0
        ? ''
        : `let stopped = -1;
    down: try {${submit.join('')}
    } catch (error) {
      return exits.submitThrew(request, view, at, error);
    }
    if (stopped >= 0) return exits.stopped(request, view, stopped);
    mark[0] = 0;`
    }
    ${gate < 0 ? atBackend : ''}
    ${up(gate < 0 ? live : live.filter((at) => at < gate))}
  },
  finish(request, status) {
    const view = request.view ?? viewOf(request);
    let at = 0;
    ${up([...live, ...gates])}
  },
};`;
}
