import { z } from 'zod';
import { SERIAL_BYTES } from '../block/features.js';
import type { ReadyFilter } from '../filter/opened-filter.js';
import { QUEUES_MAX } from '../limits.js';
import { filters } from './config-filters.js';
import { path, role, size } from './config-values.js';

/** YAML reads a bare `type: null` as no value at all, where the back end is meant. */
function nameNull(backend: unknown): unknown {
  const isNull = typeof backend === 'object' && backend !== null && 'type' in backend && backend.type === null;
  return isNull ? { ...backend, type: 'null' } : backend;
}

const backend = z.preprocess(
  nameNull,
  z.discriminatedUnion('type', [
    z.strictObject({ type: z.literal('null'), size }),
    z.strictObject({ type: z.literal('memory'), size }),
    z.strictObject({
      type: z.literal('file'),
      path,
      size: size.optional(),
      read_only: z.boolean().default(false),
      direct: z.boolean().optional(),
      engine: z.enum(['auto', 'io_uring', 'sync']).optional(),
    }),
    z
      .strictObject({
        type: z.literal('snapshot'),
        /** VM/disk of one with the filter `snapshot`. */
        of: z.string().regex(/^[^/]+\/[^/]+$/, 'is no VM/disk'),
        name: z.string().min(1),
        size: z.undefined().optional(),
      })
      .transform((written) => ({ ...written, view: undefined as ReadyFilter | undefined })),
  ]),
);

export const disk = z.strictObject({
  backend,
  read_only: z.boolean().default(false),
  block_size: z.literal([512, 4096]).default(512),
  queues: z.int().min(1).max(QUEUES_MAX).default(1),
  serial: z
    .string()
    .regex(
      new RegExp(`^[ -~]{1,${SERIAL_BYTES}}$`),
      `a serial number has 1 to ${SERIAL_BYTES} printable ASCII characters`,
    )
    .optional(),
  filters,
  cache: z.enum(['writeback', 'writethrough']).default('writeback'),
  socket: path.optional(),
  role,
});

export type DiskConfig = z.output<typeof disk>;
