import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { definedFilter } from '../../../../test/support/frame-filters.js';
import { expectSame, makeFrame } from '../../../../test/support/frames.js';
import { NetRig } from '../../../../test/support/net-rig.js';
import type { FrameFilterSetup } from '../../../filter/frame-contract.js';
import { trace } from './filter.js';

/** UDP from 10.0.0.1:1000 to 10.0.0.2:53, and TCP from 2001:db8::1 to ::2. */
const UDP = Buffer.from(
  '5254000000015254000000000800450000280000000040110000' + '0a0000010a000002' + '03e80035',
  'hex',
);
const TCP6 = Buffer.concat([
  Buffer.from('52540000000152540000000086dd6000000000140640', 'hex'),
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from('00000000000000000000000000000002', 'hex'),
  Buffer.from('03e80050000000000000000050020000', 'hex'),
  Buffer.alloc(4),
]);

describe('the trace', () => {
  const start = (options: Record<string, unknown>) => {
    const traced = definedFilter(trace, options);
    const rig = new NetRig();
    const one = rig.guest({ filters: [traced.filter] });
    const other = rig.guest();
    const setup = { options: traced.options, shared: traced.shared } as unknown as FrameFilterSetup<never>;
    const { dump } = trace.manage!(setup).commands!;
    const lines = (args: Record<string, string> = {}) =>
      (dump!(args) as string)
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line));
    return { rig, one, other, lines };
  };

  it('shows the last frames, oldest first, as lines of JSON', () => {
    const { rig, one, other, lines } = start({ frames: 8, bytes: 64 });
    assert.deepEqual(lines(), []);
    const frames = Array.from({ length: 12 }, (_, i) => makeFrame(other.mac, one.mac, 60 + i, i));
    for (const frame of frames) one.send(frame);
    rig.run();
    expectSame(other.frames(), frames);
    const shown = lines();
    assert.deepEqual(
      shown.map(({ number, bytes }) => [number, bytes]),
      frames.slice(4).map(({ length }, i) => [i + 4, length]),
    );
    assert.equal(shown[7].head, frames[11]!.subarray(0, 64).toString('hex'));
    assert.equal(shown[7].direction, 'outbound');
    assert.match(shown[7].time, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    assert.deepEqual(
      lines({ last: '2' }).map(({ number }) => number),
      [10, 11],
    );
    assert.throws(() => lines({ last: 'x' }), /last: expects a whole number from 1, not x/);
    rig.release();
  });

  it('says what headers say', () => {
    const { rig, one, other, lines } = start({});
    other.send(Buffer.concat([one.mac, other.mac, UDP.subarray(12)]));
    other.send(Buffer.concat([one.mac, other.mac, TCP6.subarray(12)]));
    rig.run();
    assert.equal(one.frames().length, 2);
    const [udp, tcp] = lines();
    assert.equal(udp.direction, 'inbound');
    assert.equal(udp.type, '0x0800');
    assert.deepEqual([udp.ip_source, udp.source_port, udp.protocol], ['10.0.0.1', 1000, 17]);
    assert.deepEqual([udp.ip_destination, udp.destination_port], ['10.0.0.2', 53]);
    assert.deepEqual([tcp.ip_source, tcp.ip_destination, tcp.destination_port], ['2001:db8::1', '::2', 80]);
    assert.equal(tcp.tcp_flags, 2);
    rig.release();
  });
});
