import { Worker } from 'node:worker_threads';
import { close } from './libc.js';

let worker: Worker | undefined;

/** Starts the thread that closes what others have sent. */
export function startCloser(): void {
  worker ??= new Worker(new URL('./closer-thread.js', import.meta.url), { name: 'closer' });
  worker.unref();
}

/**
 * Closes a descriptor that somebody else has sent, in a thread of its own if that was started: a close may wait for as long as
 * its sender likes (a socket that lingers, a file system in user space).
 */
export function closeForeign(fd: number): void {
  if (fd < 0) return;
  if (worker === undefined) close(fd);
  else worker.postMessage(fd);
}
