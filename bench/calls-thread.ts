import { parentPort, workerData } from 'node:worker_threads';
import { pinThisThread } from '../src/host/affinity.js';
import { EPOLLET, EPOLLIN, Epoll } from '../src/host/epoll.js';

/** Sleeps until its descriptor is written, again and again. */
function sleep({ fd, cpu }: { fd: number; cpu: number }): void {
  pinThisThread([cpu]);
  const epoll = new Epoll(1);
  epoll.add(fd, EPOLLIN | EPOLLET, 0);
  parentPort!.postMessage('ready');
  for (;;) epoll.wait(50);
}

setTimeout(() => sleep(workerData as { fd: number; cpu: number }), 0);
