/** Filters that the tests of changes under load put between a disk and its back end, as files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Last: counts what reaches the back end, and what was written before each flush. Queues write to places of their own. */
const LEDGER = `import { defineBlockFilter, RequestType } from 'sidecore/filter';

const FLUSHES_MAX = 2 ** 18;

export default defineBlockFilter({
  name: 'ledger',
  counters: ['requests', 'repeated'],
  sharedBytes: 4 * (1 + 2 * (1 + FLUSHES_MAX)),
  manage({ shared }) {
    const words = new Int32Array(shared);
    const flushes = () =>
      [0, 1].map((queue) => {
        const at = 1 + queue * (1 + FLUSHES_MAX);
        return [...words.subarray(at + 1, at + 1 + words[at])];
      });
    return { commands: { flushes } };
  },
  create({ shared, queue, counter, slots }) {
    const words = new Int32Array(shared);
    const at = 1 + queue * (1 + FLUSHES_MAX);
    const requests = counter('requests');
    const repeated = counter('repeated');
    const here = new Uint8Array(slots);
    return {
      submit(request, next) {
        requests.add(1);
        if (here[request.slot] === 1) repeated.add(1);
        here[request.slot] = 1;
        if (request.type === RequestType.FLUSH) {
          words[at + 1 + words[at]] = Atomics.load(words, 0);
          words[at]++;
        }
        next(request);
      },
      complete(request, status) {
        here[request.slot] = 0;
        if (request.type === RequestType.OUT && status === 0) Atomics.add(words, 0, 1);
        return status;
      },
    };
  },
});
`;

/** Throws if it sees a request once only: down, or up. */
const PASS = `import { defineBlockFilter } from 'sidecore/filter';

export default defineBlockFilter({
  name: 'pass',
  options: (z) => z.strictObject({ n: z.int().default(0), deep: z.strictObject({ a: z.int().default(1), b: z.int().default(2) }).prefault({}) }),
  create({ slots }) {
    const here = new Uint8Array(slots);
    return {
      submit(request, next) {
        if (here[request.slot] === 1) throw new Error('a request has not come back');
        here[request.slot] = 1;
        next(request);
      },
      complete(request, status) {
        if (here[request.slot] === 0) throw new Error('a request comes back that was not sent');
        here[request.slot] = 0;
        return status;
      },
    };
  },
});
`;

/** Keeps every nth request on its way down, and others on their way up, for a while. */
const DEFER = `import { DEFERRED, defineBlockFilter } from 'sidecore/filter';

/** Longer than the daemon takes from one message to a sidecore to the next. */
const KEPT_NS = 5e5;

export default defineBlockFilter({
  name: 'defer',
  options: (z) => z.strictObject({ every: z.int().min(1).default(3) }),
  defers: true,
  create({ options, goOn, finish, now, readNowNs }) {
    const { every } = options;
    const down: number[] = [];
    const up: number[] = [];
    const statuses: number[] = [];
    let count = 0;
    const dueNs = new Float64Array(1);
    const begin = () => {
      if (down.length + up.length > 0) return;
      readNowNs(dueNs, 0);
      dueNs[0] += KEPT_NS;
    };
    return {
      submit(request, next) {
        if (++count % every !== 0) return next(request);
        begin();
        down.push(request.defer());
      },
      complete(request, status) {
        if (++count % every !== 0) return status;
        begin();
        up.push(request.defer());
        statuses.push(status);
        return DEFERRED;
      },
      tick() {
        if (now[0] < dueNs[0]) return;
        while (down.length > 0) goOn(down.pop()!);
        while (up.length > 0) finish(up.pop()!, statuses.pop()!);
      },
    };
  },
});
`;

/** Keeps everything until it is told that it may go on; from then on it flushes by itself. */
const KEEP = `import { defineBlockFilter, RequestType } from 'sidecore/filter';

export default defineBlockFilter({
  name: 'keep',
  defers: true,
  sharedBytes: 4,
  manage({ shared }) {
    return { commands: { free: () => Atomics.store(new Int32Array(shared), 0, 1) } };
  },
  create({ goOn, finish, below, shared }) {
    const words = new Int32Array(shared);
    const kept: number[] = [];
    return {
      submit(request, next) {
        if (Atomics.load(words, 0) === 0) kept.push(request.defer());
        else if (request.type === RequestType.FLUSH) below.flush(request.defer());
        else next(request);
      },
      done(token, status) { finish(token, status); },
      tick() {
        if (Atomics.load(words, 0) === 1) for (const token of kept.splice(0)) goOn(token);
      },
    };
  },
});
`;

/** Holds its disk, and does not come to an end; or wants to hold it again meanwhile. */
const HOLD = `import { defineBlockFilter } from 'sidecore/filter';

export default defineBlockFilter({
  name: 'hold',
  manage({ hold }) {
    return {
      commands: {
        stuck: ({ seconds }) => hold(() => new Promise(() => {}), Number(seconds)),
        nested: () => hold(() => hold(() => 1)),
        good: () => hold(async () => 7),
      },
    };
  },
  create: () => ({ submit: (request, next) => next(request) }),
});
`;

/** Each gives the next one what it has counted, whatever that is called. */
const relay = (name: string) => `import { defineBlockFilter } from 'sidecore/filter';

export default defineBlockFilter({
  name: '${name}',
  counters: ['begun', 'seen'],
  create({ previous, counter }) {
    let count = (previous as { count: number } | undefined)?.count ?? 0;
    counter('begun').add(count);
    const seen = counter('seen');
    return {
      submit(request, next) { count++; seen.add(1); next(request); },
      handOver: () => ({ count }),
    };
  },
});
`;

const FILTERS = {
  ledger: LEDGER,
  pass: PASS,
  defer: DEFER,
  keep: KEEP,
  hold: HOLD,
  one: relay('one'),
  two: relay('two'),
} as const;

export type FilterFiles = Record<keyof typeof FILTERS, string>;

/** Writes all of them. Returns their paths. */
export function writeFilters(folder: string): FilterFiles {
  const files = Object.entries(FILTERS).map(([name, text]) => {
    const file = join(folder, `${name}.ts`);
    writeFileSync(file, text);
    return [name, file];
  });
  return Object.fromEntries(files);
}
