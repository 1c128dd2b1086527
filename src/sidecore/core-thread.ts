import { parentPort, workerData } from 'node:worker_threads';
import { pinThisThread, threadId } from '../host/affinity.js';
import { openSpan } from '../host/memory-view.js';
import { CoreState } from './core-state.js';
import type { CoreSetup, ReserveMessage } from './messages.js';
import { rehearse } from './rehearsal.js';
import { Sidecore } from './sidecore.js';

/** Entry of a sidecore's thread. */
function main(setup: CoreSetup): void {
  pinThisThread(setup.cpus);
  new CoreState(setup.state).threadId = threadId();
  new Sidecore(setup).run();
  setup.mailbox.close();
}

/** Of one that is kept in reserve: it gets ready for whatever it may have to serve. */
function wait(): void {
  parentPort!.postMessage(threadId());
  const rehearsal = setImmediate(() => {
    try {
      rehearse();
    } catch {
      // For want of descriptors or memory: it serves without.
    }
  });
  parentPort!.on('message', (message: ReserveMessage) => {
    if ('spans' in message) {
      for (const number of message.spans) openSpan(number);
      return;
    }
    // It has not begun if this thread was asked for at once, and is of no use when that has ended.
    clearImmediate(rehearsal);
    main(message.setup);
    parentPort!.close();
  });
}

if (workerData === null) wait();
else main(workerData as CoreSetup);
