import { barChart, escapeXml } from '../../src/demo/chart.js';
import { MODE_TEXTS } from './modes.js';
import { PAGE_STYLE } from './page-style.js';
import { legend, linePlot, tickText, valueText } from './plot.js';
import {
  type Bars,
  type Evaluation,
  type Experiment,
  type Figure,
  type Table,
  type Verdict,
  verdictsOf,
} from './results.js';

const html = escapeXml;
const paragraphs = (texts: readonly string[]): string => texts.map((text) => `<p>${html(text)}</p>`).join('\n');
const list = (texts: readonly string[]): string =>
  `<ul class="plain">${texts.map((text) => `<li>${html(text)}</li>`).join('')}</ul>`;

/** "2026-11-28 04:20 UTC". */
export const dayText = (date: string): string => `${date.slice(0, 10)} ${date.slice(11, 16)} UTC`;

/** How many claims hold. */
export function countText(verdicts: readonly Verdict[]): string {
  const count = (holds: boolean | null) => verdicts.filter((one) => one.holds === holds).length;
  const open = count(null) === 0 ? '' : `; ${count(null)} not decided`;
  return `${count(true)} of ${verdicts.length} claims hold here, ${count(false)} do not${open}`;
}

/** Two CPUs that came this much closer or went this much apart were moved by the host. */
const MOVED = 1.3;

/** What the reader has to know before all figures; empty if nothing. */
export function warnings({ placement_ns, experiments, quick }: Evaluation): string[] {
  const texts: string[] = [];
  const { min, max } = placement_ns;
  if (max > min * MOVED)
    texts.push(
      `The CPUs did not stay where they were: a cache line took ${Math.round(min)} to ${Math.round(max)} ns to the other CPU and back. On a virtual machine its host moves them, and rates change with it. Windows across such a move do not count; but points of one line that were measured minutes apart may have been measured on unlike placements.`,
    );
  const points = experiments.flatMap(({ raw }) => raw);
  const disturbed = points.filter((point) => point.disturbed).length;
  if (disturbed > 0)
    texts.push(
      `${disturbed} of ${points.length} points were disturbed in every window by something else on the machine: they have dashed outlines, or say so beside their bar; as points of a line they decide nothing.`,
    );
  if (quick) texts.push('A quick run: few points and short windows. The whole one takes about seven minutes.');
  return texts;
}

/** The page: needs nothing but itself. */
export function renderPage(evaluation: Evaluation, jsonName: string): string {
  const { date, machine, versions, experiments, command } = evaluation;
  const verdicts = experiments.flatMap(verdictsOf);
  const notes = warnings(evaluation).map((text) => `<p class="note">${html(text)}</p>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sidecore: the paper’s evaluation, ${html(dayText(date))}</title>
<style>${PAGE_STYLE}</style>
</head>
<body><main>
<h1>The paper’s evaluation</h1>
<p class="quiet">${html(`${dayText(date)}, ${machine['cpus']} × ${machine['cpu']}, Node ${versions['node']}, sidecore ${versions['sidecore']}, seed ${evaluation.seed}`)}</p>
<p>Efficient and Scalable Paravirtual I/O System (ELVIS, USENIX ATC 2013) promises paravirtual I/O that is 1.2 to 3 times as fast as it is today, and stays
so as guests are added, by cores that do nothing but I/O. This page measures that on this machine. Lines go through medians; whiskers are the least and
the most of all rounds. Raw values of every window: <a href="${html(encodeURI(jsonName))}">${html(jsonName)}</a>.</p>
${notes.join('\n')}
<p class="result">${html(countText(verdicts))}.</p>
<div class="card"><table class="overview"><thead><tr><th>experiment</th><th>claims</th><th>hold here</th><th>do not</th><th>not decided</th></tr></thead>
<tbody>${experiments.map(overview).join('\n')}</tbody></table></div>
<h2>What is compared</h2>
<div class="card"><dl>${MODE_TEXTS.map(([name, text]) => `<dt>${html(name)}</dt><dd>${html(text)}</dd>`).join('\n')}</dl></div>
${experiments.map(section).join('\n')}
<h2>Machine</h2>
<div class="card"><dl>${facts(evaluation)
    .map(([name, value]) => `<dt>${html(name)}</dt><dd>${html(value)}</dd>`)
    .join('\n')}</dl></div>
<p class="quiet">Again: <code>${html(command)}</code></p>
</main></body>
</html>
`;
}

function overview(experiment: Experiment): string {
  const verdicts = verdictsOf(experiment);
  const count = (holds: boolean | null) => verdicts.filter((one) => one.holds === holds).length;
  const { number, title } = experiment;
  const cells = [verdicts.length, count(true), count(false), count(null)].map((value) => `<td>${value}</td>`);
  return `<tr><td><a href="#e${number}">${number}. ${html(title)}</a></td>${cells.join('')}</tr>`;
}

function section(experiment: Experiment): string {
  const { number, title, question, method, limits, figures, bars = [], tables, simulated = [] } = experiment;
  const charts = [...figures.map(figureHtml), ...bars.map(barsHtml)];
  return `<section id="e${number}">
<h2>${number}. ${html(title)}</h2>
<p><b>${html(question)}</b></p>
${paragraphs(method)}
<div class="charts">
${charts.join('\n')}
</div>
${tables.map((one) => tableHtml(one)).join('\n')}
<h3>What this machine cannot show</h3>
${list(limits)}
${beyondHtml(simulated)}
</section>`;
}

function beyondHtml(figures: readonly Figure[]): string {
  if (figures.length === 0) return '';
  return `<details><summary>Beyond this machine, simulated: ${figures.length} figures</summary>
<p class="quiet">Not measured. The simulator runs the real scheduler, balancer and notification under a virtual clock; each guest has a CPU of its own. How far its predictions are
from what can be measured says docs/simulator.md.</p>
<div class="charts">
${figures.map(figureHtml).join('\n')}
</div></details>`;
}

const figureHtml = (figure: Figure): string => `<figure><figcaption>${html(figure.title)}</figcaption>
${legend(figure.series)}
${linePlot(figure)}
${below(figure)}
<details><summary>Numbers</summary><div class="scroll">${numbers(figure)}</div></details></figure>`;

const barsHtml = (bars: Bars): string => barChart(bars.chart).replace(/<\/figure>$/, `${below(bars)}</figure>`);

/** What a figure stands for. */
function below({ verdicts = [], note }: Pick<Figure, 'verdicts' | 'note'>): string {
  const noted = note === undefined ? '' : `<p class="quiet small">${html(note)}</p>`;
  return `${verdictList(verdicts)}${noted}`;
}

/** A figure's values: a row for each series. */
function numbers({ series, xLabel, yLabel }: Figure): string {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const head = [`${yLabel}, by ${xLabel}`, ...xs.map(tickText)].map((text) => `<th>${html(text)}</th>`).join('');
  const rows = series.map(({ name, points }) => {
    const cells = xs.map((x) => {
      const point = points.find((one) => one.x === x);
      return `<td>${point === undefined ? '-' : `${valueText(point.y.median)}<br><span class="quiet">${valueText(point.y.min)} to ${valueText(point.y.max)}</span>`}</td>`;
    });
    return `<tr><td>${html(name)}</td>${cells.join('')}</tr>`;
  });
  return `<table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

export const holdsText = (holds: boolean | null): string =>
  holds === null ? 'not decided' : holds ? 'holds' : 'does not hold';

const MARKS = new Map([
  [true, 'yes'],
  [false, 'no'],
  [null, 'open'],
]);

/** Claims, each with what decides it and what was measured. */
function verdictList(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return '';
  const items = verdicts.map(({ claim, by, threshold, measured, holds, why }) => {
    const tag = `<span class="tag">${by === 'paper' ? 'the paper’s claim' : 'our goal'}</span>`;
    const outcome = `<b class="${MARKS.get(holds)}">${html(holdsText(holds))}</b>`;
    const reason = why === undefined ? '' : `; ${html(why)}`;
    return `<li>${tag} ${html(`${claim[0]!.toUpperCase()}${claim.slice(1)}`)}. <span class="quiet">Holds if ${html(threshold)}; measured: ${html(measured)}${reason}.</span> ${outcome}</li>`;
  });
  return `<ul class="verdicts">${items.join('\n')}</ul>`;
}

function tableHtml({ title, columns, rows, verdicts = [] }: Table): string {
  const cells = (texts: readonly string[], tag: string) =>
    texts.map((text) => `<${tag}>${html(text)}</${tag}>`).join('');
  return `<div class="card"><table><caption>${html(title)}</caption><thead><tr>${cells(columns, 'th')}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('\n')}</tbody></table>${verdictList(verdicts)}</div>`;
}

/** What was measured with, in rows of name and value. */
export function facts(evaluation: Evaluation): [string, string][] {
  const { machine, versions, timing, placement_ns, took_s, seed, commit } = evaluation;
  const { median, min, max } = placement_ns;
  return [
    ['Machine', `${machine['cpus']} × ${machine['cpu']}, ${machine['memory_gib']} GiB`],
    ['Kernel', `Linux ${machine['kernel']}`],
    ['Node', `${versions['node']} (guests), ${versions['node_daemon']} (daemon)`],
    ['Sidecore', `${versions['sidecore']}, ${commit}`],
    ['CPUs', `guests on ${machine['load_cpu']}, back end on ${machine['core_cpu']}`],
    ['Cache line to the other CPU and back', `${Math.round(median)} ns (${Math.round(min)} to ${Math.round(max)})`],
    [
      'Windows',
      `${timing['window_ms']} ms after ${timing['warm_up_ms']} ms of the same load, ${timing['rounds']} rounds, in turn`,
    ],
    ['Seed', String(seed)],
    ['Simulated with', evaluation.simulated_with],
    ['Took', `${took_s} s`],
  ];
}
