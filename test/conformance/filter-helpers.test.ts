/** Helpers that do not answer, filters that do not come to an end, and what of theirs waits while a queue is quiet. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RequestType, Status } from '../../src/block/features.js';
import { defineBlockFilter } from '../../src/filter/contract.js';
import { FilterRig } from '../support/filter-rig.js';

const DEFER_NS = 5e9;
const BYTES = 4096;

/** Asks its helper, which never answers; keeps the request meanwhile, or does not. */
const forgotten = (keeps: boolean, taken: Uint8Array[]) =>
  defineBlockFilter({
    name: 'forgotten',
    defers: true,
    helper: () => ({
      handle({ bytes }) {
        taken.push(bytes);
        return new Promise<number>(() => {});
      },
    }),
    create(context) {
      const buffers = context.buffers(1, BYTES);
      let asked = false;
      return {
        submit(request, next) {
          if (asked) return next(request);
          asked = true;
          context.helper.ask(1, buffers.take(), 0);
          if (keeps) request.defer();
          else next(request);
        },
      };
    },
  });

/** Whether it still is not so after some turns. */
async function stays(rig: FilterRig, isSo: () => boolean): Promise<void> {
  let turns = 0;
  await rig.until(() => {
    assert.ok(isSo());
    return ++turns > 40;
  });
}

describe('a helper that does not answer', () => {
  for (const keeps of [true, false])
    it(`takes its filter out of service, and holds nothing up${keeps ? ', nor what it keeps' : ''}`, async (test) => {
      const taken: Uint8Array[] = [];
      const rig = new FilterRig(test, {
        filters: [{ definition: forgotten(keeps, taken), deferNsMax: DEFER_NS }],
      });
      const { chain } = rig.queues[0]!;
      const request = rig.begin(RequestType.IN, 0, BYTES);
      const { memory } = rig.filters.opened[0]!;
      rig.pass(0.9 * DEFER_NS);
      await stays(rig, () => !chain.quiesce() && !memory.out);
      assert.equal(taken.length, 1);
      rig.pass(0.2 * DEFER_NS);
      await rig.until(() => chain.quiesce());
      chain.resume();
      await rig.end(request);
      assert.equal(request.status, keeps ? Status.IOERR : Status.OK);
      assert.equal(memory.out, true);
      assert.equal(memory.faults, 1);
      if (!keeps) assert.match(memory.faultNote.look()!, /its helper has not answered for more than 5 s/);
      // It is let go of, and the helper may use its buffer all the same.
      await rig.change([]);
      taken[0]!.fill(7);
      assert.equal(taken[0]![BYTES - 1], 7);
    });
});

it('a helper asked by a filter that goes, and that does not answer, is not the fault of what takes its place', async (test) => {
  const goer = defineBlockFilter({
    name: 'goer',
    helper: () => ({ handle: () => new Promise<number>(() => {}) }),
    create: ({ helper }) => ({
      submit: (request, next) => next(request),
      handOver: () => helper.ask(1, undefined, 0),
    }),
  });
  const filter = { definition: goer, deferNsMax: DEFER_NS };
  const rig = new FilterRig(test, { filters: [filter] });
  const old = rig.filters.opened[0]!;
  await rig.change([{ ready: rig.ready(filter), old }]);
  const { chain } = rig.queues[0]!;
  const { memory } = rig.filters.opened[0]!;
  assert.equal(memory, old.memory);
  await stays(rig, () => !chain.quiesce());
  rig.pass(1.1 * DEFER_NS);
  await rig.until(() => chain.quiesce());
  chain.resume();
  assert.deepEqual([memory.out, memory.faults], [false, 1]);
  assert.match(memory.logNote.look()!, /its helper has not answered/);
});

describe('a filter, while its queue is quiet,', () => {
  it('is not told of answers after which it would ask more, until that ends', async (test) => {
    let answers = 0;
    const restless = defineBlockFilter({
      name: 'restless',
      helper: () => ({ handle: () => 0 }),
      create: ({ helper }) => ({
        submit(request, next) {
          if (answers === 0) helper.ask(1, undefined, 0);
          next(request);
        },
        answered() {
          answers++;
          if (answers < 1000) helper.ask(1, undefined, 0);
        },
      }),
    });
    const rig = new FilterRig(test, { filters: [{ definition: restless }] });
    await rig.read(0, BYTES);
    await rig.until(() => answers > 3);
    await rig.hold(async () => {
      const before = answers;
      await stays(rig, () => answers === before);
    });
    await rig.until(() => answers === 1000);
  });

  it('has so much time to come to its end', async (test) => {
    const endless = defineBlockFilter({
      name: 'endless',
      create: () => ({ submit: (request, next) => next(request), settled: () => false }),
    });
    const rig = new FilterRig(test, { filters: [{ definition: endless, deferNsMax: DEFER_NS }] });
    const { chain } = rig.queues[0]!;
    const { memory } = rig.filters.opened[0]!;
    for (let i = 0; i < 3; i++) {
      // Each time anew.
      await stays(rig, () => !chain.quiesce());
      rig.pass(0.9 * DEFER_NS);
      await stays(rig, () => !chain.quiesce());
      chain.resume();
    }
    assert.equal(memory.out, false);
    await stays(rig, () => !chain.quiesce());
    rig.pass(1.1 * DEFER_NS);
    assert.equal(chain.quiesce(), true);
    assert.match(memory.faultNote.look()!, /it has not come to its end for more than 5 s/);
  });
});
