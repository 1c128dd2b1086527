import { parentPort } from 'node:worker_threads';
import { close } from './libc.js';

parentPort!.on('message', (fd: number) => close(fd));
