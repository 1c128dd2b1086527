import { workerData } from 'node:worker_threads';
import { pinThisThread } from '../../src/host/affinity.js';
import { readNowNs } from '../../src/host/clock.js';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/host/epoll.js';

/** What a thread that is woken again and again is told. */
export interface WakeSetup {
  readonly cpu: number;
  readonly fd: number;
  /** Times, ns: when it was awake last. Words: how often, and whether it is to end. */
  readonly times: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

function sleepAndWake({ cpu, fd, times, words }: WakeSetup): void {
  pinThisThread([cpu]);
  const epoll = new Epoll(1);
  epoll.add(fd, EPOLLIN | EPOLLET, 0);
  const awake = new Float64Array(times);
  const word = new Int32Array(words);
  while (Atomics.load(word, 1) === 0) {
    if (epoll.wait(100) === 0) continue;
    readNowNs(awake, 0);
    Atomics.add(word, 0, 1);
  }
}

sleepAndWake(workerData as WakeSetup);
