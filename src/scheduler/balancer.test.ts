import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Random } from '../../test/support/seed.js';
import { BALANCE_MOVES_MAX } from '../limits.js';
import { Balancer, type Movable, type Move } from './balancer.js';

const WINDOW_NS = 1e8;
const SEED = Number(process.env.SEED ?? 1);

/** What is on cores, and takes as much of the window as it says, in percent. A core that would be over-full gives to each in proportion. */
class Plant {
  readonly balancer = new Balancer();
  readonly demands: ReadonlyMap<number, number>;
  readonly places = new Map<number, number>();
  cores: number[];
  moves: Move[] = [];

  /** @param demands - by core, of what is on it at the start */
  constructor(demands: readonly (readonly number[])[]) {
    this.cores = demands.map((_, core) => core);
    const all = demands.flatMap((of, core) => of.map((demand) => ({ demand, core })));
    this.demands = new Map(all.map(({ demand }, id) => [id, demand]));
    for (const [id, { core }] of all.entries()) this.places.set(id, core);
  }

  /** One window and what comes of it. @param noise - by how much a load may differ, as a share of it */
  round(noise: () => number = () => 0): Move[] {
    const wanted = [...this.demands].map(([id, demand]) => ({
      id,
      core: this.places.get(id)!,
      ns: demand * (1 + noise()) * 1e6,
    }));
    const movables: Movable[] = wanted.map(({ id, core, ns }) => {
      const all = wanted.reduce((sum, other) => sum + (other.core === core ? other.ns : 0), 0);
      return { id, core, ns: all > WINDOW_NS ? (ns * WINDOW_NS) / all : ns };
    });
    const moves = this.balancer.plan(
      movables,
      this.cores.map((core) => ({ core, fixedNs: 0 })),
      WINDOW_NS,
    );
    for (const { id, from, to } of moves) {
      assert.equal(this.places.get(id), from);
      assert.ok(to !== from && this.cores.includes(to), 'a move goes to another core that may be used');
      this.places.set(id, to);
    }
    this.moves.push(...moves);
    return moves;
  }

  rounds(count: number, noise?: () => number): number {
    const before = this.moves.length;
    for (let i = 0; i < count; i++) this.round(noise);
    return this.moves.length - before;
  }

  /** Demands of each core, percent. */
  get loads(): number[] {
    return this.cores.map((core) =>
      [...this.places].reduce((sum, [id, place]) => sum + (place === core ? this.demands.get(id)! : 0), 0),
    );
  }
}

describe('the balancer', () => {
  it('moves from a busy core to an idle one, what is nearest to half of the difference', () => {
    const plant = new Plant([[60, 25, 10], []]);
    plant.rounds(20);
    assert.deepEqual(plant.loads.sort(), [35, 60]);
  });

  it('spreads queues that are hungry on a core that is full', () => {
    const plant = new Plant([[100, 100, 100, 100], []]);
    plant.rounds(20);
    assert.deepEqual(plant.loads, [200, 200]);
    const three = new Plant([[100, 100, 100], [100]]);
    three.rounds(20);
    assert.deepEqual(three.loads, [200, 200]);
  });

  it('does nothing at once, and nothing that is not worth it', () => {
    assert.deepEqual(new Plant([[60, 25, 10], []]).round(), []);
    for (const demands of [
      // Nobody is busy.
      [[20, 20], []],
      // It would be the same the other way round.
      [[90], []],
      [[90], [10]],
      [[90, 2], [10]],
      // By less than a tenth.
      [[50, 5, 20], [60]],
      [[]],
      [[100, 50]],
    ])
      assert.equal(new Plant(demands).rounds(50), 0, JSON.stringify(demands));
  });

  it('empties a core that is not to be used any more, at once, the others as evenly as can be', () => {
    const plant = new Plant([[10, 10], [30, 20, 0, 0, 0, 0], [10]]);
    plant.cores = [0, 2];
    assert.equal(plant.round().length, 6);
    assert.deepEqual(plant.loads, [40, 40]);
    const idle = [0, 2].map(
      (core) => [...plant.places].filter(([id, place]) => plant.demands.get(id) === 0 && place === core).length,
    );
    assert.deepEqual(idle, [2, 2], 'what takes nothing is spread too');
  });

  it('tries again after a rest, each time a longer one, what could not leave a core, and at once what left another since', () => {
    const balancer = new Balancer();
    const loads = [{ core: 0, fixedNs: 0 }];
    const tries = (rounds: number, core: number) => {
      const tried: number[] = [];
      for (let round = 1; round <= rounds; round++) {
        const moves = balancer.plan(
          [0, 1].map((id) => ({ id, core: id === 0 ? core : 0, ns: 0 })),
          loads,
          WINDOW_NS,
        );
        for (const { id } of moves) {
          assert.equal(id, 0);
          tried.push(round);
          balancer.failed(id);
        }
      }
      return tried;
    };
    assert.deepEqual(tries(30, 1), [1, 10, 27]);
    assert.deepEqual(tries(12, 2), [1, 10]);
    balancer.failed(7);
  });

  it('leaves alone what cannot be moved', () => {
    const balancer = new Balancer();
    const loads = [0, 1].map((core) => ({ core, fixedNs: core === 0 ? 0.6 * WINDOW_NS : 0 }));
    const movables = [0.2, 0.15].map((share, id) => ({ id, core: 0, ns: share * WINDOW_NS }));
    const moves = [1, 2, 3].flatMap(() => balancer.plan(movables, loads, WINDOW_NS));
    assert.deepEqual(
      moves.slice(0, 2).map(({ id, to }) => [id, to]),
      [
        [0, 1],
        [1, 1],
      ],
    );
  });

  it('has nothing to say without cores', () => assert.deepEqual(new Balancer().plan([], [], WINDOW_NS), []));

  const demand = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 100 }), fc.constant(100));
  const plants = fc.array(fc.array(demand, { maxLength: 6 }), { minLength: 1, maxLength: 6 });

  it('makes few moves in a round, none of one that rests, and comes to an end where nothing changes', () => {
    fc.assert(
      fc.property(plants, (demands) => {
        const plant = new Plant(demands);
        const before = Math.max(...plant.loads);
        for (let round = 0; round < 200; round++) assert.ok(plant.round().length <= BALANCE_MOVES_MAX);
        // What is on a core that is full takes more elsewhere.
        if (before <= 90) assert.ok(Math.max(...plant.loads) <= before, 'no core has more than the busiest had');
        assert.equal(plant.rounds(200), 0);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('does not go to and fro with noise', () => {
    fc.assert(
      fc.property(plants, fc.integer(), (demands, seed) => {
        const plant = new Plant(demands);
        const random = new Random(seed);
        const noise = () => 0.15 * (random.below(2001) / 1000 - 1);
        plant.rounds(200, noise);
        // A quarter of an hour at four rounds a second.
        const moves = plant.rounds(3600, noise);
        assert.ok(moves <= 2 * plant.demands.size + 8, `${moves} moves of ${plant.demands.size}`);
      }),
      { seed: SEED, numRuns: 25 },
    );
  });
});
