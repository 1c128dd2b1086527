import assert from 'node:assert/strict';
import { it } from 'node:test';
import { rarpFrame } from './rarp.js';

it('an announcement is a reverse request to everybody, of the shortest length', () => {
  const mac = Buffer.from('525400123456', 'hex');
  const frame = rarpFrame(mac)!;
  const zeros = '00000000';
  const expected = `ffffffffffff5254001234568035000108000604000352540012345600000000525400123456${zeros}`;
  assert.equal(frame.length, 60);
  assert.equal(frame.toString('hex'), expected.padEnd(120, '0'));
});

it('nobody announces a group, or nobody', () => {
  for (const mac of ['ffffffffffff', '01005e000001', '000000000000'])
    assert.equal(rarpFrame(Buffer.from(mac, 'hex')), undefined);
});
