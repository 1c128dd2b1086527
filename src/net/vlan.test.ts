import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../test/support/seed.js';
import { UNTAGGED } from './ethernet.js';
import { accessPort, Egress, egressOf, ingressVlan, NO_VLAN, trunkPort, VLAN_DROP, VLAN_ID_MAX } from './vlan.js';

const vlans = fc.oneof(fc.integer({ min: 1, max: VLAN_ID_MAX }), fc.constantFrom(1, 31, 32, 33, VLAN_ID_MAX));

describe('an access port', () => {
  it('lets frames without a tag into its VLAN, and no others', () => {
    const port = accessPort(7);
    assert.equal(ingressVlan(port, UNTAGGED), 7);
    assert.equal(ingressVlan(port, 0), 7);
    for (const tag of [1, 7, 8, VLAN_ID_MAX, 4095]) assert.equal(ingressVlan(port, tag), VLAN_DROP);
  });

  it('gets frames of its VLAN without a tag, and no others', () => {
    for (let vlan = 0; vlan <= VLAN_ID_MAX; vlan++) {
      assert.equal(egressOf(accessPort(7), vlan), vlan === 7 ? Egress.UNTAGGED : Egress.NONE);
    }
  });
});

describe('a trunk port', () => {
  it('carries what is on its list', () => {
    check(
      fc.property(
        fc.array(vlans),
        fc.oneof(vlans, fc.constantFrom(NO_VLAN, VLAN_DROP)),
        vlans,
        (list, native, vlan) => {
          const port = trunkPort(native, list);
          const listed = list.includes(vlan);
          assert.equal(ingressVlan(port, UNTAGGED), native);
          assert.equal(ingressVlan(port, 0), native);
          assert.equal(ingressVlan(port, 4095), VLAN_DROP);
          assert.equal(ingressVlan(port, vlan), listed ? vlan : VLAN_DROP);
          assert.equal(egressOf(port, vlan), vlan === native ? Egress.UNTAGGED : listed ? Egress.TAGGED : Egress.NONE);
        },
      ),
      500,
    );
  });

  it('carries all VLANs if it has no list, and keeps frames without a tag apart from them', () => {
    const port = trunkPort();
    assert.equal(ingressVlan(port, UNTAGGED), NO_VLAN);
    assert.equal(egressOf(port, NO_VLAN), Egress.UNTAGGED);
    for (let vlan = 1; vlan <= VLAN_ID_MAX; vlan++) {
      assert.equal(ingressVlan(port, vlan), vlan);
      assert.equal(egressOf(port, vlan), Egress.TAGGED);
    }
  });

  it('never shows the VLAN of frames without a tag to a port that has another for these', () => {
    assert.equal(egressOf(trunkPort(5), NO_VLAN), Egress.NONE);
    assert.equal(egressOf(trunkPort(VLAN_DROP), NO_VLAN), Egress.NONE);
    assert.equal(egressOf(accessPort(5), NO_VLAN), Egress.NONE);
  });
});
