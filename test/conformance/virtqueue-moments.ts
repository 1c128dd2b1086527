/**
 * The device stopped in the middle of a call. A *moment* is just before or just after one of its atomic operations, or one
 * of its writes to the log of chains in flight: there a driver can step in, or the thread can die.
 */
type Operation = (...args: unknown[]) => unknown;

const OPERATIONS = ['load', 'store', 'exchange', 'compareExchange', 'add', 'sub', 'and', 'or', 'xor'] as const;
const atomics = Atomics as unknown as Record<string, Operation>;

let current: (() => void) | undefined;

function pass(): void {
  const moment = current;
  if (moment === undefined) return;
  // What happens at a moment is not the device's doing and has no moments itself.
  current = undefined;
  try {
    moment();
  } finally {
    current = moment;
  }
}

/** Calls `moment` at each moment of `run`. */
export function atMoments<T>(moment: () => void, run: () => T): T {
  const originals = OPERATIONS.map((name) => atomics[name]!);
  OPERATIONS.forEach((name, i) => {
    atomics[name] = (...args) => {
      pass();
      const result = originals[i]!.apply(Atomics, args);
      pass();
      return result;
    };
  });
  current = moment;
  try {
    return run();
  } finally {
    current = undefined;
    OPERATIONS.forEach((name, i) => {
      atomics[name] = originals[i]!;
    });
  }
}

/** Log memory whose every write is surrounded by moments. */
export function watchedWords(words: Int32Array): Int32Array {
  return new Proxy(words, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, key, value) {
      pass();
      const done = Reflect.set(target, key, value, target);
      pass();
      return done;
    },
  });
}

class Death extends Error {}

/** Runs until the moment of that number and dies there. The result, or undefined if it died. */
export function dyingAt<T>(moment: number, run: () => T): T | undefined {
  let left = moment;
  try {
    return atMoments(() => {
      if (left-- === 0) throw new Death();
    }, run);
  } catch (error) {
    if (error instanceof Death) return undefined;
    throw error;
  }
}

/** How many moments a call has. */
export function countMoments(run: () => void): number {
  let count = 0;
  atMoments(() => count++, run);
  return count;
}

/** All ways to place `steps` steps, in order, at the places 0 … `places` - 1. */
export function* placements(steps: number, places: number, from = 0): Generator<number[]> {
  if (steps === 0) {
    yield [];
    return;
  }
  for (let place = from; place < places; place++) {
    for (const rest of placements(steps - 1, places, place)) yield [place, ...rest];
  }
}

/**
 * Runs the device's call, and the driver's steps at the places given: place 0 is before the call, the last is after it,
 * those between are its moments.
 */
export function interleave<D, R>(
  device: () => D,
  driver: Generator<void, R>,
  placement: readonly number[],
): { device: D; driver: R } {
  let result: IteratorResult<void, R> | undefined;
  let place = 0;
  let taken = 0;
  const step = () => {
    while (taken < placement.length && placement[taken]! <= place) {
      result = driver.next();
      taken++;
    }
    place++;
  };
  step();
  const answer = atMoments(step, device);
  place = Number.POSITIVE_INFINITY;
  step();
  if (result?.done !== true) throw new Error('the placement has not as many places as the driver has steps');
  return { device: answer, driver: result.value };
}
