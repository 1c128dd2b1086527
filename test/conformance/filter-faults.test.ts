/** What filters may do wrong, or unluckily, and what must not come of it: requests lost, threads that die, holds that never end. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { RequestType, SECTOR_BYTES, Status } from '../../src/block/features.js';
import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer, Next } from '../../src/filter/contract.js';
import { defineBlockFilter } from '../../src/filter/index.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../../src/limits.js';
import { FilterRig, type RigFilter } from '../support/filter-rig.js';

const DISK_BYTES = 2 ** 20;
const DATA = Buffer.alloc(SECTOR_BYTES, 7);

const start = (test: TestContext, filters: readonly RigFilter[], queues = 1) =>
  new FilterRig(test, { filters, queues, backend: { type: 'memory', size: DISK_BYTES } });

const faultOf = (rig: FilterRig, index = 0) => rig.filters.opened[index]!.memory.faultNote.look() ?? '';

/** A filter with only this in it. */
const having = (create: (context: BlockFilterContext) => BlockFilterHooks, name = 'having') =>
  defineBlockFilter({ name, defers: true, create });

/** Keeps requests, and does for each a write of its own before it goes on. */
const writesFirst = (name: string, keepsTurns = 0) =>
  having((context) => {
    const buffer = context.buffers(1, SECTOR_BYTES).take()!;
    const waiting: { token: number; turns: number }[] = [];
    return {
      submit: (request) => void waiting.push({ token: request.defer(), turns: keepsTurns }),
      tick() {
        for (const one of waiting) if (one.turns-- === 0) context.below.write(buffer, 100, SECTOR_BYTES, one.token);
      },
      done(tag) {
        waiting.splice(
          waiting.findIndex(({ token }) => token === tag),
          1,
        );
        context.goOn(tag);
      },
    };
  }, name);

describe('requests that a filter keeps', () => {
  it('go their way when it fails on another queue, however many come meanwhile', async (test) => {
    const keeps = having((context) => ({
      submit(request, next) {
        if (request.type === RequestType.FLUSH) throw new Error('no');
        if (context.queue === 0 && request.sector === 1) request.defer();
        else next(request);
      },
    }));
    const rig = start(test, [{ definition: keeps, onFault: 'open' }], 2);
    const kept = rig.begin(RequestType.OUT, 1, DATA);
    assert.equal(await rig.flush({ queue: 1 }), Status.OK);
    // The queue sees that something has changed with this one.
    assert.equal(await rig.write(2, DATA), Status.OK);
    for (let i = 0; i < 10; i++) rig.queues[0]!.turn();
    assert.equal(kept.status, Status.OK);
  });

  it('come to their end while the disk is held, with operations of the filter’s own', async (test) => {
    const background = having((context) => {
      const buffer = context.buffers(1, SECTOR_BYTES).take()!;
      let writes = 0;
      const write = () => context.below.write(buffer, 50, SECTOR_BYTES, 0);
      return {
        submit(request, next) {
          if (writes++ === 0) write();
          next(request);
        },
        done: write,
      };
    }, 'background');
    const rig = start(test, [{ definition: background }, { definition: writesFirst('writes-first', 2) }]);
    await rig.write(0, DATA);
    for (let round = 0; round < 20; round++) {
      rig.queues[0]!.turn();
      let isHeld = false;
      await rig.hold(() => {
        isHeld = true;
        assert.equal(rig.queues[0]!.chain.walk.operations.inFlight, 0);
      });
      assert.ok(isHeld);
    }
    assert.equal(faultOf(rig, 0) + faultOf(rig, 1), '');
  });
});

describe('operations', () => {
  it('that are begun while a filter is made go through the filters below it', async (test) => {
    const seen: number[] = [];
    const early = having((context) => {
      const buffer = context.buffers(1, SECTOR_BYTES).take()!;
      buffer.bytes.fill(3);
      context.below.write(buffer, 5, SECTOR_BYTES, 1);
      return { submit: (request, next) => next(request) };
    }, 'early');
    const sees = having(
      () => ({
        submit(request, next) {
          seen.push(request.sector);
          next(request);
        },
      }),
      'sees',
    );
    const rig = start(test, [{ definition: early }, { definition: sees }]);
    rig.queues[0]!.turn();
    assert.deepEqual(seen, [5]);
    assert.equal((await rig.read(5, SECTOR_BYTES))[0], 3);
  });

  const BAD: Record<string, (context: BlockFilterContext, buffer: IoBuffer) => void> = {
    'half a sector': ({ below }, buffer) => below.read(buffer, 0.001, SECTOR_BYTES, 0),
    'half a byte': ({ below }, buffer) => below.read(buffer, 0, SECTOR_BYTES, 0, 0.5),
    'no buffer': ({ below }) => below.read(undefined as unknown as IoBuffer, 0, SECTOR_BYTES, 0),
    'a buffer of another kind': ({ below }) =>
      below.read({ index: 0, bytes: Buffer.alloc(4096), address: 4096 }, 0, SECTOR_BYTES, 0),
    'no number': ({ below }, buffer) => below.write(buffer, Number.NaN, SECTOR_BYTES, 0),
    'a tag that is no number, to the helper': ({ helper }) => helper.ask(1, undefined, 1n as unknown as number),
    'memory of another kind, to the helper': ({ helper }) =>
      helper.ask(1, { index: 0, bytes: Buffer.alloc(8), address: 8 }, 1),
  };
  for (const [what, act] of Object.entries(BAD))
    it(`that cannot be are the filter’s fault, and nobody waits for them: ${what}`, async (test) => {
      const definition = defineBlockFilter({
        name: 'bad',
        defers: true,
        helper: () => ({ handle: () => 0 }),
        create(context) {
          const buffer = context.buffers(1, 4096).take()!;
          return {
            submit(request, next) {
              // As while a disk is held: it would be begun in a turn of nobody's.
              const { operations } = rig.queues[0]!.chain.walk;
              operations.paused = true;
              act(context as BlockFilterContext, buffer);
              next(request);
            },
          };
        },
      });
      const rig: FilterRig = start(test, [{ definition, onFault: 'open' }]);
      assert.equal(await rig.write(0, DATA), Status.OK);
      assert.match(faultOf(rig), /./);
      rig.queues[0]!.chain.walk.operations.paused = false;
      for (let i = 0; i < 3; i++) rig.queues[0]!.turn();
      assert.ok(rig.queues[0]!.chain.quiesce(), 'something is in flight for ever');
    });

  it('of more sectors than a request can have are refused', async (test) => {
    const huge = having((context) => ({
      submit(request, next) {
        context.below.discard(0, 2 ** 32 + 8, 0);
        next(request);
      },
    }));
    const rig = new FilterRig(test, { filters: [{ definition: huge }], backend: { type: 'null', size: 2 ** 42 } });
    assert.equal(await rig.write(0, DATA), Status.IOERR);
    assert.match(faultOf(rig), /more than one operation can have/);
  });

  it('leave half of the pool to other queues', async (test) => {
    const greedy = having((context) => {
      const buffer = context.buffers(1, SECTOR_BYTES).take()!;
      return {
        submit(request, next) {
          for (let i = 0; i < 500; i++) context.below.read(buffer, 0, SECTOR_BYTES, i);
          next(request);
        },
      };
    }, 'greedy');
    const keeps = having(() => ({ submit: (request) => void request.defer() }), 'keeps');
    const rig = start(test, [{ definition: greedy }, { definition: keeps }]);
    const { pool, chain } = rig.queues[0]!;
    // Others have all but the reserve, less a few.
    const taken = Array.from({ length: REQUESTS_IN_FLIGHT_MAX / 2 - 10 }, () => pool.take(0)!);
    rig.begin(RequestType.OUT, 0, DATA);
    assert.ok(chain.walk.operations.inFlight <= 10, `${chain.walk.operations.inFlight} in flight`);
    for (const request of taken) pool.giveBack(request);
    // What is kept ends with the filter that keeps it for too long.
    rig.pass(31e9);
  });

  it('that follow one another leave the thread time for others', async (test) => {
    let writes = 0;
    const copies = having((context) => {
      const buffer = context.buffers(1, SECTOR_BYTES).take()!;
      const write = () => {
        if (writes++ < 10_000) context.below.write(buffer, 50, SECTOR_BYTES, 0);
      };
      return {
        submit(request, next) {
          if (writes === 0) write();
          next(request);
        },
        done: write,
      };
    });
    const rig = start(test, [{ definition: copies }]);
    rig.begin(RequestType.OUT, 0, DATA);
    rig.queues[0]!.turn();
    assert.ok(writes > 1 && writes < 200, `${writes} writes in a turn`);
    await rig.until(() => writes > 10_000);
  });
});

describe('a filter that goes', () => {
  it('is closed, though it was not told yet of what has ended, and is told of nothing any more', async (test) => {
    const told: string[] = [];
    const definition = having((context) => {
      const buffer = context.buffers(1, SECTOR_BYTES).take()!;
      return {
        complete(_request, status) {
          context.below.write(buffer, 50, SECTOR_BYTES, 0);
          return status;
        },
        done: () => void told.push('done'),
        close: () => void told.push('close'),
      };
    });
    const rig = start(test, [{ definition }]);
    const { chain } = rig.queues[0]!;
    const request = rig.begin(RequestType.OUT, 0, DATA);
    assert.equal(request.status, Status.OK);
    assert.equal(chain.quiesce(), false);
    rig.queues[0]!.turn();
    assert.equal(chain.quiesce(), true);
    assert.deepEqual(told, ['done']);
    // As if nobody had waited.
    chain.resume();
    rig.begin(RequestType.OUT, 0, DATA);
    chain.filters = [];
    for (let i = 0; i < 3; i++) rig.queues[0]!.turn();
    assert.deepEqual(told, ['done', 'close']);
  });

  it('has its helper closed at once, and one that throws then harms no other', async (test) => {
    const closed: string[] = [];
    const definition = defineBlockFilter({
      name: 'helped',
      helper: () => ({
        handle: () => 0,
        close() {
          closed.push('helper');
          throw new Error('not now');
        },
      }),
      create: () => ({ submit: (request, next) => next(request) }),
    });
    const rig = start(test, [{ definition }]);
    const opened = rig.filters.opened[0]!;
    await rig.change([]);
    rig.queues[0]!.turn();
    assert.deepEqual(closed, ['helper']);
    assert.match(opened.memory.logNote.look()!, /not now/);
  });
});

describe('what filters give and throw', () => {
  const thrown = (message: unknown) => Object.defineProperty(new Error('x'), 'message', { value: message });
  const THROWN: Record<string, unknown> = {
    'a message that is no text': thrown(42),
    'a message that cannot be text': thrown(Symbol('s')),
    'a message that throws': thrown({
      toString() {
        throw new Error('again');
      },
    }),
    nothing: undefined,
    'an object without a prototype': Object.create(null),
  };
  for (const [what, error] of Object.entries(THROWN))
    it(`ends with the filter: ${what}`, async (test) => {
      const throws = having(() => ({
        submit() {
          throw error;
        },
      }));
      const rig = start(test, [{ definition: throws }]);
      assert.equal(await rig.write(0, DATA), Status.IOERR);
      assert.match(faultOf(rig), /./);
    });

  it('marks the filter while what it has thrown is looked at', async (test) => {
    const marks: number[] = [];
    const throws = having(() => ({
      submit() {
        const error = new Error('x');
        throw Object.defineProperty(error, 'message', {
          get() {
            marks.push(rig.queues[0]!.filterMark[0]!);
            return 'seen';
          },
        });
      },
    }));
    const rig: FilterRig = start(test, [{ definition: throws }]);
    assert.equal(await rig.write(0, DATA), Status.IOERR);
    assert.deepEqual([...new Set(marks)], [rig.filters.opened[0]!.spec.id]);
    assert.equal(rig.queues[0]!.filterMark[0], 0);
  });

  it('is logged as text, and logging goes on', async (test) => {
    const logs = having((context) => ({
      submit(request, next) {
        context.log(42 as unknown as string);
        next(request);
      },
    }));
    const rig = start(test, [{ definition: logs }]);
    const { logNote } = rig.filters.opened[0]!.memory;
    assert.equal(await rig.write(0, DATA), Status.OK);
    assert.equal(logNote.look(), '42');
    assert.equal(await rig.write(0, DATA), Status.OK);
    assert.equal(logNote.look(), '42');
  });

  for (const name of ['submit', 'complete', 'tick'] as const)
    it(`may be hooks that throw when they are looked at, and harms nobody else: ${name}`, async (test) => {
      const plain: Record<string, unknown> = {
        submit: (request: FilterRequest, next: Next) => next(request),
        complete: (_: FilterRequest, status: number) => status,
        tick() {},
      };
      for (let nth = 1; nth < 300; nth += nth < 8 ? 1 : 37) {
        let looks = 0;
        const odd = having((context) => {
          context.wakeAt(0);
          const get = () => {
            if (++looks === nth) throw new Error('do not look');
            return plain[name];
          };
          return Object.defineProperty({ submit: plain.submit } as BlockFilterHooks, name, { get });
        });
        const rig = start(test, [{ definition: odd, onFault: 'open' }]);
        const { chain } = rig.queues[0]!;
        for (let i = 0; i < 100; i++) {
          // Also when they are put together anew.
          chain.filters = [...chain.filters];
          assert.equal(await rig.write(0, DATA), Status.OK);
          rig.queues[0]!.turn();
        }
      }
    });

  it('may be a throw of `settled`', async (test) => {
    const odd = having(() => ({
      submit: (request, next) => next(request),
      settled() {
        throw new Error('never');
      },
    }));
    const rig = start(test, [{ definition: odd, onFault: 'open' }]);
    await rig.hold(() => {});
    assert.match(faultOf(rig), /never/);
    assert.equal(await rig.write(0, DATA), Status.OK);
  });

  it('may be a status that cannot be text', async (test) => {
    const odd = having(() => ({ complete: () => Object.create(null) as number }));
    const rig = start(test, [{ definition: odd }]);
    assert.equal(await rig.write(0, DATA), Status.IOERR);
    assert.match(faultOf(rig), /returned no number, which is no status/);
  });

  it('are no ways around the limit of buffers', async (test) => {
    const tries: string[] = [];
    const more = having((context) => {
      const attempt = (count: number, bytes: number) => {
        try {
          context.buffers(count, bytes);
          tries.push('had');
        } catch {
          tries.push('refused');
        }
      };
      attempt(Number.NaN, 1);
      attempt(-(2 ** 30), 4096);
      attempt(1, 0.5);
      attempt(2 ** 14, 1);
      attempt(1, 1);
      return { submit: (request, next) => next(request) };
    });
    start(test, [{ definition: more }]);
    assert.deepEqual(tries, ['refused', 'refused', 'refused', 'had', 'refused']);
  });

  it('is its own fault when it hands over its state', async (test) => {
    const marks: number[] = [];
    const hands = having(() => ({
      submit: (request, next) => next(request),
      handOver() {
        marks.push(rig.queues[0]!.filterMark[0]!);
      },
    }));
    const rig: FilterRig = start(test, [{ definition: hands }]);
    await rig.change([{ ready: rig.ready({ definition: hands }), old: rig.filters.opened[0]! }]);
    assert.deepEqual(marks, [-rig.filters.opened[0]!.spec.id]);
  });
});
