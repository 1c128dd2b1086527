/** A thread that writes to a guest's memory while it is served: over its frames, or over its rings. */
import { parentPort, workerData } from 'node:worker_threads';
import { viewBytes } from '../../src/host/memory-view.js';
import { Random } from '../support/seed.js';

export interface ScribblerSetup {
  /** Stretches of memory of this process. */
  readonly places: readonly { readonly address: number; readonly byteLength: number }[];
  /** What is written at an offset of a place; anything, anywhere, if it is left out. */
  readonly writes?: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  readonly seed: number;
  /** One word: not zero when the thread shall end. */
  readonly stop: SharedArrayBuffer;
}

function scribble({ places, writes, seed, stop }: ScribblerSetup): void {
  const random = new Random(seed);
  const memories = places.map(({ address, byteLength }) => viewBytes(address, byteLength));
  const ended = new Int32Array(stop);
  parentPort?.postMessage('it writes');
  while (Atomics.load(ended, 0) === 0) {
    for (let i = 0; i < 200; i++) {
      const memory = random.pick(memories);
      if (writes === undefined) {
        memory[random.below(memory.length)] = random.chance(0.5) ? random.below(4) : random.below(256);
      } else {
        const { at, bytes } = random.pick(writes);
        for (let j = 0; j < bytes.length; j++) memory[at + j] = bytes[j]!;
      }
    }
  }
}

scribble(workerData as ScribblerSetup);
