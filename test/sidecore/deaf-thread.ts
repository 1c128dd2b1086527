/**
 * Runs in place of a sidecore's thread: says yes to whatever it is asked, or nothing at all, as the test wants. It serves nothing, and
 * looks as if it slept.
 */
import { getEnvironmentData, isMainThread, setEnvironmentData, threadId, workerData } from 'node:worker_threads';
import type { NetDeviceSpec } from '../../src/net/device.js';
import { Directory } from '../../src/net/directory.js';
import { CoreState } from '../../src/sidecore/core-state.js';
import type { CoreRequest, CoreSetup } from '../../src/sidecore/messages.js';

const NAME = 'deaf sidecores';
const CORES_MAX = 8;
const ANSWER_MS = 2;

/** How well a thread hears. `LETTING_GO`: it becomes deaf when a queue is to leave it while a network is frozen. */
export const Hearing = { GOOD: 0, DEAF: 1, LETTING_GO: 2 } as const;

export const DEAF_THREAD = new URL(import.meta.url);

/** By core: how well its thread hears, from now on. */
export function hearingOfThreads(): Int32Array {
  const shared = new SharedArrayBuffer(4 * CORES_MAX);
  setEnvironmentData(NAME, shared);
  return new Int32Array(shared);
}

function main({ index, state: memory, mailbox, neighbours }: CoreSetup): void {
  const hearing = new Int32Array(getEnvironmentData(NAME) as SharedArrayBuffer);
  const directory = new Directory(neighbours.directory, neighbours.networks);
  const state = new CoreState(memory);
  state.threadId = threadId;
  state.asleep = true;
  const waiting: CoreRequest[] = [];
  let frozen = 0;
  const answer = ({ id, ...request }: CoreRequest) => {
    if (request.op === 'freeze') frozen++;
    if (request.op === 'thaw') frozen--;
    if (request.op === 'attach' && request.queue.device.kind === 'net')
      directory.note(index, (request.queue.device as NetDeviceSpec).switchId);
    const position = request.op === 'detach' ? { position: { base: 0, started: true } } : {};
    mailbox.postMessage({ event: 'answer', id, ...position });
    if (request.op !== 'stop') return;
    clearInterval(timer);
    mailbox.close();
  };
  const answerAll = () => {
    while (waiting.length > 0) {
      if (frozen > 0 && waiting[0]!.op === 'detach')
        Atomics.compareExchange(hearing, index, Hearing.LETTING_GO, Hearing.DEAF);
      if (Atomics.load(hearing, index) === Hearing.DEAF) return;
      answer(waiting.shift()!);
    }
  };
  mailbox.on('message', (request: CoreRequest) => {
    waiting.push(request);
    answerAll();
  });
  const timer = setInterval(answerAll, ANSWER_MS);
}

if (!isMainThread && (workerData as CoreSetup | null)?.mailbox !== undefined) main(workerData as CoreSetup);
