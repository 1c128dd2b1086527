import type { z } from 'zod';
import { durationText, parseBytes, parseDuration } from '../../quantities.js';

/** Limits, each per second; zero is none. The order is that of the buckets. */
export const RATES = ['iops', 'iops_read', 'iops_write', 'bps', 'bps_read', 'bps_write'] as const;
/** How many of them count operations; the others count bytes. */
export const OPERATION_RATES = 3;

/** All that a budget is made of, in the order in which shared memory has it. */
export const LIMITS = [...RATES, 'burst_s', 'burst_requests', 'burst_bytes', 'iops_size'] as const;

/** `burst_requests` and `burst_bytes` take the place of `burst_s` where they are not zero. */
export type Limits = Record<(typeof LIMITS)[number], number>;

/** Seconds of its rate that a bucket holds, unless the configuration says otherwise: QEMU's, too. */
const BURST_S = 0.1;

/** The options: limits as an operator writes them, and whom they are shared with. */
export function throttleOptions(zod: typeof z) {
  const quantity = (parse: (text: string | number) => number | undefined, example: string, least: number) =>
    zod.union([zod.string(), zod.number()]).transform((text, context) => {
      const value = parse(text);
      if (value !== undefined && value >= least && value <= Number.MAX_SAFE_INTEGER) return value;
      context.addIssue(`${JSON.stringify(text)} is not what is expected: at least ${least}, such as ${example}`);
      return zod.NEVER;
    });
  const count = (least: number, example: string) => quantity((text) => Number(text), example, least).optional();
  const bytes = (least: number, example: string) => quantity(parseBytes, example, least).optional();
  return zod
    .strictObject({
      iops: count(0.1, '1000'),
      iops_read: count(0.1, '1000'),
      iops_write: count(0.1, '1000'),
      bps: bytes(512, '"50MiB"'),
      bps_read: bytes(512, '"50MiB"'),
      bps_write: bytes(512, '"50MiB"'),
      burst: quantity((text) => parseDuration(text), '"500ms"', 0).optional(),
      burst_requests: count(1, '500'),
      burst_bytes: bytes(512, '"10MiB"'),
      iops_size: bytes(512, '"16KiB"'),
      group: zod
        .string()
        .regex(/^[\w-]{1,63}$/, 'has letters, digits, - and _')
        .optional(),
    })
    .refine((written) => written.group !== undefined || RATES.some((rate) => written[rate] !== undefined), {
      message: `says no limit: ${RATES.join(', ')}; or \`group\`, whose limits another disk says`,
    });
}

export type ThrottleOptions = z.output<ReturnType<typeof throttleOptions>>;

/** Undefined if the options say none: those of the group hold then. */
export function limitsOf(options: ThrottleOptions): Limits | undefined {
  if (!LIMITS.some((key) => key !== 'burst_s' && options[key] !== undefined) && options.burst === undefined)
    return undefined;
  const { burst, ...rest } = options;
  const limits = Object.fromEntries(LIMITS.map((key) => [key, (rest as Partial<Limits>)[key] ?? 0])) as Limits;
  return { ...limits, burst_s: burst === undefined ? BURST_S : burst / 1e9 };
}

/** As options, which `limitsOf` reads; without those that are none. */
export function optionsOf({ burst_s: burst, ...limits }: Limits): Record<string, string | number> {
  const said = Object.entries(limits).filter(([, value]) => value !== 0);
  return { ...Object.fromEntries(said), burst: durationText(Math.round(burst * 1e9)) };
}

/** How much a bucket holds: requests or bytes. */
export function burstOf(limits: Limits, bucket: number): number {
  const ofRate = limits[RATES[bucket]!] * limits.burst_s;
  return Math.max(1, (bucket < OPERATION_RATES ? limits.burst_requests : limits.burst_bytes) || ofRate);
}
