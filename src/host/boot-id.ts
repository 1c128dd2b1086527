import { readFileSync } from 'node:fs';

/** Of this run of the host's kernel. random(4) */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
