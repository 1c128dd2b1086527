import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { MacTable } from '../../src/net/mac-table.js';
import { PORT_COUNTER_BYTES } from '../../src/net/port.js';
import { Switch } from '../../src/net/switch.js';
import { trunkPort } from '../../src/net/vlan.js';
import { portConformance } from '../../test/conformance/port.js';
import { expectSame, macOf, makeFrame } from '../../test/support/frames.js';
import { NetRig } from '../../test/support/net-rig.js';
import { EchoPort } from './port.js';

const echo = (network: Switch) => {
  const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
  return new EchoPort({ number: 7, switchId: 0, vlans: trunkPort(), shared }, network);
};

portConformance({
  name: 'echo (example)',
  create: () => ({ port: echo(new Switch(new MacTable({ secrets: [1, 2] }))) }),
});

it('a guest hears itself', () => {
  const rig = new NetRig();
  const guest = rig.guest();
  const network = rig.networks.switch(0);
  const port = echo(network);
  network.plug(port);
  const sent = [60, 300, 1514].map((length, i) => makeFrame(macOf(99), guest.mac, length, i));
  for (const frame of sent) guest.send(frame);
  rig.run();
  assert.equal(port.active, true);
  assert.equal(port.turn(), sent.length);
  rig.run();
  const heard = sent.map((frame) => Buffer.concat([guest.mac, macOf(99), frame.subarray(12)]));
  expectSame(guest.frames(), heard);
  assert.equal(port.active, false);
  rig.release();
});

it('the guide to adding a port shows this code', () => {
  const guide = readFileSync('docs/adding-a-port.md', 'utf8');
  assert.ok(guide.includes(readFileSync('examples/port/port.ts', 'utf8').trim()));
});
