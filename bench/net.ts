import { tmpdir } from 'node:os';
import { type BenchGround, type BenchOptions, onGround } from './ground.js';
import { againstRows, type NetContext, type PlannedRows } from './net-rows.js';
import { roundTripRows } from './net-round-trip.js';
import { stoppedReceiverRows } from './net-stopped.js';
import { missingPackages } from './net-packages.js';
import type { Report } from './report.js';

/** How the network benchmark is run. */
export interface NetBenchOptions extends BenchOptions {
  /** Rows whose name holds this. */
  readonly only: string;
}

const TIMING = { warmUpMs: 400, windowMs: 1200 };
const QUICK_TIMING = { warmUpMs: 250, windowMs: 600 };

/** The network benchmark: us against DPDK's vhost and Open vSwitch, each pinned to one CPU, the guests on another, in turn. */
export function benchNet(options: NetBenchOptions): Promise<Report> {
  return onGround(options, async (ground) => {
    const { quick, node, progress } = options;
    const context: NetContext = {
      ground,
      folder: ground.folder(tmpdir()),
      node,
      timing: quick ? QUICK_TIMING : TIMING,
      pairs: quick ? 2 : 5,
      progress,
    };
    const plan = [...againstRows(context), ...roundTripRows(context), ...stoppedReceiverRows(context)];
    const wanted = plan.filter((rows) => rows.name.includes(options.only) && (rows.quick || !quick || options.only !== ''));
    for (const rows of missingPackages(wanted, progress)) await runRows(ground, rows);
    return ground.report('net', {});
  });
}

async function runRows(ground: BenchGround, rows: PlannedRows): Promise<void> {
  ground.rows.push(...(await rows.run()));
}
