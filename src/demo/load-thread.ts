import { parentPort, workerData } from 'node:worker_threads';
import { SidecoreError } from '../errors.js';
import { BlockDriver } from '../guest/block-driver.js';
import { Load, type LoadPattern } from '../guest/load.js';
import { pinThisThread } from '../host/affinity.js';

/** What the thread of the guests is told. */
export interface LoadSetup {
  readonly cpu: number;
  /** One for each guest. */
  readonly sockets: readonly string[];
  readonly pattern: LoadPattern;
  readonly sleeping: boolean;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** One for each guest: its counters, which others read while the load runs. */
  readonly counters: readonly SharedArrayBuffer[];
}

/** What it tells. */
export type LoadMessage =
  | { readonly event: 'measuring'; readonly errors: number; readonly mismatches: number }
  | { readonly event: 'measured'; readonly seconds: number }
  | { readonly event: 'finished'; readonly complete: boolean }
  | {
      readonly event: 'failed';
      readonly code: SidecoreError['code'];
      readonly message: string;
      readonly remedy: string;
    };

const tell = (message: LoadMessage): void => parentPort!.postMessage(message);

/** Connects the guests and drives them all: nothing but their load runs here, so that nothing but the CPU disturbs it. */
async function main({ cpu, sockets, pattern, sleeping, warmUpMs, measureMs, counters }: LoadSetup): Promise<void> {
  pinThisThread([cpu]);
  const guests: BlockDriver[] = [];
  const { depth, requestBytes } = pattern;
  for (const socket of sockets) guests.push(await BlockDriver.connect({ socket, depth, requestBytes }));
  const load = new Load(guests, pattern, { sleeping, timed: true, counters });
  load.start();
  const { errors, mismatches } = load.run(warmUpMs);
  // Whoever watches must not see the warm-up's counts before `run` clears them.
  for (const queue of load.queues) queue.counters.clear();
  tell({ event: 'measuring', errors, mismatches });
  const { seconds } = load.run(measureMs);
  tell({ event: 'measured', seconds });
  tell({ event: 'finished', complete: load.finish() });
  for (const guest of guests) guest.close();
}

main(workerData as LoadSetup).catch((error: unknown) => {
  const { code, message, remedy } =
    error instanceof SidecoreError ? error : new SidecoreError('SYSTEM_CALL_FAILED', String(error));
  tell({ event: 'failed', code, message, remedy });
});
