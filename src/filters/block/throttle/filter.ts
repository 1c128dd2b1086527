import { SidecoreError } from '../../../errors.js';
import { defineBlockFilter } from '../../../filter/index.js';
import { THROTTLE_LINES_MAX } from '../../../limits.js';
import { Budget } from './budget.js';
import { LIMITS, type Limits, limitsOf, optionsOf, throttleOptions } from './limits.js';
import { LINES, ThrottledQueue } from './queue.js';

/**
 * Limits requests and bytes per second: of one disk, or of a group of disks together, fairly. What is over the budget waits its turn.
 */
export const throttle = defineBlockFilter({
  name: 'throttle',
  options: throttleOptions,
  defers: true,
  // Requests wait as long as the limits make them.
  deferSeconds: () => Number.POSITIVE_INFINITY,
  counters: ['passed', 'deferred'],
  histograms: ['waited_ns'],
  sharedBytes: ({ options, queues }) => (options.group === undefined ? Budget.bytesFor(queues * LINES) : 0),
  group: ({ group }) => group,
  groupBytes: Budget.bytesFor(THROTTLE_LINES_MAX),
  manage({ options, queues, shared, group, log }) {
    const budget = new Budget(options.group === undefined ? shared : group);
    const lines = queues * LINES;
    const isFirst = budget.waiting === 0 && budget.limits === undefined;
    // Of a disk by itself, whoever takes this one's place has the same lines.
    const first = options.group === undefined && !isFirst ? 0 : budget.join(lines);
    if (first === undefined)
      throw new SidecoreError('FILTER_INVALID', `the throttle group ${options.group} has no room for ${queues} queues`);
    const said = limitsOf(options);
    const before = budget.limits;
    if (said !== undefined) {
      const differs = before !== undefined && LIMITS.some((key) => before[key] !== said[key]);
      if (differs && options.group !== undefined)
        log(`the throttle group ${options.group} has other limits from now on`);
      if (before === undefined || differs) budget.limits = said;
    }
    return {
      prepared: { first },
      commands: {
        set: async (given) => {
          budget.limits = await changed(budget.limits, given);
          return shown(budget);
        },
        show: () => shown(budget),
      },
      status: () => ({ group: options.group ?? null, ...shown(budget) }),
      close() {
        if (options.group !== undefined) budget.leave(first, lines);
      },
    };
  },
  create(context) {
    const { options, prepared, shared, group, queue } = context;
    const budget = new Budget(options.group === undefined ? shared : group);
    const throttled = new ThrottledQueue(context, budget, prepared.first + queue * LINES);
    return {
      submit: (request, next) => throttled.submit(request, next),
      tick: () => throttled.tick(),
      hurry: () => throttled.hurry(),
      close: () => throttled.close(),
    };
  },
});

function shown(budget: Budget) {
  const { limits } = budget;
  return { limits: limits === undefined ? {} : optionsOf(limits), lines_waiting: budget.waiting };
}

/** Limits with what an operator has said: `none` takes one away. Throws what is wrong with it. */
async function changed(limits: Limits | undefined, given: Readonly<Record<string, string>>): Promise<Limits> {
  // On the main thread only: sidecores need no schemas.
  const { readOptions } = await import('../../../filter/load.js');
  const { group, ...rest } = given;
  if (group !== undefined || Object.keys(rest).length === 0)
    throw new SidecoreError('CONFIG_INVALID', 'set limits, such as iops=1000 or bps=none');
  const options: Record<string, string | number> = limits === undefined ? {} : optionsOf(limits);
  for (const [key, value] of Object.entries(rest)) {
    if (value === 'none' || value === '0') delete options[key];
    else options[key] = value;
  }
  // Without any limit there is still a budget.
  const read = readOptions(throttle, { ...options, group: 'any' });
  if ('faults' in read) {
    const { keys, text } = read.faults[0]!;
    throw new SidecoreError('CONFIG_INVALID', [...keys, text].join(': '));
  }
  const next = limitsOf(read.options as Parameters<typeof limitsOf>[0]);
  if (next === undefined) throw new SidecoreError('CONFIG_INVALID', 'there are no limits that could be taken away');
  return next;
}
