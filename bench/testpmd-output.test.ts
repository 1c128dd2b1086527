import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseFeatures, parsePortStats } from './testpmd-output.js';

/** What testpmd of DPDK 22.11 has said: two ports, in mode io. */
const STATS = `show port stats all

  ######################## NIC statistics for port 0  ########################
  RX-packets: 30752      RX-missed: 0          RX-bytes:  1968128
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 30976      TX-errors: 0          TX-bytes:  1982464

  Throughput (since last show)
  Rx-pps:        16956          Rx-bps:      8681744
  Tx-pps:        17018          Tx-bps:      8713680
  ############################################################################

  ######################## NIC statistics for port 1  ########################
  RX-packets: 4294967296 RX-missed: 0          RX-bytes:  274877906944
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 30880      TX-errors: 0          TX-bytes:  1976320

  Throughput (since last show)
  Rx-pps:            0          Rx-bps:            0
  Tx-pps:     18800000          Tx-bps:   9625600000
  ############################################################################
testpmd> `;

const LOG = `EAL: Detected CPU lcores: 2
virtio_ethdev_negotiate_features(): guest_features before negotiate = 8000005f10ef8028
virtio_ethdev_negotiate_features(): host_features before negotiate = 910018183
virtio_ethdev_negotiate_features(): features after negotiate = 910018000
virtio_user_dev_update_status(): Updated Device Status(0x0000000b):
virtio_ethdev_negotiate_features(): host_features before negotiate = 110018183
virtio_ethdev_negotiate_features(): features after negotiate = 110018020
testpmd> `;

describe('what testpmd says', () => {
  it('of its ports: frames a second', () => {
    assert.deepEqual(parsePortStats(STATS), [
      { port: 0, rxPps: 16956, txPps: 17018 },
      { port: 1, rxPps: 0, txPps: 18_800_000 },
    ]);
  });

  it('is no answer where a figure is missing', () => {
    assert.deepEqual(parsePortStats('Set rxonly packet forwarding mode\ntestpmd> '), []);
    assert.throws(() => parsePortStats(STATS.replace('Tx-pps:     18800000', '')), /no Tx-pps/);
    assert.throws(() => parsePortStats(STATS.slice(0, 200)), /no Rx-pps/);
  });

  it('of the features of each card', () => {
    assert.deepEqual(parseFeatures(LOG), [0x9_1001_8000n, 0x1_1001_8020n]);
    assert.deepEqual(parseFeatures(''), []);
  });
});
