/** Sidecores die while helpers of filters are at work for them: every byte is right, and nothing of the dead ones is left. */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriver, Load } from '../../src/guest/index.js';
import { allowedCpus } from '../../src/host/affinity.js';
import { scratchDirectory } from '../support/daemon.js';
import { until } from '../vhost-user/raw-front-end.js';
import { KillableDaemon } from './killable-daemon.js';

const DEPTH = 16;
const REQUEST_BYTES = 4096;
const DEATHS = 2;

/** Stores what its helper has made of the data, which takes it a while; reads are made of that again here. */
const FILTER = `import { defineBlockFilter, RequestType, Status } from 'sidecore/filter';

const Word = { MADE: 0, CLOSED: 1, BEGUN: 2, ENDED: 3 } as const;
const BYTES = ${REQUEST_BYTES};

const turnOver = (bytes: Uint8Array) => {
  for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i]! ^ 0x5a;
};

export default defineBlockFilter({
  name: 'slow-helper',
  defers: true,
  sharedBytes: 16,
  manage({ shared }) {
    const [made, closed, begun, ended] = Object.values(Word);
    const words = new Int32Array(shared);
    return { status: () => ({ helpers: words[made!]! - words[closed!]!, begun: words[begun!], working: words[begun!]! - words[ended!]! }) };
  },
  helper({ shared }) {
    const words = new Int32Array(shared);
    Atomics.add(words, Word.MADE, 1);
    return {
      async handle({ bytes }) {
        Atomics.add(words, Word.BEGUN, 1);
        await new Promise((resolve) => setTimeout(resolve, 2));
        turnOver(bytes);
        Atomics.add(words, Word.ENDED, 1);
        return 1;
      },
      close: () => void Atomics.add(words, Word.CLOSED, 1),
    };
  },
  create(context) {
    const pool = context.buffers(${DEPTH}, BYTES);
    const tokens = new Float64Array(${DEPTH});
    const buffers: ReturnType<typeof pool.take>[] = [];
    const own = new Uint8Array(BYTES);
    return {
      submit(request, next) {
        if (request.type !== RequestType.OUT) return next(request);
        const buffer = pool.take()!;
        request.copyTo(0, buffer.bytes, 0, BYTES);
        tokens[buffer.index] = request.defer();
        buffers[buffer.index] = buffer;
        context.helper.ask(0, buffer, buffer.index);
      },
      answered(index, result) {
        if (result !== 1) throw new Error('the helper has failed');
        const buffer = buffers[index]!;
        context.below.write(buffer, context.requestOf(tokens[index]!).sector, BYTES, index);
      },
      done(index, status) {
        pool.giveBack(buffers[index]!);
        context.finish(tokens[index]!, status);
      },
      complete(request, status) {
        if (request.type !== RequestType.IN || status !== Status.OK) return status;
        request.copyTo(0, own, 0, BYTES);
        turnOver(own);
        request.copyFrom(0, own, 0, BYTES);
        return status;
      },
    };
  },
});
`;

it('helpers are at work for sidecores that die', { timeout: 60_000 }, async (test) => {
  const use = join(scratchDirectory(test), 'slow-helper.ts');
  writeFileSync(use, FILTER);
  const disk = { backend: { type: 'memory', size: 2 ** 20 }, filters: [{ use }] };
  const daemon = await KillableDaemon.start(test, {
    cores: allowedCpus().slice(0, 1),
    vms: { vm: { disks: { d: disk } } },
  });
  const guest = await BlockDriver.connect({ socket: daemon.socket('vm'), depth: DEPTH, requestBytes: REQUEST_BYTES });
  test.after(() => guest.close());
  // Of blocks that nobody has written the filter makes something else than zeroes.
  const pattern = { depth: DEPTH, requestBytes: REQUEST_BYTES, workingSetBytes: 2 ** 17, verify: true };
  const load = new Load([guest], { ...pattern, readShare: 0.5 });
  load.start();
  const workDuring = async (what: Promise<unknown>) => {
    const done = what.then(() => true);
    do {
      const { errors, mismatches } = load.run(2);
      assert.deepEqual([errors, mismatches], [0, 0]);
    } while (!(await Promise.race([done, turn(false)])));
  };
  const served = async () => (await daemon.status()).vms.vm!.d!;
  const stateOf = async () => (await served()).filters[0]!.state as { helpers: number; begun: number; working: number };
  const descriptors = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
  /** Goes on until helpers have begun so many jobs more. */
  const workFor = async (jobs: number) => {
    const enough = (await stateOf()).begun + jobs;
    await workDuring(until(async () => (await stateOf()).begun >= enough, 'helpers are at work'));
  };
  await workFor(4 * DEPTH);
  const before = descriptors();
  for (let i = 0; i < DEATHS; i++) {
    await workDuring(daemon.kill(0, 300 + 500 * i));
    await workFor(2 * DEPTH);
  }
  assert.ok(load.finish());
  const { filters, queues } = await served();
  assert.deepEqual([filters[0]!.in_service, filters[0]!.faults], [true, 0], filters[0]!.last_fault ?? '');
  assert.ok(queues[0]!.retaken > 0, 'requests were with the helper when their sidecore died');
  // What was asked for the dead ones comes to its end, too, and their helpers go.
  await until(async () => (await stateOf()).working === 0, 'no job is under way');
  assert.equal((await stateOf()).helpers, 1);
  await until(() => descriptors() <= before, 'the dead ones’ descriptors are closed');
});
