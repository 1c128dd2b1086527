import { type Bar, barChart, type Chart, escapeXml } from './chart.js';
import {
  caveats,
  comparative,
  MEASURES,
  measureText,
  ratios,
  type Setting,
  verdicts,
  whatWasCompared,
} from './comparison.js';
import type { Figures } from './figures.js';
import type { Machine } from './machine.js';
import { micros, percent, perRequest, times, whole } from './numbers.js';
import { REPORT_STYLE } from './report-style.js';
import type { RunResult } from './run.js';

/** Everything that the report shows. */
export interface ReportContent {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  readonly setting: Setting;
  readonly runs: readonly RunResult[];
  /** Of the first run's daemon, YAML. */
  readonly configuration: string;
  /** What was typed. */
  readonly command: string;
}

const html = escapeXml;
const paragraphs = (texts: readonly string[], kind = ''): string =>
  texts.map((text) => `<p${kind}>${html(text)}</p>`).join('\n');

/** The report: one page that needs nothing but itself. */
export function renderReport(content: ReportContent): string {
  const { date, machine, setting, runs, configuration, command } = content;
  const doubts = caveats(setting, runs);
  const day = `${date.slice(0, 10)} ${date.slice(11, 16)} UTC`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sidecore demo, ${html(day)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body><main>
<h1>Sidecore against a thread per disk</h1>
<p class="quiet">${html(`${day}, ${machine.cpus} × ${machine.cpu}, Node ${machine.node}, sidecore ${machine.sidecore}`)}</p>
${checked(runs)}
${paragraphs(doubts, ' class="note"')}
${tiles(runs, doubts.length > 0)}
<h2>What was seen</h2>
${paragraphs(verdicts(runs))}
<div class="charts">
${charts(runs).map(barChart).join('\n')}
</div>
<h2>What was compared, and how</h2>
${paragraphs(whatWasCompared(setting, runs))}
<h2>Figures</h2>
${comparisonTable(runs)}
${runs.map(runTable).join('\n')}
<h2>Machine and configuration</h2>
<div class="card"><dl>${facts(content)
    .map(([name, value]) => `<dt>${html(name)}</dt><dd>${html(value)}</dd>`)
    .join('\n')}</dl></div>
<div class="card"><pre>${html(configuration.trim())}</pre></div>
<p class="quiet">Again: <code>${html(command)}</code></p>
</main></body>
</html>
`;
}

function checked(runs: readonly RunResult[]): string {
  const problems = runs.flatMap((run) => run.problems);
  const reads = runs.reduce((sum, run) => sum + run.all.checked, 0);
  if (problems.length > 0) return paragraphs(problems, ' class="result bad"');
  const frames = runs.reduce((sum, run) => sum + run.talk.checked, 0);
  return `<p class="result good">${whole(reads)} reads were compared with what had been written, and ${whole(frames)} frames with what had been sent: all were right.</p>`;
}

/**
 * Like against like, in three numbers: the last run, and the one before with guests of the same kind.
 *
 * @param doubtful - nobody should remember them: they are shown without colour
 */
function tiles(runs: readonly RunResult[], doubtful: boolean): string {
  const baseline = runs.at(-1)!;
  const run = runs.find(({ plan }) => plan.sleeping === baseline.plan.sleeping)!;
  if (run === baseline) return '';
  const { iops, p50 } = ratios(run, baseline);
  const kicks = (one: RunResult) => perRequest(one.all.kicks_per_request);
  const texts = [
    [
      `${times(iops)}×`,
      `the IOPS of a thread per disk, ${baseline.plan.guest} in both: ${whole(run.all.iops)} instead of ${whole(baseline.all.iops)}`,
    ],
    [
      `${micros(run.all.p50_us)} µs`,
      `median latency, instead of ${micros(baseline.all.p50_us)} µs: ${comparative(p50)}`,
    ],
    [kicks(run), `kicks for each request, instead of ${kicks(baseline)}`],
  ];
  return `<div class="tiles${doubtful ? ' doubtful' : ''}">${texts.map(([number, text]) => `<div class="tile"><b>${html(number!)}</b><span>${html(text!)}</span></div>`).join('\n')}</div>`;
}

function charts(runs: readonly RunResult[]): Chart[] {
  const colour = (run: RunResult) => (run.plan.mode === 'baseline' ? 'theirs' : 'ours');
  const label = ({ plan }: RunResult): Bar['label'] => [plan.host, plan.guest];
  const plain = (value: (run: RunResult) => number, text: (run: RunResult) => string) =>
    runs.map((run) => ({ label: label(run), segments: [{ value: value(run), colour: colour(run) }], text: text(run) }));
  const notices = runs.map((run) => {
    const { kicks_per_request: kicks, calls_per_request } = run.all;
    const calls = calls_per_request ?? 0;
    const segments = [
      { value: 1000 * kicks, colour: colour(run) },
      { value: 1000 * calls, colour: `${colour(run)}-light` },
    ];
    return { label: label(run), segments, text: whole(1000 * (kicks + calls)) };
  });
  return [
    {
      title: 'Throughput (longer is better)',
      unit: 'thousand requests a second',
      bars: plain(
        ({ all }) => all.iops / 1000,
        ({ all }) => whole(all.iops / 1000),
      ),
    },
    {
      title: 'Median latency (shorter is better)',
      unit: 'microseconds',
      bars: plain(
        ({ all }) => all.p50_us,
        ({ all }) => micros(all.p50_us),
      ),
    },
    {
      title: '99th percentile of latency (shorter is better)',
      unit: 'microseconds',
      bars: plain(
        ({ all }) => all.p99_us,
        ({ all }) => micros(all.p99_us),
      ),
    },
    {
      title: 'Notifications (shorter is better)',
      unit: 'kicks (strong colour) and calls (pale) for 1,000 requests',
      bars: notices,
    },
  ];
}

function comparisonTable(runs: readonly RunResult[]): string {
  const heads = runs.map(({ plan }) => `<th>${html(plan.host)}<br>${html(plan.guest)}</th>`).join('');
  const rows = MEASURES.map((measure) => {
    const cells = runs.map((run) => `<td>${html(measureText(measure, run))}</td>`).join('');
    return `<tr><td>${html(measure.label)}</td>${cells}</tr>`;
  });
  return `<div class="card"><table><caption>All guests together</caption><thead><tr><th></th>${heads}</tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

const RUN_HEADS = [
  'guest',
  'IOPS',
  'MB/s',
  'p50, µs',
  'p99, µs',
  'p99.9, µs',
  'kicks per request',
  'calls per request',
  'reads checked',
];

/** What the two guests that talk through the switch saw. */
function talkText({ iops, p50_us, p99_us, checked }: Figures): string {
  return `Two more guests talked through the switch: ${whole(iops)} questions with their answers a second, p50 ${micros(p50_us)} µs, p99 ${micros(p99_us)} µs; all ${whole(checked)} frames came as they were sent.`;
}

function runTable({ plan, guests, all, talk, seconds, work_share }: RunResult): string {
  const row = (figures: Figures): string => {
    const cells = [
      figures.name,
      whole(figures.iops),
      whole(figures.mb_per_s),
      micros(figures.p50_us),
      micros(figures.p99_us),
      micros(figures.p999_us),
      perRequest(figures.kicks_per_request),
      perRequest(figures.calls_per_request),
      whole(figures.checked),
    ];
    return `<tr>${cells.map((cell) => `<td>${html(cell)}</td>`).join('')}</tr>`;
  };
  const work = work_share === null ? '' : `; the back end's CPU was at work for ${percent(work_share)} of the time`;
  const caption = `${plan.host}, ${plan.guest} (mode: ${plan.mode}), ${seconds.toFixed(1)} s${work}`;
  return `<div class="card"><table><caption>${html(caption)}</caption>
<thead><tr>${RUN_HEADS.map((head) => `<th>${html(head)}</th>`).join('')}</tr></thead>
<tbody>${guests.map(row).join('\n')}</tbody><tfoot>${row(all)}</tfoot></table>
<p class="quiet">${html(talkText(talk))}</p></div>`;
}

function facts({ date, machine, setting }: ReportContent): [string, string][] {
  return [
    ['Date', date],
    ['Machine', `${machine.cpus} × ${machine.cpu}, ${machine.memory_gib} GiB`],
    ['Kernel', `Linux ${machine.kernel}`],
    ['Versions', `sidecore ${machine.sidecore}, Node ${machine.node}`],
    ['Back end', `CPU ${setting.coreCpu}; images on ${machine.file_system}, buffered, in the page cache`],
    [
      'Guests',
      `${setting.guests}, on CPU ${setting.loadCpu}; ${setting.depth} requests in flight each; ${setting.seconds} s a run`,
    ],
  ];
}
