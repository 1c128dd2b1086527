/** Guests that try to have more than their share by making the scheduler believe that their work is cheap. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TestMachine, type TestQueue } from './test-machine.js';

const RUN_NS = 300_000_000;

/** Drives a guest beside one with steady bulk work; returns the neighbour's part of the time. */
function neighbourOf(machine: TestMachine, attack: (attacker: TestQueue) => void): number {
  const attacker = machine.add({ bytes: 4096, ns: 800 });
  const neighbour = machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 8);
  attack(attacker);
  machine.runFor(RUN_NS);
  return neighbour.ns / (attacker.ns + neighbour.ns);
}

describe('policy fair, beside a hostile guest', () => {
  it('is not deceived by one cheap request before many dear ones', () => {
    const share = neighbourOf(new TestMachine(), (attacker) => {
      let dear = false;
      attacker.waiting = 1;
      attacker.onDone = () => {
        if (attacker.waiting > 1) return;
        // It waits for all, then sends one that is cheap, or many that take ten times as long in the same number of bytes.
        dear = !dear;
        attacker.itemNs = dear ? 8000 : 800;
        attacker.waiting = (dear ? 32 : 1) + 1;
      };
    });
    assert.ok(share > 0.42, `${share}`);
  });

  it('is not deceived by requests that take no time and cover much', () => {
    const share = neighbourOf(new TestMachine(), (attacker) => {
      let poison = true;
      attacker.waiting = 1;
      attacker.onDone = () => {
        if (attacker.waiting > 1) return;
        poison = !poison;
        attacker.itemNs = poison ? 100 : 7000;
        attacker.itemBytes = poison ? 60_000 : 1000;
        attacker.waiting = (poison ? 1 : 16) + 1;
      };
    });
    assert.ok(share > 0.4, `${share}`);
  });

  for (const depth of [1, 4, 24])
    it(`is not deceived by work that is left to the end of the round: ${depth} at a time`, () => {
      const machine = new TestMachine();
      const share = neighbourOf(machine, (attacker) => {
        attacker.itemNs = 100;
        attacker.laterNs = 24_000 / depth;
        attacker.waiting = depth;
        attacker.onDone = () => {
          if (attacker.waiting === 0) machine.after(500, () => (attacker.waiting = depth));
        };
      });
      assert.ok(share > 0.42, `${share}`);
    });

  it('does not have a guest pay for long for what the host took from its first request', () => {
    const machine = new TestMachine();
    const unlucky = machine.add({ bytes: 4096, ns: 800 });
    machine.keepBusy(machine.add({ bytes: 65_536, ns: 7000 }), 8);
    let first = true;
    machine.stolen = () => {
      if (!first) return 0;
      first = false;
      return 8_000_000;
    };
    unlucky.waiting = 1;
    unlucky.onDone = () => machine.after(unlucky.itemNs + 2000, () => (unlucky.waiting = 1));
    machine.runFor(RUN_NS);
    // Each of its requests waits for a piece or two of its neighbour.
    assert.ok(unlucky.done > RUN_NS / 30_000, `${unlucky.done}`);
  });
});
