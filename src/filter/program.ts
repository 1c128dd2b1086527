import type { BlockBackend } from '../block/backends/backend.js';
import { RequestType, Status } from '../block/features.js';
import type { BlockRequest } from '../block/request.js';
import type { BlockFilterHooks, Next } from './contract.js';
import { isStatus, passOn, RequestView, Verdict } from './request-view.js';

/** A filter in its place, as a program is made from it. */
export interface Stage {
  readonly hooks: BlockFilterHooks;
  /** `live`: asked. `gate`: ends every request with IOERR. `gone`: passed by. */
  readonly state: 'live' | 'gate' | 'gone';
}

/** What a program has done for it where a request does not simply go down and up. `at` is the number of a filter. */
export interface Exits {
  /** A filter has not passed the request on: it has ended it, or said nothing. Returns the request's status, PENDING or MORE. */
  stopped(request: BlockRequest, view: RequestView, at: number): number;
  /** A filter's `submit` has thrown. Returns as above. */
  submitThrew(request: BlockRequest, view: RequestView, at: number, error: unknown): number;
  /** A filter's `complete` has thrown, or given no status; it got `status`. Returns the request's. */
  completeThrew(view: RequestView, at: number, status: number, error: unknown): number;
  /** The back end will complete the request, or goes on with it. Returns `answer`. */
  later(request: BlockRequest, answer: number): number;
}

export interface Program {
  /** Takes a request down to the back end and up again. Returns its status, PENDING or MORE. */
  submit(request: BlockRequest): number;
  /** Takes one that has been down before up. Returns its status. */
  finish(request: BlockRequest, status: number): number;
}

/** Makes a filter's view of a request. */
export function viewOf(request: BlockRequest): RequestView {
  const view = new RequestView(request);
  request.view = view;
  return view;
}

export function invalidStatus(status: unknown): Error {
  return new Error(`complete() returned ${String(status)}, which is no status`);
}

/**
 * The code for one chain: its filters' calls one after the other, each at a place of its own, so that V8 knows what is called
 * there and can inline it. All chains in one loop would share one place, which sees many functions.
 */
export function compileProgram(stages: readonly Stage[], backend: BlockBackend, exits: Exits): Program {
  const source = programSource(stages);
  // Nothing of it comes from outside: it is made of the filters' numbers.
  const make = new Function('hooks', 'tools', source) as (hooks: BlockFilterHooks[], tools: Tools) => Program;
  const tools = { backend, exits, next: passOn, viewOf, isStatus, invalidStatus };
  return make(
    stages.map(({ hooks }) => hooks),
    tools,
  );
}

interface Tools {
  readonly backend: BlockBackend;
  readonly exits: Exits;
  readonly next: Next;
  readonly viewOf: typeof viewOf;
  readonly isStatus: typeof isStatus;
  readonly invalidStatus: typeof invalidStatus;
}

const { IN, OUT, FLUSH, DISCARD, WRITE_ZEROES } = RequestType;

/** The program's text; for tests and the curious. */
export function programSource(stages: readonly Stage[]): string {
  const numbers = stages.map((_, at) => at);
  const gate = stages.findIndex(({ state }) => state === 'gate');
  const down = numbers.filter((at) => stages[at]!.state === 'live' && (gate < 0 || at < gate));
  const asked = down.filter((at) => stages[at]!.hooks.submit !== undefined);
  const live = numbers.filter((at) => stages[at]!.state === 'live' && stages[at]!.hooks.complete !== undefined);
  // Those that were passed on by a filter before it failed: what it would have made of their data nobody knows.
  const gates = numbers.filter((at) => stages[at]!.state === 'gate');
  const upwards = (one: number, other: number) => other - one;
  const submit = asked.map(
    (at) => `
      at = ${at};
      view.verdict = ${Verdict.ASKED};
      f${at}.submit(view, next);
      if (view.verdict !== ${Verdict.PASSED}) return exits.stopped(request, view, ${at});`,
  );
  const complete = (hooks: readonly number[]) =>
    hooks.toSorted(upwards).map((at) =>
      stages[at]!.state === 'gate'
        ? `
      status = ${Status.IOERR};`
        : `
      at = ${at};
      answer = f${at}.complete(view, status);
      if (answer !== status) {
        if (!isStatus(answer)) throw invalidStatus(answer);
        status = answer;
      }`,
    );
  const up = (hooks: readonly number[]) =>
    hooks.length === 0
      ? 'return status;'
      : `let answer = status;
    try {${complete(hooks).join('')}
    } catch (error) {
      return exits.completeThrew(view, at, status, error);
    }
    return status;`;
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
const { backend, exits, next, viewOf, isStatus, invalidStatus } = tools;
${numbers.map((at) => `const f${at} = hooks[${at}];`).join('\n')}
return {
  submit(request) {
    const view = request.view ?? viewOf(request);
    let at = 0;
    let status = ${Status.IOERR};
    ${
      submit.length === 0
        ? ''
        : `try {${submit.join('')}
    } catch (error) {
      return exits.submitThrew(request, view, at, error);
    }`
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
