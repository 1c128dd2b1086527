import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { expectSame, macOf, makeFrame } from '../../../../test/support/frames.js';
import { TestPort } from '../../../../test/support/test-port.js';
import { FRAME_BYTES_MAX } from '../../../limits.js';
import { macHigh, macLow } from '../../ethernet.js';
import { Frame } from '../../frame.js';
import { BURST_FRAMES } from '../../frame-burst.js';
import { MacTable } from '../../mac-table.js';
import { PORT_COUNTER_BYTES, PortCounter, type PortCounterName } from '../../port.js';
import { StagingMemory } from '../../staging-memory.js';
import { Switch } from '../../switch.js';
import { accessPort } from '../../vlan.js';
import { GeneratorPort } from './port.js';

const OWN = macOf(1);
const OTHER = macOf(2);
const halves = (mac: Buffer) => ({ high: macHigh(mac, 0), low: macLow(mac, 0) });

function create(frameBytes: number, send = true) {
  const network = new Switch(new MacTable({ secrets: [1, 2] }));
  const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
  const spec = { kind: 'generator', number: 0, switchId: 0, vlans: accessPort(3), shared, frameBytes, send } as const;
  const port = new GeneratorPort({ ...spec, mac: halves(OWN), destination: halves(OTHER) }, network);
  network.plug(port);
  const guest = new TestPort(1, { vlans: accessPort(3) });
  network.plug(guest);
  const counters = new Float64Array(shared);
  const count = (name: PortCounterName) => counters[PortCounter[name]]!;
  return { network, port, guest, count };
}

describe('a generator', () => {
  it('sends a burst of frames in each turn, from its address to the other', () => {
    for (const frameBytes of [18, 19, 60, 64, 1514, 9000]) {
      const { port, guest, count } = create(frameBytes);
      for (let turn = 1; turn <= 3; turn++) {
        assert.equal(port.turn(), BURST_FRAMES);
        const frames = guest.frames();
        assert.equal(frames.length, BURST_FRAMES);
        const expected = makeFrame(OTHER, OWN, frameBytes, 0);
        for (let i = 14; i < frameBytes; i++) expected[i] = i;
        expectSame(frames, Array(BURST_FRAMES).fill(expected));
        assert.equal(count('FRAMES_IN'), turn * BURST_FRAMES);
        assert.equal(count('BYTES_IN'), turn * BURST_FRAMES * frameBytes);
      }
    }
  });

  it('sends nothing unless it is to, nor once it is closed', () => {
    const silent = create(60, false);
    assert.deepEqual([silent.port.active, silent.port.turn(), silent.guest.frames()], [false, 0, []]);
    const { port, guest } = create(60);
    assert.equal(port.active, true);
    port.closed = true;
    assert.deepEqual([port.turn(), guest.frames()], [0, []]);
  });

  it('is not made for frames that no burst has', () => {
    for (const frameBytes of [0, 13, 15, FRAME_BYTES_MAX + 1]) assert.throws(() => create(frameBytes), /assertion/);
  });

  it('takes what is for its address before it was heard of, and counts it', () => {
    const { network, guest, count } = create(60, false);
    const memory = new StagingMemory();
    const frame = new Frame();
    const sizes = [14, 60, 1514, FRAME_BYTES_MAX];
    for (const size of sizes) {
      makeFrame(OWN, OTHER, size, 1).copy(memory.buffer);
      memory.describe(0, size, frame);
      network.forward(frame, guest);
    }
    assert.equal(count('FRAMES_OUT'), sizes.length);
    assert.equal(
      count('BYTES_OUT'),
      sizes.reduce((sum, size) => sum + size, 0),
    );
  });

  it('takes bursts', () => {
    const sender = create(700);
    const sink = create(60, false);
    sender.guest.deliverBurst = (burst, from, to) => sink.port.deliverBurst(burst, from, to);
    sender.network.expect(macHigh(OTHER, 0), macLow(OTHER, 0), sender.guest);
    sender.port.turn();
    assert.deepEqual([sink.count('FRAMES_OUT'), sink.count('BYTES_OUT')], [BURST_FRAMES, 700 * BURST_FRAMES]);
  });
});
