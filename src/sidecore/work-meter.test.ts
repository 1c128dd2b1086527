import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CoreState } from './core-state.js';
import { WorkMeter } from './work-meter.js';

const CLOCK_NS = 50;

/** A core in simulated time: an empty turn takes 20 ns, one with work 300 ns, a reading of the clock 50 ns. */
class TestCore {
  readonly state = new CoreState();
  now = 1e6;
  busyNs = 0;
  #number = 0;
  emptyNs = 0;
  readonly #clock = (into: Float64Array, slot: number) => {
    this.now += CLOCK_NS;
    into[slot] = this.now;
  };
  readonly meter = new WorkMeter(this.state, this.#clock);
  readonly start = this.now;

  turn(work: number): void {
    const ns = work > 0 ? 300 : 20;
    this.now += ns;
    if (work > 0) this.busyNs += ns;
    else this.emptyNs += ns;
  }

  /** As the poll loop does it: 60 turns, then 4 with the clock around them. */
  block(work: (turn: number) => number, stolenNs = 0): void {
    for (let i = 0; i < 60; i++) this.#counted(work(this.#number++));
    this.meter.begin();
    this.now += stolenNs;
    for (let i = 60; i < 64; i++) this.#counted(work(this.#number++));
    this.meter.end();
  }

  #counted(work: number): void {
    this.turn(work);
    this.meter.count(work);
  }

  get shares() {
    const { busyNs, emptyNs } = this.state.read();
    const all = this.now - this.start;
    return { measured: busyNs / all, real: this.busyNs / all, sum: (busyNs + emptyNs) / all };
  }
}

describe('the work meter', () => {
  for (const [what, work] of [
    ['an idle core', () => 0],
    ['a core with work in every turn', () => 1],
    ['a core with work in one turn of ten', (turn: number) => (turn % 10 === 0 ? 1 : 0)],
    ['a core with work in one turn of seven', (turn: number) => (turn % 7 === 0 ? 1 : 0)],
    ['a core with work now and then', (turn: number) => ((turn * 2654435761) % 2 ** 32 < 2 ** 29 ? 1 : 0)],
  ] as const) {
    it(`${what}: its share of work within five hundredths`, () => {
      const core = new TestCore();
      for (let i = 0; i < 200; i++) core.block(work);
      const { measured, real, sum } = core.shares;
      assert.ok(Math.abs(measured - real) < 0.05, `${measured}, really ${real}`);
      assert.ok(Math.abs(sum - 1) < 0.01, 'all of the time is accounted for, once');
    });
  }

  it('is not misled for long by a time slice that the host took', () => {
    const core = new TestCore();
    const sometimes = (turn: number) => (turn % 10 < 3 ? 1 : 0);
    for (let i = 0; i < 20; i++) core.block(sometimes);
    core.block(() => 0, 5e6);
    const before = core.state.read().busyNs;
    const really = core.busyNs;
    for (let i = 0; i < 100; i++) core.block(sometimes);
    const ratio = (core.state.read().busyNs - before) / (core.busyNs - really);
    assert.ok(ratio > 0.9 && ratio < 1.1, `${ratio}`);
  });

  it('does not count time asleep', () => {
    const core = new TestCore();
    core.block(() => 1);
    const before = core.state.read();
    core.meter.sleep();
    core.now += 1e9;
    core.meter.wake();
    core.block(() => 1);
    assert.ok(core.state.read().busyNs - before.busyNs < 1e6);
  });
});
