import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CONFIG_SPACE_BYTES_MAX, CONTROL_BYTES_MAX, CONTROL_MACS_MAX } from '../limits.js';
import { runCommand } from './control-command.js';
import { NetDeviceState } from './device-state.js';
import { UNTAGGED } from './ethernet.js';
import { LinkStatus } from './features.js';
import { NetConfigOffset } from './net-config.js';

const OWN = { high: 0x5254, low: 0x0000_0001 } as const;
const GROUP = { high: 0x0100, low: 0x5e00_0001 } as const;

function create() {
  const shared = new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + NetDeviceState.BYTES);
  const state = new NetDeviceState(shared);
  state.reset(OWN.high, OWN.low);
  const run = (...bytes: number[]) => {
    const command = Buffer.from(bytes);
    return runCommand(command.subarray(0, CONTROL_BYTES_MAX), command.length, state, 4);
  };
  const accepts = (high: number, low: number, vlan = UNTAGGED) => state.filter.accepts(high, low, vlan);
  return { shared, state, run, accepts };
}

const mac = (high: number, low: number) => [
  high >>> 8,
  high & 0xff,
  low >>> 24,
  (low >>> 16) & 0xff,
  (low >>> 8) & 0xff,
  low & 0xff,
];
const u32 = (value: number) => [value & 0xff, value >>> 8, 0, 0];

describe('commands of the control queue', () => {
  it('before the first of them everything is received', () => {
    const { state, accepts } = create();
    assert.equal(state.filter.active, false);
    assert.ok(accepts(1, 2) && accepts(GROUP.high, GROUP.low) && accepts(0xffff, 0xffff_ffff, 7));
  });

  it('set which addresses are received', () => {
    const { run, accepts } = create();
    assert.ok(run(0, 0, 0), 'no longer promiscuous');
    assert.ok(accepts(OWN.high, OWN.low) && accepts(0xffff, 0xffff_ffff));
    assert.ok(!accepts(OWN.high, OWN.low + 1) && !accepts(GROUP.high, GROUP.low));
    assert.ok(run(1, 0, ...u32(1), ...mac(0x0200, 7), ...u32(1), ...mac(GROUP.high, GROUP.low)));
    assert.ok(accepts(0x0200, 7) && accepts(GROUP.high, GROUP.low) && !accepts(0x0200, 8));
    assert.ok(run(0, 1, 1), 'all of groups');
    assert.ok(accepts(0x0300, 9) && !accepts(0x0200, 8));
    assert.ok(run(0, 2, 1), 'all of stations');
    assert.ok(accepts(0x0200, 8));
    assert.ok(run(0, 3, 1) && run(0, 4, 1) && run(0, 5, 1), 'none of groups, stations, everybody');
    assert.ok(!accepts(GROUP.high, GROUP.low) && !accepts(OWN.high, OWN.low) && !accepts(0xffff, 0xffff_ffff));
    assert.ok(run(0, 0, 1), 'promiscuous again');
    assert.ok(accepts(0x0200, 8));
  });

  it('a table longer than what is remembered means all', () => {
    const { run, accepts } = create();
    run(0, 0, 0);
    const many = Array.from({ length: CONTROL_MACS_MAX + 1 }, (_, i) => mac(0x0200, i)).flat();
    assert.ok(run(1, 0, ...u32(CONTROL_MACS_MAX + 1), ...many, ...u32(0)));
    assert.ok(accepts(0x0200, 0xdead) && accepts(0x0300, 1));
  });

  it('a table that fits again ends that, and leaves the modes as the driver has set them', () => {
    const { run, accepts } = create();
    run(0, 0, 0);
    const many = Array.from({ length: CONTROL_MACS_MAX + 1 }, (_, i) => mac(0x0200, i)).flat();
    const few = [1, 0, ...u32(1), ...mac(0x0200, 7), ...u32(0)];
    assert.ok(run(1, 0, ...u32(CONTROL_MACS_MAX + 1), ...many, ...u32(0)));
    assert.ok(run(...few));
    assert.ok(accepts(0x0200, 7) && !accepts(0x0200, 0xdead) && !accepts(0x0300, 1));
    assert.ok(run(0, 1, 1), 'all of groups');
    assert.ok(run(1, 0, ...u32(CONTROL_MACS_MAX + 1), ...many, ...u32(0)));
    assert.ok(run(...few));
    assert.ok(accepts(0x0300, 1) && !accepts(0x0200, 0xdead));
  });

  it('a table of which only the beginning is looked at means all, if it can be one', () => {
    for (const [unicast, multicast] of [
      [700, 0],
      [0, 700],
      [350, 350],
    ] as const) {
      const { run, accepts } = create();
      run(0, 0, 0);
      const table = (count: number) => [
        ...u32(count),
        ...Array.from({ length: count }, (_, i) => mac(0x0200, i)).flat(),
      ];
      const command = [1, 0, ...table(unicast), ...table(multicast)];
      assert.ok(!run(...command, 0), 'a byte too many');
      assert.ok(!run(1, 0, ...u32(0xffff), ...command.slice(6)), 'more of stations than there is');
      assert.ok(!accepts(0x0200, 0xdead));
      assert.ok(!run(4, 0, ...command.slice(2)), 'another command');
      assert.ok(run(...command));
      assert.ok(accepts(0x0200, 0xdead) && accepts(0x0300, 1));
    }
  });

  it('set the address, which the driver then reads', () => {
    const { shared, run, accepts } = create();
    run(0, 0, 0);
    assert.ok(run(1, 1, ...mac(0x0200, 99)));
    assert.ok(accepts(0x0200, 99) && !accepts(OWN.high, OWN.low));
    assert.deepEqual([...Buffer.from(shared, NetConfigOffset.MAC, 6)], mac(0x0200, 99));
    assert.ok(!run(1, 1, ...mac(GROUP.high, GROUP.low)), 'of a group');
    assert.ok(!run(1, 1, 0, 0, 0, 0, 0, 0), 'of nobody');
  });

  it('set VLANs, queue pairs, and end an announcement', () => {
    const { shared, state, run, accepts } = create();
    assert.ok(run(2, 0, 10, 0));
    assert.ok(accepts(1, 1, 10) && !accepts(1, 1, 11) && accepts(1, 1));
    assert.ok(run(2, 1, 10, 0) && !accepts(1, 1, 10));
    assert.ok(!run(2, 0, 0xff, 0x0f), 'VLAN 4095');
    assert.ok(run(4, 0, 3, 0));
    assert.equal(state.pairs, 3);
    assert.ok(!run(4, 0, 0, 0) && !run(4, 0, 5, 0));
    assert.equal(state.pairs, 3);
    const status = new DataView(shared, NetConfigOffset.STATUS, 2);
    status.setUint16(0, LinkStatus.UP | LinkStatus.ANNOUNCE, true);
    assert.ok(run(3, 0));
    assert.equal(status.getUint16(0, true), LinkStatus.UP);
  });

  it('of any bytes do no harm, and are done whole or not at all', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.constantFrom(0, 1, 2, 3, 4, 5),
        fc.nat(6),
        (bytes, kind, number) => {
          const { shared, state } = create();
          const before = Buffer.from(new Uint8Array(shared));
          const command = Buffer.from([kind, number, ...bytes]);
          if (runCommand(command, command.length, state, 4)) return;
          assert.deepEqual(Buffer.from(new Uint8Array(shared)), before);
        },
      ),
    );
  });
});
