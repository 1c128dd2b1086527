import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAC_AGE_S, MAC_SLOTS } from '../limits.js';
import { Frame } from './frame.js';
import type { FrameBurst } from './frame-burst.js';
import { MacTable } from './mac-table.js';
import { type Port, PortCounter } from './port.js';
import { Switch } from './switch.js';
import { trunkPort } from './vlan.js';

class TestPort implements Port {
  readonly number: number;
  readonly counters = new Float64Array(Object.keys(PortCounter).length);
  readonly vlans = trunkPort();
  readonly offloads = 0;
  readonly mesh = false;
  capture = undefined;
  delivered = 0;

  constructor(number: number) {
    this.number = number;
  }

  deliver(): void {
    this.delivered++;
  }

  deliverBurst(_burst: FrameBurst, from: number, to: number): void {
    this.delivered += to - from;
  }
}

/** A frame as the switch looks at it: from one station to another, both with addresses of this number. */
function frame(from: number, to: number): Frame {
  const made = new Frame();
  made.sourceHigh = made.destinationHigh = 0x0200;
  made.sourceLow = from;
  made.destinationLow = to;
  return made;
}

describe('a switch', () => {
  const create = (nowS?: number) => {
    const network = new Switch(new MacTable({ secrets: [1, 2] }), nowS);
    const ports = [0, 1, 2].map((number) => new TestPort(number));
    for (const port of ports) network.plug(port);
    const counts = () => ports.map(({ delivered }) => delivered);
    return { network, ports, counts };
  };

  it('floods what it does not know, and sends what it knows to one port', () => {
    const { network, ports, counts } = create();
    network.forward(frame(10, 11), ports[0]!);
    assert.deepEqual(counts(), [0, 1, 1]);
    network.forward(frame(11, 10), ports[1]!);
    assert.deepEqual(counts(), [1, 1, 1]);
    network.forward(frame(10, 11), ports[0]!);
    assert.deepEqual(counts(), [1, 2, 1]);
  });

  it('sends nothing back to where it came from', () => {
    const { network, ports, counts } = create();
    network.forward(frame(10, 11), ports[0]!);
    network.forward(frame(12, 10), ports[0]!);
    assert.deepEqual(counts(), [0, 1, 1]);
    assert.equal(ports[0]!.counters[PortCounter.DROPPED_SAME_PORT], 1);
  });

  it('knows whom it expects from before its first tick, on a host that has been up for long', () => {
    const { network, ports, counts } = create(100_000);
    network.expect(0x0200, 11, ports[1]!);
    network.forward(frame(10, 11), ports[0]!);
    network.tick(100_001);
    network.forward(frame(10, 11), ports[0]!);
    // And however long it is silent.
    network.tick(200_000);
    network.forward(frame(10, 11), ports[0]!);
    assert.deepEqual(counts(), [0, 3, 0]);
    // It may move, and is then a station like any other.
    network.forward(frame(11, 10), ports[2]!);
    network.forward(frame(10, 11), ports[0]!);
    assert.deepEqual(counts(), [1, 3, 1]);
  });

  it('forgets an address that was not heard of for a while', () => {
    const { network, ports, counts } = create();
    network.tick(1000);
    network.forward(frame(10, 99), ports[0]!);
    network.tick(1000 + MAC_AGE_S - 1);
    network.forward(frame(11, 10), ports[1]!);
    assert.deepEqual(counts(), [1, 1, 1]);
    network.tick(1000 + MAC_AGE_S + 1);
    network.forward(frame(11, 10), ports[1]!);
    assert.deepEqual(counts(), [2, 1, 2], 'it is flooded again');
  });

  for (const [how, stepS] of [
    ['second by second', 1],
    ['after a long sleep', 600],
  ] as const) {
    it(`has forgotten what is old about a minute later, ${how}`, () => {
      const table = new MacTable({ secrets: [1, 2] });
      const network = new Switch(table, 1000);
      const port = new TestPort(0);
      network.plug(port);
      const count = 500;
      for (let number = 1; number <= count; number++) network.forward(frame(number, 0), port);
      let now = 1000;
      for (; now <= 1000 + MAC_AGE_S; now += stepS) network.tick(now);
      for (let i = 0; i < 80; i++) network.tick(now++);
      assert.equal(table.sweep(2 * MAC_SLOTS, now), 0, 'nothing is left to forget');
    });
  }
});
