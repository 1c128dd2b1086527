/** The look of the report: light or dark as the reader's system is, nothing fetched from anywhere. */
export const REPORT_STYLE = `
:root { color-scheme: light dark; --page: #f7f8fa; --card: #fff; --text: #1b2430; --quiet: #5d6978; --line: #dfe3e9;
  --ours: #0f8b8d; --ours-light: #7fc8c4; --theirs: #98a2b1; --theirs-light: #c9cfd8; --good: #1a7f4b; --bad: #c0352b; --note: #fff6df; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --text: #e6eaf0; --quiet: #98a4b3; --line: #2f3845;
    --ours: #35b5b1; --ours-light: #1d6f70; --theirs: #76828f; --theirs-light: #4a545f; --good: #4fc587; --bad: #ff7b6e; --note: #33290f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 12px; }
p { margin: 0 0 10px; max-width: 75ch; }
.quiet { color: var(--quiet); }
.result { font-weight: 600; }
.result.good { color: var(--good); }
.result.bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 24px 0; }
.tile, figure, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 14px 18px; }
.tile b { display: block; font-size: 32px; line-height: 1.15; color: var(--ours); }
.doubtful .tile b { color: var(--theirs); font-size: 22px; font-weight: 500; }
.tile span { color: var(--quiet); font-size: 14px; }
.note { background: var(--note); border-radius: 8px; padding: 10px 14px; max-width: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 14px; margin-top: 18px; }
figure { margin: 0; padding: 14px 16px 6px; }
figcaption { font-weight: 600; margin-bottom: 8px; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
svg text { fill: var(--text); font-size: 12.5px; }
svg .sub, svg .tick, svg .unit { fill: var(--quiet); font-size: 11.5px; }
svg .value { font-weight: 600; }
svg .grid { stroke: var(--line); }
svg .ours { fill: var(--ours); } svg .ours-light { fill: var(--ours-light); }
svg .theirs { fill: var(--theirs); } svg .theirs-light { fill: var(--theirs-light); }
.card { overflow-x: auto; padding: 4px 0; margin-bottom: 16px; }
.card p { padding: 4px 16px; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
caption { text-align: left; font-weight: 600; padding: 10px 16px; }
th, td { padding: 7px 16px; text-align: right; border-top: 1px solid var(--line); font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 500; font-size: 13.5px; vertical-align: bottom; border-top: 0; }
th:first-child, td:first-child { text-align: left; font-weight: 400; }
tfoot td { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; padding: 12px 16px; font-size: 15px; }
dt { color: var(--quiet); } dd { margin: 0; }
pre { margin: 0; padding: 12px 16px; font: 13.5px/1.45 ui-monospace, "Liberation Mono", monospace; }
@media (max-width: 640px) {
  main { padding: 20px 12px 40px; }
  table { font-size: 12px; }
  th, td { padding: 6px 3px; }
  th:first-child, td:first-child { padding-left: 8px; } th:last-child, td:last-child { padding-right: 8px; }
  thead th { font-size: 11px; white-space: normal; }
  caption, .card p { padding: 8px; }
}
code { font: 0.9em ui-monospace, "Liberation Mono", monospace; }
`;
