import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { expectSame, makeFrame } from '../../test/support/frames.js';
import { NetRig } from '../../test/support/net-rig.js';
import type { FrameChain } from './frame-chain.js';
import { defineFrameFilter } from './frame-contract.js';
import { createFrameChain } from './frame-create.js';
import type { FrameChainSpec, FrameFilterSpec } from './frame-spec.js';
import { ChainControl, FilterMemory } from './memory.js';

const events: string[] = [];

/** Keeps what it is told to, until it is told otherwise; counts in a variable. */
const keep = defineFrameFilter({
  name: 'keep',
  options: (z) => z.strictObject({ name: z.string(), keeps: z.boolean() }),
  counters: ['asked'],
  sharedBytes: 4,
  defers: true,
  create({ options, previous, counter, shared }) {
    let count = (previous as number | undefined) ?? 0;
    const asked = counter('asked');
    events.push(`${options.name} made`);
    return {
      outbound(frame, next) {
        asked.add(1);
        count++;
        new Int32Array(shared)[0] = count;
        if (!options.keeps || frame.defer() < 0) next(frame);
      },
      handOver: () => count,
      close() {
        events.push(`${options.name} closed`);
      },
    };
  },
});

let lastId = 0;

function specOf(name: string, keeps: boolean, old?: FrameFilterSpec): FrameFilterSpec {
  const memory = new FilterMemory({ counters: ['asked'], histograms: [], queues: 1 });
  return {
    id: ++lastId,
    replaces: old?.id,
    name: 'keep',
    counters: ['asked'],
    histograms: [],
    defers: true,
    module: { kind: 'built-in', name: 'keep' },
    options: { name, keeps },
    prepared: undefined,
    onFault: 'closed',
    timeNsMax: 1e6,
    memory: memory.buffer,
    shared: old?.shared ?? new SharedArrayBuffer(4),
    group: new SharedArrayBuffer(0),
    ports: {},
  };
}

describe('the filters of a card that are changed', () => {
  const start = () => {
    events.length = 0;
    const rig = new NetRig();
    const one = rig.guest();
    const other = rig.guest();
    const port = rig.networks.port(one.spec);
    const network = rig.networks.switch(0);
    const control = new ChainControl().buffer;
    const use = (...filters: FrameFilterSpec[]) => {
      const spec: FrameChainSpec = { vm: 'vm', device: 'n', mac: one.spec.mac, queues: 1, control, filters };
      const place = { port, network, networks: rig.networks, host: rig.frameHost, builtIns: { keep } as never };
      port.filters = createFrameChain(spec, place, port.filters as FrameChain | undefined);
    };
    let seed = 0;
    const send = (count: number) => {
      const frames = Array.from({ length: count }, () => makeFrame(other.mac, one.mac, 100, ++seed));
      for (const frame of frames) one.send(frame);
      rig.run();
      return frames;
    };
    return { rig, other, use, send, port };
  };

  it('stay with all that they keep, or go and pass it on, or are replaced and hand over', () => {
    const { rig, other, use, send, port } = start();
    const [a, b] = [specOf('a', false), specOf('b', true)];
    use(a, b);
    const frames = send(5);
    assert.deepEqual(other.frames(), []);
    const c = specOf('c', false);
    use(c, b, a);
    assert.deepEqual(events.splice(0), ['a made', 'b made', 'c made']);
    assert.equal(port.filters!.kept, 5);
    use(c, a);
    rig.run();
    expectSame(other.frames(), frames);
    assert.deepEqual(events.splice(0), ['b closed']);
    expectSame(send(3), other.frames());
    const d = specOf('d', false, c);
    use(d, a);
    assert.deepEqual(events.splice(0), ['c closed', 'd made']);
    expectSame(send(4), other.frames());
    // Three came to c, and four to d.
    assert.equal(new Int32Array(d.shared)[0], 7);
    // First nearer to the guest than b, then behind it, where it was asked about the same once more.
    assert.equal(new Int32Array(a.shared)[0], 5 + 5 + 3 + 4);
    assert.equal(new FilterMemory({ ...d, queues: 1 }, d.memory).readCounters()['asked'], 4);
    rig.release();
  });

  it('may be made while others are out of service, and one that cannot be made is', () => {
    const { rig, other, use, send } = start();
    const bad = {
      ...specOf('bad', false),
      module: { kind: 'text', file: 'bad.js', text: 'throw new Error("no")' } as const,
    };
    use(bad);
    send(3);
    assert.deepEqual(other.frames(), []);
    const memory = new FilterMemory({ ...bad, queues: 1 }, bad.memory);
    assert.equal(memory.out, true);
    assert.match(memory.faultNote.look()!, /^no/);
    use(specOf('a', false));
    expectSame(send(3), other.frames());
    rig.release();
  });
});
