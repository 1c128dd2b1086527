import assert from 'node:assert/strict';
import { it } from 'node:test';
import { definedFilter } from '../../../../test/support/frame-filters.js';
import { BROADCAST, makeFrame } from '../../../../test/support/frames.js';
import { NetRig } from '../../../../test/support/net-rig.js';
import { meter } from './filter.js';

it('the meter counts frames, bytes and kinds by direction, and how long frames are', () => {
  const { filter, counts } = definedFilter(meter);
  const rig = new NetRig();
  const one = rig.guest({ filters: [filter] });
  const other = rig.guest();
  const group = Buffer.from('01005e000001', 'hex');
  one.send(makeFrame(other.mac, one.mac, 100, 1));
  one.send(makeFrame(BROADCAST, one.mac, 60, 2));
  one.send(makeFrame(group, one.mac, 70, 3));
  rig.run();
  other.send(makeFrame(one.mac, other.mac, 1000, 4));
  other.send(makeFrame(one.mac, other.mac, 1000, 5));
  rig.run();
  assert.deepEqual(counts.readCounters(), {
    frames_sent: 3,
    bytes_sent: 230,
    unicast_sent: 1,
    multicast_sent: 1,
    broadcast_sent: 1,
    frames_received: 2,
    bytes_received: 2000,
    unicast_received: 2,
    multicast_received: 0,
    broadcast_received: 0,
  });
  const { bytes_sent: sent, bytes_received: received } = counts.readHistograms();
  assert.equal(sent!.total, 3);
  assert.equal(received!.total, 2);
  assert.ok(Math.abs(received!.quantile(0.5) - 1000) <= 32);
  assert.equal(other.frames().length, 3);
  assert.equal(one.frames().length, 2);
  rig.release();
});
