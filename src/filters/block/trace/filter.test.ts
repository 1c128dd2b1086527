import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { FilterRig } from '../../../../test/support/filter-rig.js';
import { fioLogFaults } from '../../../../test/support/fio-log.js';
import { Random, SEED } from '../../../../test/support/seed.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import { defineBlockFilter } from '../../../filter/contract.js';
import { trace } from './filter.js';
import { TraceMemory, TraceRecord, TraceWriter } from './memory.js';
import { TraceReader } from './reader.js';

/** Keeps every request until the test's time is later by so much, ns; fails reads of sector 7. */
const LATENCY_NS = 250_000;
const slow = defineBlockFilter({
  name: 'slow',
  defers: true,
  create(context) {
    const waiting: { token: number; due: number }[] = [];
    const now = new Float64Array(1);
    return {
      submit(request) {
        context.readNowNs(now, 0);
        waiting.push({ token: request.defer(), due: now[0]! + LATENCY_NS });
      },
      tick() {
        while (waiting.length > 0 && waiting[0]!.due <= context.now[0]!) {
          const { token } = waiting.shift()!;
          if (context.requestOf(token).sector === 7) context.finish(token, Status.IOERR);
          else context.goOn(token);
        }
      },
    };
  },
});

interface Line {
  readonly down: number;
  readonly up: number | null;
  readonly queue: number;
  readonly type: string;
  readonly sector: number;
  readonly bytes: number;
  readonly status: string | null;
  readonly latency_ns: number | null;
  readonly range?: number;
  readonly ranges?: number;
}

function start(test: TestContext, options: object, queues = 1, isSlow = false) {
  const base = scratchDirectory(test);
  const filters = [{ definition: trace, options: options as Record<string, unknown> }];
  const rig = new FilterRig(test, {
    filters: isSlow ? [...filters, { definition: slow }] : filters,
    queues,
    base,
    dataBytesMax: 65536,
    backend: { type: 'memory', size: 2 ** 20 },
  });
  const ask = (command: string, given: Record<string, string> = {}) =>
    rig.filters.opened[0]!.commands[command]!(given) as Promise<Record<string, unknown>>;
  const read = (name: string) => readFileSync(join(base, name), 'utf8');
  const lines = (text: string) =>
    text
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  return { rig, ask, read, lines };
}

describe('the trace', () => {
  it('has every request, with its times and how it ended', async (test) => {
    const { rig, ask, read, lines } = start(test, {}, 2, true);
    const begun: ReturnType<FilterRig['begin']>[] = [];
    for (const [queue, type, sector, bytes] of [
      [0, RequestType.OUT, 3, 4096],
      [1, RequestType.IN, 7, 512],
      [0, RequestType.FLUSH, 0, 0],
      [1, RequestType.IN, 100, 65_536],
    ] as const) {
      begun.push(rig.begin(type, sector, bytes, { queue, durable: sector === 3 }));
      rig.pass(50_000);
    }
    // One by one; the first has waited for 200 us.
    for (let i = 0; i < 20; i++) {
      rig.pass(50_000);
      for (const queue of rig.queues) queue.turn();
    }
    for (const request of begun) await rig.end(request);
    const cleared = rig.clear(RequestType.DISCARD, 64, 16);
    await rig.until(() => {
      rig.pass(50_000);
      return rig.queues[0]!.inFlight.size === 0;
    });
    await cleared;
    assert.deepEqual(await ask('export', { file: 'all.jsonl' }), {
      file: join(rig.filters.opened[0]!.ready.base, 'all.jsonl'),
      format: 'jsonl',
      records: 5,
      lost: 0,
      unfinished: 0,
    });
    const all = lines(read('all.jsonl'));
    assert.deepEqual(
      all.map(({ queue, type, sector, bytes, status }) => [queue, type, sector, bytes, status]),
      [
        [0, 'write', 3, 4096, 'ok'],
        [1, 'read', 7, 512, 'error'],
        [0, 'flush', 0, 0, 'ok'],
        [1, 'read', 100, 65_536, 'ok'],
        [0, 'discard', 64, 8192, 'ok'],
      ],
    );
    for (const { latency_ns, down, up } of all.slice(0, 4)) {
      assert.equal(latency_ns, LATENCY_NS);
      assert.ok(Math.abs(up! - down - LATENCY_NS / 1e9) < 2e-6);
    }
    assert.ok(Math.abs(all[3]!.down - all[0]!.down - 150e-6) < 2e-6);
    await assert.rejects(ask('export', { file: 'all.jsonl' }), /EEXIST/);
    await assert.rejects(ask('export', { file: 'x', format: 'xml' }), /format is jsonl or fio/);
    await assert.rejects(ask('export', { format: 'fio' }), /file says where to/);
    await assert.rejects(ask('export', { file: 'x', format: 'fio', name: 'a b' }), /name has no spaces/);
  });

  it(`is written as fio reads it, all queues in their order in time (seed ${SEED})`, async (test) => {
    const { rig, ask, read } = start(test, {}, 3);
    const random = new Random(SEED);
    const expected: string[] = [];
    let us = 0;
    for (let i = 0; i < 500; i++) {
      const step = i === 0 ? 0 : 1 + random.below(1000);
      us += step;
      rig.pass(step * 1000);
      const queue = random.below(3);
      const sector = random.below(1000);
      const sectors = 1 + random.below(16);
      const at = `${sector * SECTOR_BYTES} ${sectors * SECTOR_BYTES}`;
      const kind = random.below(5);
      if (kind === 0) await rig.read(sector, sectors * SECTOR_BYTES, { queue });
      else if (kind === 1) await rig.write(sector, Buffer.alloc(sectors * SECTOR_BYTES), { queue });
      else if (kind === 2) await rig.flush({ queue });
      else await rig.clear(kind === 3 ? RequestType.DISCARD : RequestType.WRITE_ZEROES, sector, sectors, false, queue);
      const action = ['read', 'write', 'sync', 'trim', 'write'][kind]!;
      expected.push(`${us} disk.img ${action} ${kind === 2 ? '0 0' : at}`);
    }
    await ask('export', { file: 'all.fio', format: 'fio', name: 'disk.img' });
    const text = read('all.fio');
    assert.deepEqual(fioLogFaults(text), []);
    assert.deepEqual(text.split('\n'), [
      'fio version 3 iolog',
      '0 disk.img add',
      '0 disk.img open',
      ...expected,
      `${us} disk.img close`,
      '',
    ]);
    // The same piece by piece.
    let [pieces, answer] = [
      '',
      { cursor: '', text: '', more: true } as { cursor: string; text: string; more: boolean },
    ];
    for (let i = 0; answer.more; i++) {
      const cursor = i === 0 ? { from: 'oldest' } : { cursor: answer.cursor };
      answer = (await ask('read', { format: 'fio', name: 'disk.img', end: 'yes', ...cursor })) as typeof answer;
      pieces += answer.text;
    }
    assert.equal(pieces, text);
  });

  it('counts what was overwritten before it was read, and keeps the newest', async (test) => {
    const { rig, ask, lines } = start(test, { records: 300 });
    const from = ((await ask('read', {})) as { cursor: string }).cursor;
    for (let i = 0; i < 700; i++) await rig.read(i, 512);
    const { text, lost, records } = await ask('read', { cursor: from, end: 'yes' });
    assert.deepEqual([lost, records], [700 - 512, 512]);
    assert.deepEqual(
      lines(text as string).map(({ sector }) => sector),
      Array.from({ length: 512 }, (_, i) => 188 + i),
    );
    assert.deepEqual(rig.counters(), { recorded: 700 });
  });

  it('is followed into a file, stopped and started again', async (test) => {
    const { rig, ask, read, lines } = start(test, { recording: false }, 2);
    await rig.read(1, 512);
    await ask('follow', { file: 'one.jsonl' });
    await assert.rejects(ask('follow', { file: 'two.jsonl' }), /is followed already/);
    for (let i = 0; i < 2500; i++) await rig.read(i % 1000, 512, { queue: i % 2 });
    const status = await ask('stop');
    await rig.read(2, 512);
    const following = status['following'] as { records: number; lost: number; ended: boolean; error: unknown };
    assert.deepEqual([following.records, following.lost, following.ended, following.error], [2500, 0, true, null]);
    assert.deepEqual(lines(read('one.jsonl')).length, 2500);
    await ask('start');
    await rig.read(3, 512);
    assert.deepEqual(rig.counters(), { recorded: 2501 });
    await ask('follow', { file: 'short.jsonl', max_bytes: '20000' });
    for (let i = 0; i < 2500; i++) await rig.read(i % 1000, 512);
    const { following: full } = (await ask('stop')) as { following: { error: unknown } };
    assert.equal(full.error, 'the file has its 20000 bytes');
    assert.ok(read('short.jsonl').length <= 20_000);
    await assert.rejects(ask('follow', { file: 'x', max_bytes: 'many' }), /max_bytes is a number of bytes/);
  });
});

describe('a trace’s memory', () => {
  const request = (slot: number, sector: number, ranges = 0) =>
    ({
      slot,
      type: ranges === 0 ? RequestType.IN : RequestType.DISCARD,
      sector,
      bytes: 512,
      durable: false,
      rangeCount: ranges,
      rangeSector: (i: number) => sector + i,
      rangeSectors: (i: number) => i + 1,
    }) as unknown as Parameters<TraceWriter['down']>[0];

  function memoryAndWriter(size = 256) {
    const memory = new TraceMemory(new SharedArrayBuffer(TraceMemory.bytesFor(1, size)), 1, size);
    memory.recording = true;
    const clock = { ns: 5e15 };
    const read = (into: Float64Array, slot: number) => {
      into[slot] = clock.ns;
    };
    return { memory, clock, make: () => new TraceWriter(memory, 0, 1024, read) };
  }
  const all = (reader: TraceReader, nowNs: number, limit = 1e6) => {
    const found: [number, number | undefined][] = [];
    reader.read(limit, nowNs, false, ({ sector, status }) => found.push([sector, status]));
    return found;
  };

  it('gives a request when it has ended, and later ones after it', () => {
    const { memory, clock, make } = memoryAndWriter();
    const writer = make();
    const reader = new TraceReader(memory);
    writer.down(request(1, 10));
    writer.down(request(2, 20));
    writer.up(request(2, 20), Status.OK);
    clock.ns += 5e6;
    assert.deepEqual(all(reader, clock.ns), []);
    writer.up(request(1, 10), Status.UNSUPP);
    assert.deepEqual(all(reader, clock.ns), [
      [10, Status.UNSUPP],
      [20, Status.OK],
    ]);
    // One that takes too long is given without.
    writer.down(request(3, 30));
    writer.down(request(4, 40, 3));
    writer.up(request(4, 40, 3), Status.OK);
    clock.ns += 2e9;
    assert.deepEqual(all(reader, clock.ns), [
      [30, undefined],
      [40, Status.OK],
      [41, Status.OK],
      [42, Status.OK],
    ]);
    assert.deepEqual([reader.records, reader.unfinished, reader.lost], [6, 1, 0]);
  });

  it('says that requests of a sidecore that died are unfinished, and has them again', () => {
    const { memory, clock, make } = memoryAndWriter();
    const reader = new TraceReader(memory);
    make().down(request(1, 10));
    const next = make();
    next.down(request(1, 10));
    next.up(request(1, 10), Status.OK);
    clock.ns += 5e6;
    assert.deepEqual(all(reader, clock.ns), [
      [10, undefined],
      [10, Status.OK],
    ]);
  });

  it('does not finish a record that has taken another’s place, and numbers go round', () => {
    const { memory, clock, make } = memoryAndWriter();
    // As after 2^32 records.
    memory.words[0] = -300;
    const writer = make();
    writer.down(request(1, 1));
    for (let i = 0; i < 400; i++) {
      writer.down(request(2, 1000 + i));
      writer.up(request(2, 1000 + i), Status.OK);
    }
    writer.up(request(1, 1), Status.IOERR);
    clock.ns += 5e6;
    const reader = new TraceReader(memory, [2 ** 32 - 300]);
    const found = all(reader, clock.ns);
    assert.deepEqual([found.length, reader.lost], [256, 401 - 256]);
    assert.ok(found.every(([sector, status], i) => sector === 1144 + i && status === Status.OK));
    const record = new TraceRecord();
    assert.equal(memory.read(0, 2 ** 32 - 300, record), false);
  });
});
