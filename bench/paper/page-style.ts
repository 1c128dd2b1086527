import { REPORT_STYLE } from '../../src/demo/report-style.js';

/** The look of the page: that of the demo's report, with plots and verdicts. Light or dark, nothing fetched. */
export const PAGE_STYLE = `${REPORT_STYLE}
:root { --sidecore: #0f8b8d; --baseline: #7a8594; --direct: #b8741a; --third: #7a52b8; --fourth: #c2416b; --fifth: #3b6fd4; }
@media (prefers-color-scheme: dark) {
  :root { --sidecore: #35b5b1; --baseline: #98a4b3; --direct: #e0a24c; --third: #b193e6; --fourth: #ee7fa0; --fifth: #86abf5; } }
main { max-width: 1200px; }
h2 { font-size: 22px; margin-top: 56px; }
h3 { font-size: 16px; margin: 26px 0 8px; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); }
figcaption { margin-bottom: 4px; }
.series { --c: var(--sidecore); }
.series.baseline, .series.baseline-light { --c: var(--baseline); }
.series.direct { --c: var(--direct); }
.series.third { --c: var(--third); }
.series.fourth { --c: var(--fourth); }
.series.fifth { --c: var(--fifth); }
.series .line { fill: none; stroke: var(--c); stroke-width: 2; }
.series.sidecore-light .line, .series.baseline-light .line { stroke-dasharray: 5 4; stroke-width: 1.6; }
.series .whisker { fill: none; stroke: var(--c); stroke-width: 1.2; }
.series .mark { fill: var(--c); }
.series .mark .hollow, .series .mark.disturbed * { fill: var(--card); stroke: var(--c); stroke-width: 1.6; }
.series .mark.disturbed * { stroke-dasharray: 2 2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 0 0 6px; padding: 0; font-size: 13px; color: var(--quiet); }
.legend li { display: flex; align-items: center; gap: 6px; }
svg.key { width: 32px; height: 16px; flex: none; }
details { margin: 6px 0 8px; font-size: 14px; }
summary { cursor: pointer; color: var(--quiet); }
details table { font-size: 12.5px; margin-top: 6px; }
details th, details td { padding: 3px 8px; }
figure .scroll { overflow-x: auto; }
ul.verdicts { list-style: none; margin: 6px 0; padding: 0; font-size: 14px; }
ul.verdicts li { padding: 5px 0; border-top: 1px solid var(--line); }
.card ul.verdicts { padding: 0 16px; margin: 0; }
ul.verdicts b { white-space: nowrap; }
td:first-child { white-space: normal; }
p.small { font-size: 14px; }
.yes { color: var(--good); } .no { color: var(--bad); } .open { color: var(--quiet); }
.tag { font-size: 12px; color: var(--quiet); border: 1px solid var(--line); border-radius: 6px; padding: 0 5px; white-space: nowrap; }
ul.plain { margin: 0 0 10px; padding-left: 20px; max-width: 80ch; }
a { color: var(--sidecore); }
`;
