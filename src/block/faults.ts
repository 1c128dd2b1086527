import type { ErrorCode } from '../errors.js';
import { POP_FAULTS } from '../virtio/virtqueue.js';
import { REQUEST_MALFORMED } from './queue.js';

/** The stable code of the fault number by which a sidecore says why it stopped a queue. */
export function faultCode(fault: number): ErrorCode {
  return fault === REQUEST_MALFORMED ? 'REQUEST_MALFORMED' : (POP_FAULTS[fault] ?? 'QUEUE_CRASHED_CORE');
}
