import { z } from 'zod';
import { FILTER_STALL_MS, FILTER_STALL_MS_MAX, FILTER_STALL_MS_MIN, WEIGHT_MAX } from '../limits.js';
import { disk } from './config-disks.js';
import { network, nic } from './config-networks.js';
import { scheduler } from './config-scheduler.js';
import { account, name, path } from './config-values.js';

const vm = z.strictObject({
  weight: z.int().min(1).max(WEIGHT_MAX).default(1),
  unsealed_memory: z.enum(['refuse', 'allow']).default('refuse'),
  disks: z.record(name, disk).default({}),
  nics: z.record(name, nic).default({}),
});

const socket = z
  .strictObject({
    owner: account.optional(),
    group: account.optional(),
    mode: z
      .unknown()
      .transform((text, context) => {
        // YAML reads 0660 as a number in base 8 or 10, depending on its version: only a string is unambiguous.
        if (typeof text === 'string' && /^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
        context.addIssue('expects octal digits in quotes, like "0660"');
        return z.NEVER;
      })
      .optional(),
  })
  .default({});

/** The whole configuration. `docs/configuration.md` says what the keys mean. */
export const configSchema = z.strictObject({
  run_dir: path.default('/run/sidecore'),
  cores: z.array(z.int().min(0).max(1023)).min(1, 'name at least one CPU').default([1]),
  cores_min: z.int().min(0).optional(),
  balance: z.boolean().default(true),
  mode: z.enum(['sidecore', 'adaptive', 'baseline']).default('sidecore'),
  scheduler,
  filter_stall_ms: z.int().min(FILTER_STALL_MS_MIN).max(FILTER_STALL_MS_MAX).default(FILTER_STALL_MS),
  sqpoll_cpu: z.int().min(0).max(1023).optional(),
  log: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
  socket,
  networks: z.record(name, network).default({}),
  vms: z.record(name, vm).default({}),
});

/** A whole configuration, defaults filled in, all paths absolute; `networks` has those, too, that only cards name. */
export type Config = z.output<typeof configSchema>;
export type VmConfig = Config['vms'][string];
