import { parentPort, workerData } from 'node:worker_threads';
import { pinThisThread, threadId } from '../host/affinity.js';
import { CoreState } from './core-state.js';
import type { CoreSetup } from './messages.js';
import { Sidecore } from './sidecore.js';

/** Entry of a sidecore's thread. */
function main(setup: CoreSetup): void {
  pinThisThread(setup.cpus);
  new CoreState(setup.state).threadId = threadId();
  new Sidecore(setup).run();
  setup.mailbox.close();
}

// One that is kept in reserve is told later what it is to serve.
if (workerData !== null) main(workerData as CoreSetup);
else parentPort!.once('message', main);
