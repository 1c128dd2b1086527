import type { ChainFilter } from './chain-filter.js';
import { DEFERRED } from './contract.js';
import { faultText } from './fault-text.js';
import { Target } from './operations.js';
import { type RequestView, Verdict } from './request-view.js';

const NOT_OWN = 'requests go only to disks of the filter’s own, and only if its definition says `defers`';

/** Whether a request goes to a disk of that filter's. */
export const isOwn = ({ target }: RequestView, filter: ChainFilter): boolean =>
  filter.defers && target instanceof Target && target.filter === filter && !target.isBelow;

/** What `complete` gave instead of a status. No code of the filter's runs for it. */
export function invalidStatus(status: unknown): Error {
  const isObject = (typeof status === 'object' && status !== null) || typeof status === 'function';
  return new Error(`complete() returned ${isObject ? 'no number' : String(status)}, which is no status`);
}

/** Whether `complete` has kept the request. */
export const isKept = (answer: unknown, { verdict }: RequestView, { defers }: ChainFilter): boolean =>
  answer === DEFERRED && verdict === Verdict.DEFERRED && defers;

/** What is wrong with what `submit` has said. */
export function refusal(verdict: number): Error {
  if (verdict === Verdict.REDIRECTED) return new Error(NOT_OWN);
  if (verdict === Verdict.DEFERRED)
    return new Error('submit() has deferred a request, and its definition does not say `defers`');
  return new Error('submit() has neither passed the request on, nor kept it, nor ended it');
}

export const tooLate = ({ deferNsMax }: ChainFilter): Error =>
  new Error(`it has kept a request for more than ${deferNsMax / 1e9} s`);

export const unanswered = ({ deferNsMax }: ChainFilter): Error =>
  new Error(`its helper has not answered for more than ${deferNsMax / 1e9} s`);

export const unsettled = ({ deferNsMax }: ChainFilter): Error =>
  new Error(`it has not come to its end for more than ${deferNsMax / 1e9} s`);

/** Throws if a request was not to go to a disk of that filter's. */
export function requireOwn(view: RequestView, filter: ChainFilter): void {
  if (!isOwn(view, filter)) throw new Error(NOT_OWN);
}

/** What was thrown, as text; with the filter's mark, for to look at it may run code of its. */
export function markedText({ id, file }: ChainFilter, error: unknown, mark: Int32Array): string {
  const outer = mark[0]!;
  mark[0] = id;
  const text = faultText(error, file);
  mark[0] = outer;
  return text;
}
