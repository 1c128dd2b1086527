import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CONFIG_SPACE_BYTES_MAX } from '../limits.js';
import { NetDeviceState } from './device-state.js';
import { Frame } from './frame.js';
import { GuestPort } from './guest-port.js';
import { PortCounter } from './port.js';
import type { NetRxQueue } from './rx-queue.js';
import { trunkPort } from './vlan.js';

/** A port with receive rings of which only the state is looked at; where frames of so many queue pairs of a sender go. */
function portWith(...states: readonly { ready: boolean; inUse: boolean; closed?: boolean }[]) {
  const device = new NetDeviceState(new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + NetDeviceState.BYTES));
  const port = new GuestPort(0, device, trunkPort());
  const got: number[] = [];
  for (const [pair, state] of states.entries()) {
    const put = () => got.push(pair) > 0;
    port.add({ pair, closed: false, ...state, put } as Partial<NetRxQueue> as NetRxQueue);
  }
  const deliver = (pairs: number): number[] => {
    got.length = 0;
    for (let pair = 0; pair < pairs; pair++) port.deliver(Object.assign(new Frame(), { pair }));
    return got;
  };
  return { device, deliver };
}

const used = { ready: true, inUse: true };
const silent = { ready: false, inUse: false };
const kicked = { ready: true, inUse: false };

describe('the receive rings of a card', () => {
  it('each get the frames of one queue pair of a sender', () => {
    const { device, deliver } = portWith(used, used);
    assert.deepEqual(deliver(4), [0, 1, 0, 1]);
    device.setPairs(1);
    assert.deepEqual(deliver(4), [0, 0, 0, 0], 'unless the driver says that it uses fewer');
  });

  it('get nothing while their driver uses others', () => {
    for (const unused of [silent, kicked]) {
      assert.deepEqual(portWith(used, unused).deliver(4), [0, 0, 0, 0]);
      assert.deepEqual(portWith(unused, used).deliver(4), [1, 1, 1, 1]);
    }
    const { device, deliver } = portWith(used, silent);
    device.setPairs(2);
    assert.deepEqual(deliver(2), [0, 0], 'whatever it, or a driver before it, has said');
  });

  it('have no others to stand in for them', () => {
    const { device, deliver } = portWith(silent, { ...used, closed: true });
    assert.deepEqual(deliver(2), []);
    assert.equal(device.counters[PortCounter.DROPPED_NOT_READY], 2);
    assert.deepEqual(portWith(kicked, kicked).deliver(2), [0, 1], 'a driver that is about to offer buffers');
  });
});

/** A port with receive rings of so many pairs, which only count what they get. */
function create(pairs: number) {
  const state = new NetDeviceState(new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + NetDeviceState.BYTES));
  const port = new GuestPort(1, state, trunkPort());
  const rings = Array.from({ length: pairs }, (_, pair) => ({ pair, ready: true, closed: false, frames: 0 }));
  for (const ring of rings) {
    const put = () => ++ring.frames > 0;
    port.add(Object.assign(ring, { put }) as unknown as NetRxQueue);
  }
  /** What the rings get of one frame of each of so many pairs of a sender. */
  const deliver = (senderPairs = 4) => {
    for (const ring of rings) ring.frames = 0;
    const frame = new Frame();
    for (frame.pair = 0; frame.pair < senderPairs; frame.pair++) port.deliver(frame);
    return rings.map(({ frames }) => frames);
  };
  return { state, port, rings, deliver };
}

describe('the receive ring of a frame', () => {
  it('is any of those that are set up, if we are not told which the driver uses', () => {
    assert.deepEqual(create(2).deliver(), [2, 2]);
  });

  it('is the first, if we could be told, until we are', () => {
    const { state, deliver } = create(4);
    state.beginControl();
    assert.deepEqual(deliver(), [4, 0, 0, 0]);
    state.setPairs(2);
    assert.deepEqual(deliver(), [2, 2, 0, 0]);
    state.beginControl();
    assert.deepEqual(deliver(), [2, 2, 0, 0], 'another sidecore serves the control queue now');
    state.reset(0, 0);
    assert.deepEqual(deliver(), [1, 1, 1, 1]);
  });

  it('is one that is ready, as long as there is one', () => {
    const { port, rings, deliver } = create(3);
    rings[0]!.ready = false;
    assert.deepEqual(deliver(3), [0, 2, 1]);
    rings[1]!.closed = true;
    assert.deepEqual(deliver(3), [0, 0, 3]);
    rings[2]!.ready = false;
    assert.deepEqual(deliver(3), [0, 0, 0]);
    assert.equal(port.counters[PortCounter.DROPPED_NOT_READY], 3);
  });
});
