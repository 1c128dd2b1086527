import { openSync } from 'node:fs';
import { syscall } from './libc.js';
import { mapAnonymous, PAGE_BYTES } from './memory-map.js';
import { viewWords32 } from './memory-view.js';

/** Numbers of io_setup, io_submit and io_getevents. */
const CALLS = process.arch === 'arm64' ? { setup: 0, submit: 2, events: 4 } : { setup: 206, submit: 209, events: 208 };

/** struct iocb, in 32-bit words. io_submit(2) */
const IOCB = { OPCODE: 4, FILE: 5, FLAGS: 14, EVENT_FD: 15 } as const;
const IOCB_CMD_PREAD = 0;
const IOCB_FLAG_RESFD = 1;

/** Where things lie in the page that is shared with the kernel, bytes. */
const CONTEXT = 64;
const LIST = 72;
const EVENTS = 128;

/** Makes the asynchronous I/O context, and the one operation that is ever given to it: an empty read of /dev/null. */
function prepare(): { readonly address: number; readonly words: Uint32Array } {
  const { address } = mapAnonymous(PAGE_BYTES);
  const words = viewWords32(address, PAGE_BYTES);
  syscall(CALLS.setup, 1, address + CONTEXT);
  words[IOCB.OPCODE] = IOCB_CMD_PREAD;
  words[IOCB.FILE] = openSync('/dev/null', 'r');
  words[IOCB.FLAGS] = IOCB_FLAG_RESFD;
  words[LIST / 4] = address;
  words[LIST / 4 + 1] = address / 2 ** 32;
  return { address, words };
}

const { address, words } = prepare();

/**
 * Adds one to an event counter that somebody else may have filled and made blocking. A write could wait for ever then; the
 * kernel's own signal, which tells the end of an asynchronous read, never does. Costs some 700 ns. Where the kernel has no
 * asynchronous I/O, nothing is signalled.
 */
export function signalUnblockably(fd: number): void {
  const context = words[CONTEXT / 4 + 1]! * 2 ** 32 + words[CONTEXT / 4]!;
  words[IOCB.EVENT_FD] = fd;
  if (syscall(CALLS.submit, context, 1, address + LIST) === 1)
    syscall(CALLS.events, context, 1, 1, address + EVENTS, 0);
}
