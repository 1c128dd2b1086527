import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseFeatures, parsePortStats } from './testpmd-output.js';

/** What testpmd of DPDK 22.11 said, with two ports, after its prompt. */
const STATS = `show port stats all

  ######################## NIC statistics for port 0  ########################
  RX-packets: 198496     RX-missed: 0          RX-bytes:  12703744
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 199616     TX-errors: 0          TX-bytes:  12775424

  Throughput (since last show)
  Rx-pps:        89318          Rx-bps:     45723688
  Tx-pps:        89490          Tx-bps:     45819232
  ############################################################################

  ######################## NIC statistics for port 1  ########################
  RX-packets: 199488     RX-missed: 0          RX-bytes:  12767232
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 198624     TX-errors: 0          TX-bytes:  12711936

  Throughput (since last show)
  Rx-pps:     18312345          Rx-bps:     45818456
  Tx-pps:            0          Tx-bps:            0
  ############################################################################
testpmd> `;

describe('what testpmd says', () => {
  it('of its ports is read port by port', () => {
    assert.deepEqual(parsePortStats(STATS), [
      { port: 0, rxPackets: 198_496, txPackets: 199_616, rxPps: 89_318, txPps: 89_490 },
      { port: 1, rxPackets: 199_488, txPackets: 198_624, rxPps: 18_312_345, txPps: 0 },
    ]);
  });

  it('without ports is no error, a port without its figures is', () => {
    assert.deepEqual(parsePortStats('show port stats all\nInvalid command\ntestpmd> '), []);
    assert.throws(() => parsePortStats(STATS.replace('Tx-pps: ', 'Tx: ')), /no Tx-pps/);
  });

  it('of features is read for each card', () => {
    const log = [
      "EAL: Selected IOVA mode 'VA'",
      'virtio_negotiate_features(): features before negotiate = 910018020',
      'virtio_negotiate_features(): host_features before negotiate = 97043f8000',
      'virtio_negotiate_features(): features after negotiate = 910018020',
      'testpmd> virtio_negotiate_features(): features after negotiate = 950008000',
    ];
    assert.deepEqual(parseFeatures(log.join('\n')), [0x910018020n, 0x950008000n]);
    assert.deepEqual(parseFeatures(''), []);
  });
});
