import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CoreRequest } from './messages.js';

/**
 * Has one request handled. True if there may be more: a queue that is attached takes up to a millisecond, and those that are served
 * already do not wait for all queues of a sidecore that died.
 */
export function takeMail(mailbox: MessagePort, handle: (request: CoreRequest) => void): boolean {
  const mail = receiveMessageOnPort(mailbox);
  if (mail === undefined) return false;
  handle(mail.message as CoreRequest);
  return true;
}
