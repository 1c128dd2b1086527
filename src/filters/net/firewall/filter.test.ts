import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BytesFrame } from '../../../../test/support/bytes-frame.js';
import { OWN_MAC, readFirewall } from '../../../../test/support/firewall.js';
import { ethernet, ip, TCP, tcp } from '../../../../test/support/packets.js';
import type { FrameFilterContext, FrameFilterHooks } from '../../../filter/frame-contract.js';
import { nowNs } from '../../../host/clock.js';
import { firewall } from './filter.js';
import { manageFirewall } from './manage.js';
import { memoryBytes } from './memory.js';
import type { FirewallOptions } from './options.js';

const MAC = { high: 0x5254, low: 1 };
const packet = (outbound: boolean, mine: number, theirs: number, flags: number) => {
  const sides = ['10.0.0.5', '192.0.2.1'] as const;
  const [from, to] = outbound ? sides : [sides[1], sides[0]];
  const ports = outbound ? ([mine, theirs] as const) : ([theirs, mine] as const);
  return new BytesFrame(ethernet({ from: OWN_MAC }, ...ip(from, to, tcp(...ports, { flags }), { protocol: 6 })));
};

/** A filter on its card, without a card. */
class Card {
  readonly options: FirewallOptions;
  readonly shared: SharedArrayBuffer;
  readonly counts: Record<string, number> = {};
  readonly hooks: FrameFilterHooks;
  now = nowNs();

  constructor(written: Record<string, unknown>, shared?: SharedArrayBuffer, previous?: unknown) {
    this.options = readFirewall(written);
    this.shared = shared ?? new SharedArrayBuffer(memoryBytes(this.options));
    const counter = (name: string) => ({
      add: (count: number) => (this.counts[name] = (this.counts[name] ?? 0) + count),
    });
    const readNowNs = (into: Float64Array, slot: number) => (into[slot] = this.now);
    const { options } = this;
    const prepared = structuredClone(this.manage().prepared);
    const context = { options, mac: MAC, shared: this.shared, previous, prepared, counter, readNowNs };
    this.hooks = firewall.create(context as unknown as FrameFilterContext<FirewallOptions>);
  }

  manage() {
    const setup = { vm: 'vm', device: 'net0', mac: MAC, group: new SharedArrayBuffer(0), base: '/', log() {} };
    return manageFirewall({ ...setup, options: this.options, shared: this.shared });
  }

  passes(outbound: boolean, mine: number, theirs: number, flags: number): boolean {
    let passed = 0;
    this.hooks[outbound ? 'outbound' : 'inbound']!(packet(outbound, mine, theirs, flags), () => passed++);
    assert.ok(passed <= 1);
    return passed === 1;
  }
}

const WEB = { in: 'accept', protocol: 'tcp', port: 80, name: 'web' };
const SSH = { in: 'accept', protocol: 'tcp', port: 22 };

describe('the filter firewall', () => {
  it('passes on or says nothing, counts why, and tells of its connections', () => {
    const card = new Card({ rules: [SSH, WEB] });
    assert.ok(card.passes(false, 80, 5000, TCP.SYN));
    assert.ok(card.passes(true, 80, 5000, TCP.SYN | TCP.ACK));
    assert.ok(!card.passes(false, 81, 5000, TCP.SYN));
    assert.deepEqual(card.counts, { in_accepted: 1, out_established: 1, in_dropped_default: 1 });
    const { commands, status } = card.manage();
    const expected = {
      protocol: 'tcp',
      begun: 'in',
      local: '10.0.0.5:80',
      remote: '192.0.2.1:5000',
      state: 'answered',
      rule: 'web',
    };
    const { count, connections } = commands!['connections']!({}) as {
      count: number;
      connections: { expires_s: number }[];
    };
    const [{ expires_s, ...rest }] = connections as [{ expires_s: number }];
    assert.deepEqual([count, rest], [1, expected]);
    assert.ok(expires_s > 0 && expires_s <= 60);
    assert.deepEqual(commands!['connections']!({ limit: '0' }), { count: 1, connections: [] });
    assert.deepEqual(status!(), { connections: 1, rules: [{ name: 'web', hits: 1 }] });
    assert.deepEqual(commands!['rules']!({}), [
      { name: 'rule 1', hits: 0 },
      { name: 'web', hits: 1 },
    ]);
    assert.deepEqual(commands!['forget']!({}), { forgotten: 1 });
    assert.ok(card.passes(true, 80, 5000, TCP.RST));
    assert.equal((card.counts as Record<string, number>)['out_accepted_default'], 1, 'it belongs to none any more');
  });

  for (const max of [16_384, 1024]) {
    it(`keeps connections and hits when its rules change, its table ${max === 16_384 ? 'as it was' : 'another'}`, () => {
      const before = new Card({ default: 'drop', rules: [SSH, WEB] });
      before.passes(false, 80, 5000, TCP.SYN);
      before.passes(false, 22, 5001, TCP.SYN);
      const written = { default: 'drop', rules: [{ in: 'drop', from: '10.9.0.0/16' }, WEB], track: { max } };
      const shared = memoryBytes(readFirewall(written)) === before.shared.byteLength ? before.shared : undefined;
      assert.equal(shared !== undefined, max === 16_384);
      const after = new Card(written, shared, structuredClone(before.hooks.handOver!()));
      assert.deepEqual(after.manage().commands!['rules']!({}), [
        { name: 'rule 1', hits: 0 },
        { name: 'web', hits: 1 },
      ]);
      assert.ok(after.passes(true, 80, 5000, TCP.SYN | TCP.ACK), 'what was accepted is answered');
      assert.ok(after.passes(true, 22, 5001, TCP.SYN | TCP.ACK), 'though there is no rule for it any more');
      assert.ok(!after.passes(false, 22, 5002, TCP.SYN));
      const { connections } = after.manage().commands!['connections']!({}) as { connections: { rule: string }[] };
      assert.deepEqual(connections.map(({ rule }) => rule).sort(), ['default', 'web']);
    });
  }

  it('begins anew with memory whose rules it does not know, and goes on with its own', () => {
    const before = new Card({ rules: [WEB] });
    before.passes(false, 80, 5000, TCP.SYN);
    const same = new Card({ rules: [WEB] }, before.shared);
    assert.deepEqual(same.manage().commands!['rules']!({}), [{ name: 'web', hits: 1 }]);
    const other = new Card({ rules: [SSH] }, before.shared);
    assert.deepEqual(other.manage().commands!['rules']!({}), [{ name: 'rule 1', hits: 0 }]);
  });

  it('looks at the clock for each frame while they are few, and at least after 64', () => {
    const few = new Card({});
    for (let port = 6000; port < 6010; port++) {
      few.now += 1e9;
      assert.ok(few.passes(true, port, 80, TCP.SYN));
    }
    few.now += 59e9;
    assert.ok(few.passes(false, 6009, 80, TCP.SYN | TCP.ACK), 'it was begun 59 s ago');
    few.now += 1e9;
    assert.ok(!few.passes(false, 6008, 80, TCP.SYN | TCP.ACK), 'it was begun 61 s ago');
    const many = new Card({});
    assert.ok(many.passes(true, 5000, 80, TCP.SYN));
    for (let i = 0; i < 1000; i++) assert.ok(many.passes(true, 6000, 80, TCP.SYN));
    many.now += 60e9;
    for (let i = 0; i < 64; i++) many.passes(true, 6001, 80, TCP.SYN);
    assert.ok(!many.passes(false, 5000, 80, TCP.SYN | TCP.ACK));
  });
});
