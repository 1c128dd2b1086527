import type { z as zod } from 'zod';

const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** An option that is a number of bytes: `"64MiB"`, or a number. */
export const bytesOption = (z: typeof zod) =>
  z.union([z.int().positive(), z.string()]).transform((given, context) => {
    if (typeof given === 'number') return given;
    const match = /^(\d+(?:\.\d+)?) ?(KiB|MiB|GiB|TiB)$/.exec(given);
    const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!]!;
    if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
    context.addIssue({ code: 'custom', message: `${given} is no size: write "512MiB" or a number of bytes` });
    return z.NEVER;
  });

/** A further back end: a file, or memory. Its path starts from the folder of the configuration. */
export const backendOption = (z: typeof zod) =>
  z.discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('file'),
      path: z.string().min(1),
      size: bytesOption(z).optional(),
      direct: z.boolean().default(false),
      engine: z.enum(['auto', 'io_uring', 'sync']).default('auto'),
    }),
    z.strictObject({ type: z.literal('memory'), size: bytesOption(z).optional() }),
  ]);
