import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CoreRequest } from './messages.js';

/** Requests of the daemon that are done one after the other: a queue that is attached takes up to half a millisecond. */
const MAIL_MAX = 4;

/** Has a few requests handled. True if there may be more: those that are served do not wait for all queues of a sidecore that died. */
export function takeMail(mailbox: MessagePort, handle: (request: CoreRequest) => void): boolean {
  for (let left = MAIL_MAX; left > 0; left--) {
    const mail = receiveMessageOnPort(mailbox);
    if (mail === undefined) return false;
    handle(mail.message as CoreRequest);
  }
  return true;
}
