import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BROADCAST, expectSame, macOf, makeFrame } from '../../test/support/frames.js';
import { TestPort } from '../../test/support/test-port.js';
import { BATCH_BYTES_MAX } from '../limits.js';
import { Crossing } from './crossing.js';
import { CrossingRing } from './crossing-ring.js';
import { Directory } from './directory.js';
import { Frame } from './frame.js';
import { MacTable } from './mac-table.js';
import { StagingMemory } from './staging-memory.js';
import { Switch } from './switch.js';

const newSwitch = () => new Switch(new MacTable({ secrets: [1, 2] }));

/** Two sidecores, the second of which may be replaced, with a port of one network on each. */
function create() {
  const [there, back] = [CrossingRing.create(2 ** 21), CrossingRing.create(2 ** 17)];
  const directory = new Directory(Directory.create(2, 1), 1);
  for (const core of [0, 1]) directory.note(core, 0);
  const here = new Crossing({ core: 1, arrivals: back, departures: there }, directory, () => {});
  const network = newSwitch();
  here.join(0, network);
  const from = new TestPort(1);
  network.plug(from);
  const memory = new StagingMemory();
  const frame = new Frame();
  const send = (bytes: Buffer) => {
    bytes.copy(memory.buffer);
    memory.describe(0, bytes.length, frame);
    frame.header.clear();
    network.forward(frame, from);
    here.flush();
  };
  const receiver = (others = 0) => {
    const crossing = new Crossing({ core: 0, arrivals: there, departures: back }, directory, () => {});
    const network = newSwitch();
    crossing.join(0, network);
    const port = new TestPort(2);
    network.plug(port);
    for (let number = 3; number < 3 + others; number++) network.plug(new TestPort(number));
    return { crossing, port };
  };
  return { send, receiver };
}

const turn = (crossing: Crossing) => crossing.turn(() => {});

describe('a crossing', () => {
  it('does not take a frame again at which a thread has died', () => {
    const { send, receiver } = create();
    const frames = [1, 2, 3].map((number) => makeFrame(BROADCAST, macOf(number), 60, number));
    for (const frame of frames.slice(0, 2)) send(frame);
    const first = receiver();
    first.port.deliver = () => {
      throw new Error('it dies');
    };
    assert.throws(() => turn(first.crossing), /it dies/);
    send(frames[2]!);
    const second = receiver();
    assert.equal(turn(second.crossing), 1);
    expectSame(second.port.frames(), [frames[2]!]);
    assert.equal(turn(second.crossing), 0);
  });

  it('has a turn end after as many bytes as that of a queue', () => {
    const { send, receiver } = create();
    const frame = makeFrame(BROADCAST, macOf(1), 60_000, 1);
    for (let i = 0; i < 24; i++) send(frame);
    const { crossing, port } = receiver();
    let count = 0;
    for (let turns = 1; count < 24; turns++) {
      count += turn(crossing);
      assert.ok(count <= turns * Math.ceil(BATCH_BYTES_MAX / frame.length), `${count} in ${turns} turns`);
      assert.equal(port.frames().length > 0, true);
    }
  });

  it('has a turn end by what comes of frames, and keeps the rest for the next', () => {
    const { send, receiver } = create();
    const frames = Array.from({ length: 32 }, (_, i) => makeFrame(BROADCAST, macOf(1), 600, i));
    for (const frame of frames) send(frame);
    const { crossing, port } = receiver(19);
    const got: Buffer[] = [];
    for (let turns = 1; got.length < frames.length; turns++) {
      assert.ok(crossing.hasArrivals, 'there is something left to do');
      const count = turn(crossing);
      got.push(...port.frames());
      assert.ok(count > 0 && count <= 16, `${count} frames in turn ${turns}`);
    }
    expectSame(got, frames);
    assert.equal(turn(crossing), 0);
    assert.ok(!crossing.hasArrivals);
  });
});
