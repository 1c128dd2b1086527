/** `sidecore filter` as it is called, and filters whose files are saved while a daemon runs. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CleanupSteps, Daemon, scratchDirectory } from '../../test/support/daemon.js';
import { BlockDriver, RequestType, Status } from '../guest/index.js';
import { allowedCpus } from '../host/affinity.js';

const MIB = 2 ** 20;

/** Refuses writes of a kind, and answers questions. */
const filter = (more = '', counter = 'seen') => `import { defineBlockFilter } from 'sidecore/filter';
import { STEP } from './step.js';

export default defineBlockFilter({
  name: 'look',
  options: (z) => z.strictObject({ n: z.int().default(1), deep: z.strictObject({ a: z.int(), b: z.int() }).optional() }),
  counters: ['${counter}'],
  manage: ({ options }) => ({
    commands: {
      add: ({ to = '0' }) => ({ sum: options.n + Number(to), step: STEP }),
      large: () => 1n,
      text: () => '{"a":1}\\n{"a":2}\\n',
      fail: async () => { throw new Error('as it was told'); },
    },
  }),
  create({ counter }) {
    const seen = counter('${counter}');
    ${more}
    return { submit(request, next) { seen.add(1); next(request); } };
  },
});
`;

describe('sidecore filter', { timeout: 120_000 }, () => {
  const steps = new CleanupSteps();
  let folder: string;
  let daemon: Daemon;
  let file: string;
  let config: string;

  before(async () => {
    folder = scratchDirectory(steps);
    file = join(folder, 'look.ts');
    writeFileSync(file, filter());
    writeFileSync(join(folder, 'step.ts'), 'export const STEP = 1;\n');
    writeFileSync(join(folder, 'options.yaml'), 'n: 7\ndeep: { a: 1, b: 2 }\n');
    const disk = { backend: { type: 'memory', size: MIB } };
    const disks = { d: disk, watched: { ...disk, filters: [{ use: './look.ts', watch: true }] } };
    const vms = { vm: { disks, nics: { n: { network: 'lan' } } }, other: { nics: { n: { network: 'lan' } } } };
    daemon = await Daemon.start(
      steps,
      { mode: 'adaptive', cores: [allowedCpus().at(-1) ?? 0], vms },
      { directory: folder },
    );
    config = readFileSync(join(folder, 'sidecore.yaml'), 'utf8');
  });

  after(async () => {
    await steps.run();
  });

  /** What a command answers in JSON. */
  async function answer(...args: string[]) {
    const { status, stdout, stderr } = await daemon.cli('filter', ...args, '--json');
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  }

  /** Names of a device's filters, and their options. */
  const brief = ({ filters }: { filters: { name: string; options: unknown }[] }) =>
    filters.map(({ name, options }) => [name, options]);

  async function refused(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await daemon.cli('filter', ...args);
    assert.deepEqual([status, stdout], [1, '']);
    return stderr.replaceAll(`${folder}/`, '');
  }

  it('adds, sets, replaces, asks and removes', async () => {
    const added = await daemon.cli('filter', 'add', 'vm/d', file, '--options-file', join(folder, 'options.yaml'));
    assert.equal(added.status, 0, added.stderr);
    assert.match(added.stdout, /^vm\/d +0 +look +in service +closed +\S+look\.ts +\{"n":7,"deep":\{"a":1,"b":2\}\}$/m);
    assert.match(added.stdout, /not the filters of the configuration, which stays as it is/);
    const options = { n: 7, deep: { a: 1, b: 2 } };
    assert.deepEqual(brief(await answer('add', 'vm/d', 'meter', '--before', 'look', '--on-fault', 'open')), [
      ['meter', {}],
      ['look', options],
    ]);
    assert.deepEqual(brief(await answer('set', 'vm/d', 'look', 'n=8', 'deep.b=3'))[1], [
      'look',
      { n: 8, deep: { a: 1, b: 3 } },
    ]);
    assert.deepEqual(await answer('ask', 'vm/d', '1', 'add', 'to=5'), { sum: 13, step: 1 });
    // By a path that starts where the command is called.
    const path = `./${relative(process.cwd(), file)}`;
    const text = '{"a":1}\n{"a":2}\n';
    assert.equal((await daemon.cli('filter', 'ask', 'vm/d', path, 'text')).stdout, text);
    assert.equal(await answer('ask', 'vm/d', path, 'text'), text);
    assert.equal((await answer('set', 'vm/d', path, 'n=8')).filters[1].options.n, 8);
    assert.match(await refused('remove', 'vm/d', './look.ts'), /vm\/d has no filter \.\/look\.ts/);
    assert.match(await refused('ask', 'vm/d', 'look', 'fail'), /fail of the filter .*look\.ts: as it was told/);
    assert.match(
      await refused('ask', 'vm/d', 'look', 'mend'),
      /no command mend \[CONFIG_INVALID\]\n +It has: add, large, text, fail\./,
    );
    // Anew by itself, it has what it had; another begins with what is said.
    const again = await answer('replace', 'vm/d', 'look');
    assert.deepEqual(brief(again)[1], ['look', { n: 8, deep: { a: 1, b: 3 } }]);
    const replaced = await answer('replace', 'vm/d', '0', 'meter', '--set', 'latency=false');
    assert.deepEqual(brief(replaced)[0], ['meter', { latency: false }]);
    assert.equal(replaced.filters[0].on_fault, 'open');
    assert.equal(replaced.changed, true);
    assert.equal((await daemon.status()).vms['vm']!['d']!.filters_changed, true);
    assert.match((await daemon.cli('status')).stdout, /not as configured: vm\/d\n/);
    await answer('remove', 'vm/d', 'meter');
    assert.deepEqual(await answer('remove', 'vm/d', '0'), {
      device: 'vm/d',
      kind: 'block',
      filters: [],
      changed: false,
    });
    assert.equal(readFileSync(join(folder, 'sidecore.yaml'), 'utf8'), config);
  });

  it('says what is wrong, and changes nothing', async () => {
    writeFileSync(join(folder, 'bad.ts'), 'export const good = 1;\nexport const = 2;\n');
    writeFileSync(join(folder, 'throws.ts'), 'const a = 1;\n\nthrow new Error("at once " + a);\n');
    writeFileSync(join(folder, 'loops.ts'), 'for (;;);\n');
    const cases: [args: string[], says: RegExp][] = [
      [
        ['add', 'vm/x', 'meter'],
        /there is no disk or network card vm\/x \[CONFIG_INVALID\]\n +There are: vm\/d, vm\/watched, vm\/n, other\/n\./,
      ],
      [['add', 'vm/d', join(folder, 'bad.ts')], /bad\.ts:2: Expected .* \[FILTER_INVALID\]/],
      [['add', 'vm/d', join(folder, 'throws.ts')], /at once 1 \(.*throws\.ts:3\) \[FILTER_INVALID\]/],
      [
        ['add', 'vm/d', join(folder, 'loops.ts')],
        /loops\.ts cannot be loaded: it has not ended after 1 s \[FILTER_INVALID\]/,
      ],
      [['add', 'vm/d', 'metre'], /built-in filters are .*meter/],
      [
        ['add', 'vm/d', 'meter', '--set', 'latency=perhaps'],
        /meter: options\.latency: expects true or false, not "perhaps" \[CONFIG_INVALID\]/,
      ],
      [['add', 'vm/d', 'meter', '--at', '1'], /vm\/d has 0 filters \[CONFIG_INVALID\]\n +Name a place up to 0\./],
      [['add', 'vm/d', 'meter', '--after', 'look'], /vm\/d has no filter look \[CONFIG_INVALID\]\n +There are: none\./],
      [
        ['add', 'vm/d', 'meter', '--quarantine'],
        /no sidecore of its own, and cannot get one while it runs \[DEVICE_BUSY\]/,
      ],
      [['remove', 'vm/watched', '7'], /vm\/watched has no filter 7 .*\n +There are: 0 \(look\)\./],
      [['set', 'vm/watched', 'look', 'n=many'], /look\.ts: options\.n: expects a number, not "many"/],
      [['set', 'vm/watched', 'look', 'm=1'], /look\.ts: options\.m: unknown key; known here: n, deep/],
      [['replace', 'vm/watched', 'look', './none.ts'], /none\.ts.* \[FILTER_INVALID\]/],
      [['add', 'vm/n', file], /it is a filter of disks, not of network cards \[FILTER_INVALID\]/],
    ];
    const answers = await Promise.all(cases.map(([args]) => refused(...args)));
    for (const [index, [args, says]] of cases.entries()) assert.match(answers[index]!, says, args.join(' '));
    const devices: { device: string; changed: boolean; filters: unknown[] }[] = await answer('list');
    assert.deepEqual(
      devices.map(({ device, changed, filters }) => [device, changed, filters.length]),
      [
        ['vm/d', false, 0],
        ['vm/watched', false, 1],
        ['vm/n', false, 0],
        ['other/n', false, 0],
      ],
    );
    const wrong: [args: string[], says: RegExp][] = [
      [['set', 'vm/d', '0', 'n'], /Write KEY=VALUE\./],
      [['add', 'vm/d', 'meter', '--set', 'a=[1'], /argument 'a=\[1' is invalid\. a: /],
      [['add', 'vm/d', 'meter', '--options', '5'], /Options: expects keys and values\./],
      [['add', 'vm/d', 'meter', '--at', '0', '--before', 'x'], /cannot be used with option/],
      [['add', 'vm', 'meter'], /Write VM\/DISK or VM\/NIC/],
      [['add', 'vm/d', 'meter', '--wait', '11'], /Write seconds, from 0\.001 to 10\./],
    ];
    const usage = await Promise.all(wrong.map(([args]) => daemon.cli('filter', ...args)));
    for (const [index, [, says]] of wrong.entries()) {
      assert.equal(usage[index]!.status, 2);
      assert.match(usage[index]!.stderr, says);
    }
  });

  it('adds before those that have to be the last', async () => {
    const snapshot = ['snapshot', '--set', `path=${join(folder, 'snapshots')}`];
    const names = ({ filters }: { filters: { name: string }[] }) => filters.map(({ name }) => name);
    assert.deepEqual(names(await answer('add', 'vm/d', ...snapshot)), ['snapshot']);
    assert.deepEqual(names(await answer('add', 'vm/d', 'meter')), ['meter', 'snapshot']);
    assert.match(
      await refused('add', 'vm/d', 'readonly', '--at', '2'),
      /vm\/d: the filter snapshot has to be the last \[CONFIG_INVALID\]/,
    );
    assert.match(
      await refused('set', 'vm/d', 'snapshot', '--on-fault', 'open'),
      /vm\/d: the filter snapshot cannot have on_fault: open \[CONFIG_INVALID\]/,
    );
    assert.deepEqual(names(await answer('remove', 'vm/d', 'meter')), ['snapshot']);
    assert.deepEqual(await answer('remove', 'vm/d', 'snapshot'), {
      device: 'vm/d',
      kind: 'block',
      filters: [],
      changed: false,
    });
  });

  it('changes those of network cards, too', async () => {
    assert.deepEqual(brief(await answer('add', 'vm/n', 'meter')), [['meter', {}]]);
    assert.match((await daemon.cli('filter', 'list', 'vm/n')).stdout, /^vm\/n +0 +meter +in service/m);
    assert.deepEqual(await answer('remove', 'vm/n', 'meter'), {
      device: 'vm/n',
      kind: 'frame',
      filters: [],
      changed: false,
    });
  });

  /** The one that is watched, when it is as it should be. */
  async function untilWatched(what: string, holds: (counters: object, isIn: boolean) => boolean): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      const [look] = (await daemon.status()).vms['vm']!['watched']!.filters;
      if (holds(look!.counters, look!.in_service)) return;
      await sleep(50);
    }
    assert.fail(`not ${what}: ${daemon.log.slice(-2000)}`);
  }

  const untilLog = async (pattern: RegExp) => {
    for (let tries = 0; tries < 100 && !pattern.test(daemon.log); tries++) await sleep(50);
    assert.match(daemon.log, pattern);
  };

  it('is not needed where files are watched: what is saved takes its own place', async () => {
    writeFileSync(file, filter('', 'second'));
    await untilWatched('written in place', (counters) => 'second' in counters);
    // As editors do.
    writeFileSync(`${file}~`, filter('', 'third'));
    renameSync(`${file}~`, file);
    await untilWatched('replaced by a rename', (counters) => 'third' in counters);
    writeFileSync(join(folder, 'step.ts'), 'export const STEP = 2;\n');
    await untilLog(
      /was saved, and takes its own place\n(.*\n)*.*was saved, and takes its own place\n(.*\n)*.*takes its own place/,
    );
    assert.deepEqual(await answer('ask', 'vm/watched', 'look', 'add'), { sum: 1, step: 2 });
    assert.equal((await answer('list', 'vm/watched'))[0].changed, false);
  });

  it('is told file and line of what is saved and wrong, which then changes nothing', async () => {
    writeFileSync(file, `${filter('', 'fourth')}\nexport const = 1;\n`);
    const line = filter().split('\n').length + 1;
    await untilLog(
      new RegExp(`look\\.ts was saved, and it goes on as it was: look\\.ts:${line}: Expected .*\\[FILTER_INVALID\\]`),
    );
    await untilWatched('as it was', (counters, isIn) => 'third' in counters && isIn);
    // It imports what is not there yet.
    const beside = filter('', 'fifth').replace('./step.js', './later.js');
    writeFileSync(file, beside);
    await untilLog(/Could not resolve "\.\/later\.js"/);
    writeFileSync(join(folder, 'later.ts'), 'export const STEP = 3;\n');
    await untilWatched('mended by what it imports', (counters) => 'fifth' in counters);
  });

  it('is told when what was wrong is mended, whatever else is written beside it', async () => {
    const good = readFileSync(file, 'utf8');
    const image = setInterval(() => writeFileSync(join(folder, 'busy.img'), 'as guests do'), 10);
    try {
      writeFileSync(file, `${good}export const = 2;\n`);
      const before = daemon.log.length;
      const since = async (pattern: RegExp) => {
        for (let tries = 0; tries < 100 && !pattern.test(daemon.log.slice(before)); tries++) await sleep(50);
        assert.match(daemon.log.slice(before), pattern);
      };
      await since(/goes on as it was: look\.ts:\d+: Expected/);
      writeFileSync(file, good);
      await since(/filter \.\/look\.ts was saved, and is again what runs\n/);
      writeFileSync(file, good.replaceAll('fifth', 'sixth'));
      await untilWatched('replaced', (counters) => 'sixth' in counters);
      // The image was not taken for a source.
      assert.equal(daemon.log.slice(before).match(/goes on as it was/g)?.length, 1);
    } finally {
      clearInterval(image);
    }
  });

  it('has one that failed come back into service when it is saved, set or replaced', async () => {
    const guest = await BlockDriver.connect({ socket: daemon.socket('vm', 'watched'), depth: 1, requestBytes: 512 });
    steps.after(() => guest.close());
    const bad = filter(
      'let count = 0; const look = () => { if (++count > 3) throw new Error("on the fourth"); };',
      'bad',
    );
    writeFileSync(file, bad.replace('seen.add(1);', 'look();'));
    await untilWatched('saved', (counters) => 'bad' in counters);
    const queue = guest.queues[0]!;
    /** Whether a request is answered well. */
    const read = async () => {
      queue.submit(0, RequestType.IN, 0, 512);
      queue.publish();
      while (queue.take() < 0) await sleep(1);
      return queue.status(0) === Status.OK;
    };
    const fourth = async () => {
      for (let i = 0; i < 3; i++) assert.ok(await read());
      assert.ok(!(await read()));
    };
    await fourth();
    assert.ok(!(await read()));
    const listed = (await daemon.cli('filter', 'list', 'vm/watched')).stdout;
    assert.match(listed, / look +failed +closed /);
    assert.match(listed, /^vm\/watched 0, look, failed: .*on the fourth.*look\.ts:\d+/m);
    assert.match((await answer('list', 'vm/watched'))[0].filters[0].last_fault, /on the fourth/);
    assert.match((await daemon.cli('status')).stdout, /^filter look of vm\/watched failed: .*on the fourth/m);
    await answer('set', 'vm/watched', 'look', 'n=2');
    await fourth();
    await answer('replace', 'vm/watched', 'look');
    await fourth();
    // The same text, saved again.
    utimesSync(file, new Date(), new Date());
    await untilWatched('in service', (_counters, isIn) => isIn);
    await fourth();
  });
});
