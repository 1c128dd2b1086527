import { SidecoreError } from '../src/errors.js';
import { type BenchOptions, onGround } from './ground.js';
import { realGuestRows } from './net-guests.js';
import { withPackages } from './net-packages.js';
import { roundTripRows } from './net-round-trip.js';
import { againstRows } from './net-rows.js';
import type { NetContext, PlannedRows } from './net-sides.js';
import { stoppedReceiverRows } from './net-stopped.js';
import { type Report, type Row, row } from './report.js';

/** How the network benchmark is run. */
export interface NetBenchOptions extends BenchOptions {
  /** Rows whose name holds this. */
  readonly only: string;
}

const TIMING = { warmUpMs: 300, windowMs: 1000 };
const QUICK_TIMING = { warmUpMs: 200, windowMs: 500 };

/** The network benchmark: us against DPDK's vhost and Open vSwitch, each pinned to one CPU, the guests on another, in turn. */
export function benchNet(options: NetBenchOptions): Promise<Report> {
  return onGround(options, async (ground) => {
    const { quick, node, progress } = options;
    const context: NetContext = {
      ground,
      node,
      timing: quick ? QUICK_TIMING : TIMING,
      pairs: quick ? 2 : 5,
    };
    const plan = [
      ...againstRows(context),
      ...roundTripRows(context),
      ...stoppedReceiverRows(context),
      ...realGuestRows(context),
    ];
    const wanted = plan.filter(
      (rows) => rows.name.includes(options.only) && (rows.quick || !quick || options.only !== ''),
    );
    for (const rows of withPackages(wanted, progress)) ground.add(await measured(rows, progress));
    return ground.report('net', {});
  });
}

/** What cannot be measured is said, and does not take the other rows with it. */
async function measured({ name, run }: PlannedRows, progress: NetBenchOptions['progress']): Promise<Row[]> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SidecoreError)) throw error;
    progress(`${name}: ${error.line}`);
    return [row(name, '', [Number.NaN], null, null, error.code)];
  }
}
