import { z } from 'zod';
import { POLICIES, SCHEDULER_DEFAULTS, type SchedulerOptions } from '../scheduler/policy.js';

const NS_PER_US = 1000;

const DEFAULT = SCHEDULER_DEFAULTS;

/** `docs/scheduler.md` says what the keys do, and how the defaults were found. */
export const scheduler = z
  .strictObject({
    policy: z.enum(POLICIES).default(DEFAULT.policy),
    quantum_us: z
      .number()
      .min(1)
      .max(10_000)
      .default(DEFAULT.quantumNs / NS_PER_US),
    min_bytes: z.int().min(0).default(DEFAULT.minBytes),
    max_bytes: z.int().min(1).default(DEFAULT.maxBytes),
    stuck_us: z
      .number()
      .min(0)
      .max(10_000)
      .default(DEFAULT.stuckNs / NS_PER_US),
    stuck_items: z.int().min(1).max(32_768).default(DEFAULT.stuckItems),
    notified_us: z
      .number()
      .min(0)
      .max(10_000)
      .default(DEFAULT.notifiedNs / NS_PER_US),
  })
  .prefault({});

export type SchedulerConfig = z.output<typeof scheduler>;

/** The same as a scheduler takes it. */
export function schedulerOptions(config: SchedulerConfig): SchedulerOptions {
  return {
    policy: config.policy,
    quantumNs: config.quantum_us * NS_PER_US,
    minBytes: config.min_bytes,
    maxBytes: config.max_bytes,
    stuckNs: config.stuck_us * NS_PER_US,
    stuckItems: config.stuck_items,
    notifiedNs: config.notified_us * NS_PER_US,
  };
}
