import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  chainOf,
  passThrough,
  Service,
  type TestFilter,
  TestHost,
  testFilter,
} from '../../test/support/filter-chain.js';
import { PENDING, StubBackend } from '../../test/support/stub-backend.js';
import { MORE } from '../block/backends/backend.js';
import { RequestType, Status } from '../block/features.js';
import { BlockRequest, type RequestOwner } from '../block/request.js';
import type { FilterChain } from './chain.js';
import type { BlockFilterHooks, FilterRequest } from './contract.js';
import { ChainControl } from './memory.js';

/** A queue that takes completions. */
class Owner implements RequestOwner {
  readonly backend: FilterChain;
  readonly done: { request: BlockRequest; status: number }[] = [];

  constructor(chain: FilterChain) {
    this.backend = chain;
  }

  complete(request: BlockRequest, status: number): void {
    this.done.push({ request, status });
  }
}

let slots = 0;

function newRequest(type: number = RequestType.IN): BlockRequest {
  const request = new BlockRequest(slots++ % 100);
  request.type = type;
  request.sector = 8;
  return request;
}

/** Notes what is asked of it. */
function noting(name: string, notes: string[], change: BlockFilterHooks = {}): BlockFilterHooks {
  return {
    submit(request, next) {
      notes.push(`${name} down`);
      if (change.submit) change.submit(request, next);
      else next(request);
    },
    complete(request, status) {
      notes.push(`${name} up ${status}`);
      return change.complete ? change.complete(request, status) : status;
    },
  };
}

function start(filters: readonly TestFilter[], control = new ChainControl()) {
  const backend = new StubBackend();
  const chain = chainOf(filters, backend, control);
  const owner = new Owner(chain);
  const read = (request = newRequest()) => {
    request.queue = owner;
    return chain.read(request);
  };
  return { backend, chain, owner, read };
}

const boom = () => {
  throw new Error('boom');
};

describe('a chain of filters', () => {
  it('asks them in order on the way down, and the other way round on the way up', () => {
    const notes: string[] = [];
    const { backend, read } = start(['a', 'b', 'c'].map((name) => testFilter(noting(name, notes))));
    assert.equal(read(), Status.OK);
    assert.equal(backend.asked.length, 1);
    assert.deepEqual(notes, ['a down', 'b down', 'c down', 'c up 0', 'b up 0', 'a up 0']);
  });

  it('gives each kind of request to the back end as what it is', () => {
    const { backend, chain, owner } = start([testFilter(passThrough())]);
    const kinds = [
      ['read', RequestType.IN],
      ['write', RequestType.OUT],
      ['flush', RequestType.FLUSH],
      ['discard', RequestType.DISCARD],
      ['writeZeroes', RequestType.WRITE_ZEROES],
      ['secureErase', RequestType.SECURE_ERASE],
    ] as const;
    for (const [kind, type] of kinds) {
      const request = newRequest(type);
      request.queue = owner;
      assert.equal(chain[kind](request), Status.OK);
    }
    assert.deepEqual(
      backend.asked.map(({ what }) => what),
      kinds.map(([kind]) => kind),
    );
  });

  it('ends a request where a filter does, and goes up from there', () => {
    const notes: string[] = [];
    const ends = noting('b', notes, { submit: (request) => request.complete(Status.UNSUPP) });
    const filters = [noting('a', notes), ends, noting('c', notes)].map((hooks) => testFilter(hooks));
    const { backend, read } = start(filters);
    assert.equal(read(), Status.UNSUPP);
    assert.equal(backend.asked.length, 0);
    assert.deepEqual(notes, ['a down', 'b down', 'a up 2']);
    assert.deepEqual(filters[1]!.memory.faults, []);
  });

  it('lets filters change the status on the way up', () => {
    const notes: string[] = [];
    const filters = [
      noting('a', notes),
      noting('b', notes, { complete: (_, status) => (status === Status.OK ? Status.IOERR : Status.OK) }),
      noting('c', notes),
    ];
    const { backend, read } = start(filters.map((hooks) => testFilter(hooks)));
    assert.equal(read(), Status.IOERR);
    backend.answer = Status.UNSUPP;
    assert.equal(read(), Status.OK);
    assert.deepEqual(
      notes.filter((note) => note.includes('up')),
      ['c up 0', 'b up 0', 'a up 1', 'c up 2', 'b up 2', 'a up 0'],
    );
  });

  it('goes up once when the back end answers later, and then to the queue', () => {
    const notes: string[] = [];
    const { backend, owner, read } = start(['a', 'b'].map((name) => testFilter(noting(name, notes))));
    backend.answer = PENDING;
    const requests = [newRequest(), newRequest(), newRequest()];
    for (const request of requests) assert.equal(read(request), PENDING);
    assert.deepEqual(notes, ['a down', 'b down', 'a down', 'b down', 'a down', 'b down']);
    notes.length = 0;
    for (const at of [1, 0, 2]) {
      const request = requests[at]!;
      assert.equal(request.queue!.backend, backend, 'the kernel’s answers go to the back end at once');
      request.queue!.complete(request, at === 0 ? Status.IOERR : Status.OK);
    }
    assert.deepEqual(notes, ['b up 0', 'a up 0', 'b up 1', 'a up 1', 'b up 0', 'a up 0']);
    assert.deepEqual(owner.done, [
      { request: requests[1], status: Status.OK },
      { request: requests[0], status: Status.IOERR },
      { request: requests[2], status: Status.OK },
    ]);
    for (const request of requests) assert.equal(request.queue, owner);
  });

  it('goes up once when a request that was done in pieces is at its end', () => {
    const notes: string[] = [];
    const { backend, chain, read } = start(['a', 'b'].map((name) => testFilter(noting(name, notes))));
    backend.answer = MORE;
    const request = newRequest();
    assert.equal(read(request), MORE);
    const answers = [MORE, MORE, Status.OK];
    Object.assign(backend, { proceed: () => answers.shift() });
    assert.deepEqual([chain.proceed(request), chain.proceed(request), chain.proceed(request)], [MORE, MORE, Status.OK]);
    assert.deepEqual(notes, ['a down', 'b down', 'b up 0', 'a up 0']);
  });

  it('goes up once, too, if the last piece completes later; also of a request that a filter had kept', () => {
    const notes: string[] = [];
    const tokens: number[] = [];
    const keeper = noting('b', notes, { submit: (request) => void tokens.push(request.defer()) });
    for (const middle of [testFilter(noting('b', notes)), testFilter(keeper, 'closed', undefined, { defers: true })]) {
      const host = new TestHost();
      const backend = new StubBackend();
      const chain = chainOf([testFilter(noting('a', notes)), middle], backend, new ChainControl(), host);
      const owner = new Owner(chain);
      const request = host.pool.take(0)!;
      const answers = [MORE, PENDING];
      Object.assign(backend, { answer: MORE, proceed: () => answers.shift() });
      Object.assign(request, { queue: owner, type: RequestType.IN, sector: 8 });
      const answer = chain.read(request);
      if (middle.defers) {
        assert.equal(answer, PENDING);
        chain.walk.goOn(chain.filters[1]!, tokens.pop()!);
        for (let i = 0; i < 4; i++) chain.turn();
      } else assert.deepEqual([answer, chain.proceed(request), chain.proceed(request)], [MORE, MORE, PENDING]);
      assert.deepEqual([answers, notes.splice(0), owner.done], [[], ['a down', 'b down'], []]);
      request.queue!.complete(request, Status.IOERR);
      assert.deepEqual(notes.splice(0), ['b up 1', 'a up 1']);
      assert.deepEqual(owner.done, [{ request, status: Status.IOERR }]);
      assert.equal(request.queue, owner);
    }
  });

  it('closes its filters and its back end', () => {
    const closed: string[] = [];
    const filter = (name: string, then = () => {}): TestFilter =>
      testFilter({
        ...passThrough(),
        close() {
          closed.push(name);
          then();
        },
      });
    const filters = [filter('a', boom), filter('b')];
    const { backend, chain } = start(filters);
    chain.close();
    assert.deepEqual(closed, ['a', 'b']);
    const [{ faults, out }] = [filters[0]!.memory];
    assert.match(faults.join(), /^close\(\) has thrown: boom/);
    assert.equal(out, false, 'what takes its place may have its memory');
    assert.equal(backend.closed, 1);
  });

  it('shows filters a request as it is', () => {
    const seen: unknown[] = [];
    const see = (request: FilterRequest) => {
      const { type, sector, bytes, durable, segmentCount, rangeCount } = request;
      const ranges = Array.from({ length: rangeCount }, (_, i) => [
        request.rangeSector(i),
        request.rangeSectors(i),
        request.rangeUnmap(i),
      ]);
      const segments = Array.from({ length: segmentCount }, (_, i) => ({ ...request.segment(i) }));
      assert.throws(() => request.segment(segmentCount), RangeError);
      seen.push({ type, sector, bytes, durable, segments, ranges });
    };
    const { chain, owner } = start([
      testFilter({
        submit(request, next) {
          see(request);
          next(request);
        },
      }),
    ]);
    const memory = Buffer.from('guest memory');
    const request = newRequest(RequestType.OUT);
    Object.assign(request, {
      queue: owner,
      memory: { bytes: [memory] },
      dataBytes: 5,
      first: 1,
      end: 3,
      durable: true,
    });
    request.rangeCount = 1;
    request.chain.segments.push(0, 0, 1);
    request.chain.segments.push(0, 1, 2);
    request.chain.segments.push(0, 6, 3);
    request.chain.segments.push(0, 11, 1);
    chain.write(request);
    request.type = RequestType.WRITE_ZEROES;
    request.rangeSector[0] = 7;
    request.rangeSectors[0] = 2;
    request.rangeUnmap[0] = 1;
    chain.writeZeroes(request);
    request.type = RequestType.FLUSH;
    chain.flush(request);
    const segments = [
      { bytes: memory, offset: 1, length: 2 },
      { bytes: memory, offset: 6, length: 3 },
    ];
    assert.deepEqual(seen, [
      { type: RequestType.OUT, sector: 8, bytes: 5, durable: true, segments, ranges: [] },
      { type: RequestType.WRITE_ZEROES, sector: 8, bytes: 1024, durable: true, segments: [], ranges: [[7, 2, true]] },
      { type: RequestType.FLUSH, sector: 8, bytes: 0, durable: true, segments: [], ranges: [] },
    ]);
  });
});

describe('a filter that is at fault', () => {
  const later = (hooks: BlockFilterHooks, after: number): BlockFilterHooks => {
    let count = 0;
    return {
      submit(request, next) {
        if (++count > after && hooks.submit) hooks.submit(request, next);
        else next(request);
      },
      complete: (request, status) => (count > after && hooks.complete ? hooks.complete(request, status) : status),
    };
  };
  const FAULTS: Record<string, { hooks: BlockFilterHooks; says: RegExp }> = {
    'throws on the way down': { hooks: { submit: boom }, says: /^boom$/ },
    'passes on and throws': {
      hooks: {
        submit(request, next) {
          next(request);
          boom();
        },
      },
      says: /^boom$/,
    },
    'passes on twice': {
      hooks: {
        submit(request, next) {
          next(request);
          next(request);
        },
      },
      says: /not this filter’s to pass on/,
    },
    'passes on and ends it': {
      hooks: {
        submit(request, next) {
          next(request);
          request.complete(Status.OK);
        },
      },
      says: /not this filter’s to pass on/,
    },
    'says nothing': { hooks: { submit() {} }, says: /neither passed the request on, nor kept it, nor ended it/ },
    'ends it with what is no status': { hooks: { submit: (request) => request.complete(7) }, says: /^7 is no status$/ },
    'ends it with a text': {
      hooks: { submit: (request) => request.complete('0' as unknown as number) },
      says: /^0 is no status$/,
    },
    'throws on the way up': { hooks: { complete: boom }, says: /^boom$/ },
    'gives no status': {
      hooks: { complete: () => undefined as unknown as number },
      says: /undefined, which is no status/,
    },
    'gives another number': { hooks: { complete: () => PENDING }, says: /-1, which is no status/ },
    'ends it on the way up': {
      hooks: {
        complete(request, status) {
          request.complete(Status.OK);
          return status;
        },
      },
      says: /not this filter’s to pass on/,
    },
    'throws what is no error': {
      hooks: {
        submit() {
          throw { toString: boom };
        },
      },
      says: /^it threw what cannot be shown$/,
    },
  };

  it('says that a promise is nothing that is waited for', () => {
    const bad = testFilter({ async submit() {} });
    const { read } = start([bad]);
    assert.equal(read(newRequest()), Status.IOERR);
    assert.match(
      bad.memory.faults[0]!,
      /submit\(\) is async: it returns a promise, which nothing on a sidecore waits for/,
    );
  });

  for (const [what, { hooks, says }] of Object.entries(FAULTS)) {
    for (const onFault of ['closed', 'open'] as const) {
      for (const answer of [Status.OK, PENDING, MORE]) {
        it(`${what}, ${onFault}, answer ${answer}: only that request suffers, and it is out of service`, () => {
          const notes: string[] = [];
          const bad = testFilter(later(hooks, 1), onFault);
          const filters = [testFilter(noting('a', notes)), bad, testFilter(noting('c', notes))];
          const { backend, chain, owner, read } = start(filters);
          backend.answer = answer;
          Object.assign(backend, { proceed: () => Status.OK });
          /** The request's status in the end. */
          const run = (): number => {
            const request = newRequest();
            const status = read(request);
            if (status === MORE) return chain.proceed(request);
            if (status !== PENDING) return status;
            request.queue!.complete(request, Status.OK);
            const done = owner.done.pop()!;
            assert.equal(done.request, request);
            assert.equal(owner.done.length, 0);
            return done.status;
          };
          assert.equal(run(), Status.OK);
          assert.deepEqual(bad.memory.faults, []);
          assert.deepEqual(notes.splice(0), ['a down', 'c down', 'c up 0', 'a up 0']);
          const isUp = hooks.submit === undefined;
          const failed = onFault === 'open' ? Status.OK : Status.IOERR;
          assert.equal(run(), failed);
          const below = isUp || onFault === 'open' ? ['c down', 'c up 0'] : [];
          assert.deepEqual(notes.splice(0), ['a down', ...below, `a up ${failed}`]);
          assert.equal(bad.memory.faults.length, 1);
          assert.match(bad.memory.faults[0]!, says);
          assert.equal(bad.memory.out, true);
          // And from then on it is not asked again.
          for (let i = 0; i < 3; i++) {
            assert.equal(run(), failed);
            const asked = onFault === 'open' ? ['c down', 'c up 0'] : [];
            assert.deepEqual(notes.splice(0), ['a down', ...asked, `a up ${failed}`]);
          }
          assert.equal(bad.memory.faults.length, 1);
        });
      }
    }
  }

  it('has what it passed on before fail if its policy is closed: nobody knows what its data are', () => {
    for (const onFault of ['closed', 'open'] as const) {
      const notes: string[] = [];
      let broken = false;
      const bad = testFilter(
        {
          submit(request, next) {
            if (broken) boom();
            next(request);
          },
          complete: () => assert.fail('it is out of service'),
        },
        onFault,
      );
      const { backend, owner, read } = start([testFilter(noting('a', notes)), bad]);
      backend.answer = PENDING;
      const request = newRequest();
      read(request);
      broken = true;
      read();
      notes.length = 0;
      request.queue!.complete(request, Status.OK);
      const status = onFault === 'closed' ? Status.IOERR : Status.OK;
      assert.deepEqual(owner.done, [{ request, status }]);
      assert.deepEqual(notes, [`a up ${status}`]);
    }
  });

  it('is out of service for all queues of its device, from the next request on', () => {
    const control = new ChainControl();
    const service = new Service();
    const asked = [0, 0];
    const queues = [0, 1].map((queue) => {
      const submit: BlockFilterHooks['submit'] = (request, next) => {
        if (++asked[queue]! > 2) boom();
        next(request);
      };
      return start([testFilter({ submit }, 'closed', service)], control);
    });
    assert.deepEqual(
      queues.map(({ read }) => read()),
      [Status.OK, Status.OK],
    );
    queues[0]!.read();
    assert.equal(queues[0]!.read(), Status.IOERR);
    assert.equal(queues[1]!.read(), Status.IOERR);
    assert.deepEqual(asked, [3, 1]);
    assert.equal(service.faults.length, 1);
  });

  it('harms nobody else in any chain, whoever fails when', () => {
    const behaviour = fc.record({
      failsAt: fc.option(fc.nat(12)),
      up: fc.boolean(),
      onFault: fc.constantFrom('closed' as const, 'open' as const),
    });
    const answers = fc.array(fc.constantFrom(Status.OK, Status.IOERR, PENDING), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(behaviour, { maxLength: 6 }), answers, (behaviours, history) => {
        const down = behaviours.map(() => new Map<number, number>());
        const up = behaviours.map(() => new Map<number, number>());
        const note = (map: Map<number, number>, slot: number) => map.set(slot, (map.get(slot) ?? 0) + 1);
        const filters = behaviours.map(({ failsAt, up: isUp, onFault }, i) => {
          let count = 0;
          const fails = () => failsAt !== null && count++ === failsAt;
          return testFilter(
            {
              submit(request, next) {
                note(down[i]!, request.slot);
                if (!isUp && fails()) boom();
                next(request);
              },
              complete(request, status) {
                note(up[i]!, request.slot);
                if (isUp && fails()) boom();
                return status;
              },
            },
            onFault,
          );
        });
        const { backend, owner, read } = start(filters);
        const pending: BlockRequest[] = [];
        history.forEach((answer, slot) => {
          backend.answer = answer;
          const request = new BlockRequest(slot);
          const status = read(request);
          if (status === PENDING) pending.push(request);
          else assert.ok(status === Status.OK || status === Status.IOERR);
        });
        for (const request of pending.reverse()) request.queue!.complete(request, Status.OK);
        assert.deepEqual(
          owner.done.map(({ request }) => request),
          pending,
        );
        const gates = filters.filter(({ memory, onFault }) => memory.out && onFault === 'closed');
        for (const [i, { memory }] of filters.entries()) {
          assert.ok(memory.faults.length <= 1);
          for (const counts of [down[i]!, up[i]!]) assert.ok([...counts.values()].every((count) => count === 1));
          for (const slot of up[i]!.keys()) assert.ok(down[i]!.has(slot), 'what comes up went down');
          const last = behaviours[i]!;
          if (!memory.out && last.failsAt === null && gates.length === 0)
            assert.deepEqual([...up[i]!.keys()].sort(), [...down[i]!.keys()].sort(), 'what went down comes up');
        }
        if (gates.length > 0) assert.equal(read(), Status.IOERR);
      }),
    );
  });
});
