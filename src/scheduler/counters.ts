/**
 * What a scheduler counts of a queue, by slot; the first of its counters in shared memory. The authors of the paper kept the same.
 * Time is that of serving the queue, ns.
 */
export const ScheduleCounter = {
  /** Looks at the queue, most of which find nothing. */
  POLLS: 0,
  /** Turns that found something to do. */
  BATCHES: 1,
  /** Bytes moved or covered by what was served, and the work that came of it counted as such. */
  BYTES: 2,
  TIME_NS: 3,
  /** Turns that it was given out of its order, because it had waited with few items that stopped growing. */
  STUCK: 4,
  /** The longest that it was seen to wait, ns: from the first look that found what waits to its turn. */
  WAIT_MAX_NS: 5,
  /** Turns that ended because of a budget, and not because nothing was left. */
  LIMITED: 6,
} as const;

export const SCHEDULE_COUNTERS = Object.keys(ScheduleCounter).length;
