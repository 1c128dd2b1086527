import { assert, type ErrorCode } from '../errors.js';
import { POP_FAULTS } from './virtqueue.js';

/** The chain is no request of its device: no room for header or status. Continues the numbers of `Pop`. */
export const REQUEST_MALFORMED = -20;

/** Faults that are seen from outside the sidecore. They continue the numbers of `Pop` and `REQUEST_MALFORMED`. */
export const CoreFault = {
  /** Sidecores keep dying while they serve the queue. */
  CRASHED_CORE: -30,
  /** The front end has made its call descriptor block. */
  CALL_BLOCKED: -31,
  /** The queue was moved, and no sidecore could take it. */
  NOT_TAKEN: -32,
} as const;

const CODES: Record<number, ErrorCode> = {
  ...POP_FAULTS,
  [REQUEST_MALFORMED]: 'REQUEST_MALFORMED',
  [CoreFault.CRASHED_CORE]: 'QUEUE_CRASHED_CORE',
  [CoreFault.CALL_BLOCKED]: 'CALL_BLOCKED',
  [CoreFault.NOT_TAKEN]: 'QUEUE_NOT_TAKEN',
};

/** The stable code of the fault number by which a sidecore says why it stopped a queue. */
export function faultCode(fault: number): ErrorCode {
  const code = CODES[fault];
  assert(code !== undefined, `fault ${fault} has a code`);
  return code;
}
