import { parentPort, workerData } from 'node:worker_threads';
import { SidecoreError } from '../errors.js';
import { BlockDriver } from '../guest/block-driver.js';
import { Load } from '../guest/load.js';
import { NetDriver } from '../guest/net-driver.js';
import { Talk } from '../guest/talk.js';
import { pinThisThread } from '../host/affinity.js';
import { type LoadMessage, type LoadSetup, Step } from './load-messages.js';
import { TALK_BYTES } from './plan.js';

const tell = (message: LoadMessage): void => parentPort!.postMessage(message);

/** Connects the guests and drives them all: nothing but their load runs here, so that nothing but the CPU disturbs it. */
async function main(setup: LoadSetup): Promise<void> {
  const { pattern, sleeping, counters } = setup;
  pinThisThread([setup.cpu]);
  const guests: BlockDriver[] = [];
  const { depth, requestBytes } = pattern;
  for (const socket of setup.sockets) guests.push(await BlockDriver.connect({ socket, depth, requestBytes }));
  const [asking, answering] = [await talker(setup.talkers[0]), await talker(setup.talkers[1])];
  const talk = new Talk(asking, answering, TALK_BYTES, setup.talkCounters);
  const load = new Load(guests, pattern, { sleeping, timed: true, counters, companions: [talk] });
  load.start();
  load.run(setup.warmUpMs);
  if (!load.finish()) throw new SidecoreError('DAEMON_UNREACHABLE', 'requests of the warm-up do not complete');
  const count = (of: 'errors' | 'mismatches') => load.queues.reduce((sum, queue) => sum + queue.counters[of], 0);
  const warm: LoadMessage = {
    event: 'warm',
    errors: count('errors') + talk.counters.errors,
    mismatches: count('mismatches') + talk.counters.mismatches,
  };
  // Before it is told: whoever watches begins then, and must not see the warm-up's counts.
  for (const queue of load.queues) queue.counters.clear();
  talk.clear();
  tell(warm);
  const step = new Int32Array(setup.step);
  Atomics.wait(step, 0, Step.WARM_UP);
  load.start();
  const { seconds } = load.run(setup.measureMs);
  tell({ event: 'measured', seconds });
  tell({ event: 'finished', complete: load.finish() });
  // The daemon forgets a guest's counters with the guest.
  Atomics.wait(step, 0, Step.MEASURE);
  for (const guest of [...guests, asking, answering]) guest.close();
}

/** A guest with a network card and nothing else. */
const talker = (socket: string): Promise<NetDriver> => NetDriver.connect({ socket, buffers: 64 });

main(workerData as LoadSetup).catch((error: unknown) => {
  const { code, message, remedy } =
    error instanceof SidecoreError ? error : new SidecoreError('SYSTEM_CALL_FAILED', String(error));
  tell({ event: 'failed', code, message, remedy });
});
