/** A thread that acknowledges announcements all the time, as a sidecore does for a guest that says nothing else. */
import { parentPort, workerData } from 'node:worker_threads';
import { NetDeviceState } from '../../src/net/device-state.js';

export interface AcknowledgingSetup {
  /** Memory of the card. */
  readonly shared: SharedArrayBuffer;
  /** One word: not zero when the thread shall end. */
  readonly stop: SharedArrayBuffer;
}

const { shared, stop } = workerData as AcknowledgingSetup;
const state = new NetDeviceState(shared);
const ended = new Int32Array(stop);
parentPort?.postMessage('it acknowledges');
while (Atomics.load(ended, 0) === 0) for (let i = 0; i < 100; i++) state.acknowledgeAnnouncement();
