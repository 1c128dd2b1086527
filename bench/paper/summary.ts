import { countText, dayText, facts, holdsText, warnings } from './page.js';
import { tickText, valueText } from './plot.js';
import { claimText, type Evaluation, type Experiment, type Figure, type Table, verdictsOf } from './results.js';

/** A text as a cell of a table in Markdown. */
export const cell = (text: string): string => text.replace(/\|/g, '\\|').replace(/\n/g, ' ');

const row = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
const tableOf = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

/** The same as the page in Markdown, medians only. */
export function renderSummary(evaluation: Evaluation, pageName: string, jsonName: string): string {
  const { date, experiments, command } = evaluation;
  const verdicts = experiments.flatMap(verdictsOf);
  return `${[
    `# The paper’s evaluation, ${dayText(date)}`,
    `${countText(verdicts)}. Plots: [${pageName}](${pageName}); raw values: [${jsonName}](${jsonName}).`,
    ...warnings(evaluation).map((text) => `> ${text}`),
    ...experiments.map(section),
    '## Machine',
    tableOf(['what', 'value'], facts(evaluation)),
    `Again: \`${command}\``,
  ].join('\n\n')}\n`;
}

function section(experiment: Experiment): string {
  const { number, title, question, limits, figures, tables, simulated = [] } = experiment;
  return [
    `## ${number}. ${title}`,
    question,
    tableOf(
      ['claim', 'by', 'holds if', 'measured', 'here'],
      verdictsOf(experiment).map((one) => [
        claimText(one),
        one.by,
        one.threshold,
        one.why === undefined ? one.measured : `${one.measured}; ${one.why}`,
        one.holds === false ? `**${holdsText(one.holds)}**` : holdsText(one.holds),
      ]),
    ),
    ...figures.map(figureText),
    ...tables.map(tableText),
    `Cannot be shown here: ${limits.join(' ')}`,
    ...simulated.map(figureText),
  ].join('\n\n');
}

function figureText({ title, xLabel, yLabel, better, series }: Figure): string {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const rows = series.map(({ name, points }) => [
    name,
    ...xs.map((x) => valueText(points.find((point) => point.x === x)?.y.median ?? Number.NaN)),
  ]);
  return `### ${title}\n\n${yLabel}, ${better}; by ${xLabel}\n\n${tableOf(['', ...xs.map(tickText)], rows)}`;
}

const tableText = ({ title, columns, rows }: Table): string => `### ${title}\n\n${tableOf(columns, rows)}`;
