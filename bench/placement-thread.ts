import { workerData } from 'node:worker_threads';
import { pinThisThread } from '../src/host/affinity.js';

/** What the far end of a placement probe is told. */
export interface PlacementSetup {
  readonly cpu: number;
  /** Word 0 goes back and forth, odd on the way there; word 1 says whether a reading goes on. */
  readonly shared: SharedArrayBuffer;
}

function answer({ cpu, shared }: PlacementSetup): never {
  pinThisThread([cpu]);
  const line = new Int32Array(shared);
  for (;;) {
    Atomics.wait(line, 1, 0);
    while (Atomics.load(line, 1) === 1) {
      const turn = Atomics.load(line, 0);
      if ((turn & 1) === 1) Atomics.store(line, 0, turn + 1);
    }
  }
}

answer(workerData as PlacementSetup);
