/** The thread of one task: it waits for storage, so that nobody else does. */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../../errors.js';
import { runTask, type Task } from './tasks.js';

try {
  runTask(workerData as Task);
  parentPort!.postMessage(null);
} catch (error) {
  const { code } = error as NodeJS.ErrnoException;
  parentPort!.postMessage(code === 'ENOSPC' ? 'the file system is full' : messageOf(error));
}
