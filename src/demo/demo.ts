import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { table } from '../cli/table.js';
import { SidecoreError } from '../errors.js';
import { caveats, MEASURES, measureText, ratios, type Setting, verdicts, whatWasCompared } from './comparison.js';
import { describeMachine } from './machine.js';
import { percent } from './numbers.js';
import { Placement } from './placement.js';
import { type DemoOptions, LOAD, RUNS } from './plan.js';
import { renderReport } from './report.js';
import { type RunResult, runLoad } from './run.js';
import { Scratch } from './scratch.js';
import { paragraph, type Show, SilentShow, showFor } from './show.js';

/** Runs the demo. Returns the exit status: 1 if any data were wrong or any request failed. */
export async function runDemo(options: DemoOptions, signal: AbortSignal): Promise<number> {
  const placement = new Placement(options.cpu);
  const scratch = new Scratch(options.scratch, options.keep);
  const show = options.json
    ? new SilentShow()
    : showFor(process.stdout, { coreCpu: placement.coreCpu, seconds: options.seconds });
  try {
    return await new Demo(options, placement, scratch, show).run(signal);
  } finally {
    show.end();
    scratch.remove();
    if (options.keep) show.say(`kept: ${scratch.path}`);
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #placement: Placement;
  readonly #scratch: Scratch;
  readonly #show: Show;
  readonly #vms: readonly string[];
  readonly #setting: Setting;
  readonly #results: RunResult[] = [];
  #configuration = '';

  constructor(options: DemoOptions, placement: Placement, scratch: Scratch, show: Show) {
    const { guests, depth, seconds } = options;
    this.#options = options;
    this.#placement = placement;
    this.#scratch = scratch;
    this.#show = show;
    this.#vms = Array.from({ length: guests }, (_, index) => `guest${index + 1}`);
    this.#setting = { guests, depth, seconds, coreCpu: placement.coreCpu, loadCpu: placement.loadCpu };
  }

  async run(signal: AbortSignal): Promise<number> {
    this.#introduce();
    for (const [index, plan] of RUNS.entries()) {
      this.#show.runStarts(index + 1, plan);
      const result = await runLoad(plan, {
        scratch: this.#scratch,
        placement: this.#placement,
        vms: this.#vms,
        depth: this.#options.depth,
        seconds: this.#options.seconds,
        signal,
        onProgress: (progress) => this.#show.progress(progress),
      });
      if (index === 0) this.#configuration = readFileSync(this.#scratch.configuration, 'utf8');
      this.#results.push(result);
      this.#show.runEnds(result);
      if (result.problems.length > 0) break;
    }
    const problems = this.#results.flatMap(({ problems }) => problems);
    if (problems.length === 0) this.#conclude();
    const report = this.#writeReport();
    if (this.#options.json) this.#printJson(report, problems);
    else this.#sayWhatNext(report, problems);
    return problems.length === 0 ? 0 : 1;
  }

  #introduce(): void {
    const { guests, depth, coreCpu, loadCpu, seconds } = this.#setting;
    const load = `${LOAD.requestBytes / 1024} KiB requests, ${percent(LOAD.readShare)} reads, ${depth} in flight each`;
    const text = `${guests} guests with a disk each, served over vhost-user by a daemon that has CPU ${coreCpu}; the guests' load runs on CPU ${loadCpu}: ${load}, every read verified. Two more guests talk through the switch meanwhile. The same three times, ${seconds} s each: with a sidecore, with a sidecore and guests that sleep, and with a thread per disk.`;
    this.#show.say(...paragraph(this.#show, text), '');
    if (this.#placement.shared)
      this.#show.say(...caveats(this.#setting, []).flatMap((one) => paragraph(this.#show, one)), '');
  }

  #conclude(): void {
    const show = this.#show;
    const { style } = show;
    show.say(style.bold('What you saw'), '', ...this.#comparison(), '');
    const say = (texts: readonly string[], change = (line: string) => line) => {
      for (const text of texts) show.say(...paragraph(show, text).map(change));
    };
    say(caveats(this.#setting, this.#results), style.bad);
    say(verdicts(this.#results), style.bold);
    show.say('');
    say(whatWasCompared(this.#setting, this.#results));
    show.say('');
  }

  /** A column for each run, under two lines of head. */
  #comparison(): string[] {
    const plans = this.#results.map(({ plan }) => plan);
    const columns = [
      { head: '' },
      ...plans.map(({ host, key }) => ({ head: host, right: true, spare: key === 'called' ? 1 : 0 })),
    ];
    const rows = MEASURES.map((measure) => [measure.label, ...this.#results.map((run) => measureText(measure, run))]);
    const [host, guest, ...lines] = table(
      columns,
      [['', ...plans.map(({ guest }) => guest)], ...rows],
      this.#show.width,
    )
      .trimEnd()
      .split('\n');
    const { style } = this.#show;
    return [style.dim(host!), style.dim(guest!), ...lines];
  }

  /** Writes the report where it was asked for, or beside the scratch folder. Returns its path. */
  #writeReport(): string {
    const page = renderReport({
      date: new Date().toISOString(),
      machine: describeMachine(this.#scratch.path),
      setting: this.#setting,
      runs: this.#results,
      configuration: this.#configuration,
      command: `sidecore demo --seconds ${this.#options.seconds} --guests ${this.#options.guests} --depth ${this.#options.depth}`,
    });
    const path = isWritable(dirname(this.#options.report))
      ? this.#options.report
      : join(this.#options.scratch, 'sidecore-demo-report.html');
    try {
      writeFileSync(path, page);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new SidecoreError(
        'SYSTEM_CALL_FAILED',
        `cannot write the report ${path}: ${code}`,
        'Name another file with --report.',
      );
    }
    return path;
  }

  #sayWhatNext(report: string, problems: readonly string[]): void {
    const { style } = this.#show;
    for (const problem of problems) this.#show.say(style.bad(`FAILED: ${problem}`));
    this.#show.say(
      `Report: ${report}`,
      '',
      'Next: a real VM          npm run demo -- --vm',
      '      your own VMs       README.md, examples/',
      '      everything else    sidecore --help   (in a checkout: node dist/src/cli/main.js --help)',
    );
  }

  #printJson(report: string, problems: readonly string[]): void {
    const baseline = this.#results.at(-1)!;
    const runs = this.#results.map(({ plan, seconds, guests, all, talk, work_share, others, history }) => {
      const { key, mode, sleeping } = plan;
      return { run: key, mode, guests_sleep: sleeping, seconds, guests, all, talk, work_share, others, history };
    });
    const document = {
      ok: problems.length === 0,
      problems,
      machine: describeMachine(this.#scratch.path),
      setting: this.#setting,
      load: LOAD,
      runs,
      against_baseline: Object.fromEntries(
        this.#results.slice(0, -1).map((run) => [run.plan.key, ratios(run, baseline)]),
      ),
      report,
    };
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  }
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
