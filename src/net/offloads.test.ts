import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NET_FEATURES } from './features.js';
import { GSO_ECN, GsoType, NetHeader, NetHeaderFlag } from './net-header.js';
import { guestOffloads, hostOffloads, neededOffloads, Offload, UNKNOWN_OFFLOAD } from './offloads.js';

const EVERYTHING = Object.values(NET_FEATURES).reduce((all, bit) => all | bit, 0n);

describe('offloads', () => {
  it('are what was negotiated, in each direction', () => {
    const all = Object.values(Offload).reduce((bits, bit) => bits | bit, 0);
    assert.equal(hostOffloads(EVERYTHING), all);
    assert.equal(guestOffloads(EVERYTHING), all);
    const { CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_USO } = NET_FEATURES;
    const { GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6 } = NET_FEATURES;
    const ofHost: [bigint, number][] = [
      [HOST_TSO4, Offload.TSO4],
      [HOST_TSO6, Offload.TSO6],
      [HOST_ECN, Offload.ECN],
      [HOST_USO, Offload.USO4 | Offload.USO6],
    ];
    for (const [feature, offload] of ofHost) {
      assert.equal(hostOffloads(CSUM | feature), Offload.CSUM | offload);
      assert.equal(guestOffloads(GUEST_CSUM | feature), Offload.CSUM);
    }
    const ofGuest: [bigint, number][] = [
      [GUEST_TSO4, Offload.TSO4],
      [GUEST_TSO6, Offload.TSO6],
      [GUEST_ECN, Offload.ECN],
      [GUEST_USO4, Offload.USO4],
      [GUEST_USO6, Offload.USO6],
    ];
    for (const [feature, offload] of ofGuest) {
      assert.equal(guestOffloads(GUEST_CSUM | feature), Offload.CSUM | offload);
      assert.equal(hostOffloads(CSUM | feature), Offload.CSUM);
    }
  });

  it('are none without the checksum', () => {
    assert.equal(hostOffloads(EVERYTHING & ~NET_FEATURES.CSUM), 0);
    assert.equal(guestOffloads(EVERYTHING & ~NET_FEATURES.GUEST_CSUM), 0);
  });

  it('are needed as the header says', () => {
    const needed = (gsoType: number, flags: number = NetHeaderFlag.NEEDS_CSUM) =>
      neededOffloads(Object.assign(new NetHeader(), { flags, gsoType }));
    assert.equal(needed(GsoType.NONE, 0), 0);
    assert.equal(needed(GsoType.NONE, NetHeaderFlag.DATA_VALID), 0);
    assert.equal(needed(GsoType.NONE), Offload.CSUM);
    assert.equal(needed(GsoType.TCPV4), Offload.CSUM | Offload.TSO4);
    assert.equal(needed(GsoType.TCPV6 | GSO_ECN), Offload.CSUM | Offload.TSO6 | Offload.ECN);
    assert.equal(needed(GsoType.UDP_L4), Offload.CSUM | Offload.USO4 | Offload.USO6);
    const known: number[] = [GsoType.NONE, GsoType.TCPV4, GsoType.TCPV6, GsoType.UDP_L4];
    for (let type = 0; type < 256; type++) {
      const ok = known.includes(type) || type === (GsoType.TCPV4 | GSO_ECN) || type === (GsoType.TCPV6 | GSO_ECN);
      assert.equal(needed(type) === UNKNOWN_OFFLOAD, !ok, `${type}`);
    }
  });
});
