import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  FILTER_COLD_MS_MAX,
  FILTER_COLD_S,
  FILTER_MAKING_MS_MAX,
  FILTER_TAKE_OVER_MS,
  FILTER_WAITS_COUNT,
} from '../limits.js';
import { allowanceNs, LOOK_MS, StallMeter } from './stall-meter.js';

const LOOK_NS = 1e6 * LOOK_MS;

/** A sidecore whose thread does as a test says, and the machine around it. */
class Machine {
  readonly core = { threadId: 1, beat: 0, filter: 0, serves: true };
  now = 0;
  cpu = 0;
  ping = 5000;
  waiting = false;
  readonly meter = new StallMeter({
    nowNs: () => this.now,
    cpuNs: () => this.cpu,
    pingNs: () => this.ping,
    waits: () => this.waiting,
  });

  /** Time passes, of which the thread has its CPU for a share. Returns what the meter has found. */
  look(share = 1, ns = LOOK_NS): number {
    this.now += ns;
    this.cpu += share * ns;
    return this.meter.look(this.core);
  }

  /** The last of so many looks. */
  looks(count: number, share = 1): number {
    let found = 0;
    for (let i = 0; i < count; i++) found = this.look(share);
    return found;
  }
}

describe('the time for which a filter keeps its sidecore', () => {
  it('is that since it was seen first, while it runs', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    assert.equal(machine.look(), 0);
    assert.equal(machine.looks(10), 10 * LOOK_NS);
    assert.deepEqual([machine.meter.filter, machine.meter.beat], [7, 0]);
  });

  it('begins anew with each beat, and with each filter', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.looks(5);
    machine.core.beat++;
    assert.equal(machine.look(), 0);
    assert.equal(machine.looks(3), 3 * LOOK_NS);
    machine.core.filter = 8;
    assert.equal(machine.look(), 0);
    assert.equal(machine.look(), LOOK_NS);
  });

  it('is none without a filter at work, or without a thread', () => {
    const machine = new Machine();
    assert.equal(machine.looks(20), 0);
    machine.core.filter = 7;
    machine.core.threadId = 0;
    assert.equal(machine.looks(20), 0);
  });

  it('is a part of that in which the thread waits in a call of its own', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.waiting = true;
    assert.equal(machine.looks(1 + 8 * FILTER_WAITS_COUNT, 0), 8 * LOOK_NS);
  });

  it('leaves out what the kernel gives to others', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.look();
    assert.equal(machine.looks(40, 0), 0);
    assert.equal(machine.looks(10, 0.5), 5 * LOOK_NS);
  });

  it('leaves out what the host gives to others, though the thread’s clock goes on', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.look();
    machine.ping = 3e6;
    assert.equal(machine.looks(40), 0);
    machine.ping = 5000;
    assert.equal(machine.look(), LOOK_NS);
  });

  it('counts little of a long time between two looks', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.look();
    assert.equal(machine.look(1, 100 * LOOK_NS), 2 * LOOK_NS);
  });

  it('is never negative, whatever the clock of another thread says', () => {
    const machine = new Machine();
    machine.core.filter = 7;
    machine.look();
    machine.cpu = 0;
    assert.equal(machine.look(0), 0);
  });
});

describe('what a filter may take', () => {
  const allowedMs = (stallMs: number, filter = 7, cold = false) => allowanceNs(stallMs, { filter, cold }) / 1e6;

  it('leaves time to take over of what others may wait', () => {
    assert.deepEqual([allowedMs(10), allowedMs(1000)], [10 - FILTER_TAKE_OVER_MS, 1000 - FILTER_TAKE_OVER_MS]);
    assert.deepEqual([allowedMs(2), allowedMs(5)], [2, 2]);
  });

  it('is more while it is made and while its thread is cold, but never less than it is told', () => {
    assert.deepEqual([allowedMs(10, -7), allowedMs(10, 7, true)], [FILTER_MAKING_MS_MAX, FILTER_COLD_MS_MAX]);
    assert.deepEqual([allowedMs(900, -7), allowedMs(900, 7, true)], [900, 900]);
  });

  it('is more for a while from a thread’s first queue on, and again for the next thread', () => {
    const machine = new Machine();
    const isCold = (ns: number) => {
      machine.look(1, ns);
      return machine.meter.cold;
    };
    machine.core.filter = 7;
    machine.core.serves = false;
    assert.equal(isCold(2e9 * FILTER_COLD_S), true);
    machine.core.serves = true;
    assert.equal(isCold(LOOK_NS), true);
    assert.equal(isCold(0.9e9 * FILTER_COLD_S), true);
    assert.equal(isCold(0.2e9 * FILTER_COLD_S), false);
    machine.core.threadId = 2;
    assert.equal(isCold(LOOK_NS), true);
    assert.equal(isCold(2e9 * FILTER_COLD_S), false);
  });
});
