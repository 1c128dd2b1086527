/** Disks behind filters that let all pass, at once or later, are back ends like any other: throttled or not, traced, with no faults to make. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { diskFilters, readyFilter } from '../../bench/filter-host.js';
import type { BackendHost } from '../../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../../src/block/backends/index.js';
import type { BlockFilter } from '../../src/filter/contract.js';
import { createChain, type FilterHost } from '../../src/filter/create.js';
import { FilterDesk } from '../../src/filter/filter-desk.js';
import { HelperBell } from '../../src/filter/helper-channel.js';
import { BLOCK_FILTERS } from '../../src/filters/block/index.js';
import { IoUring } from '../../src/host/io-uring.js';
import { backendConformance } from './backend.js';

const directory = mkdtempSync(join(tmpdir(), 'sidecore-conformance-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const ring = IoUring.create(1);
ring?.close();
const noRing = ring === undefined ? 'the kernel refuses io_uring' : false;

const ready = (use: string, options: Readonly<Record<string, unknown>>) =>
  readyFilter<BlockFilter>(BLOCK_FILTERS[use]!, options, { deferNsMax: Number.POSITIVE_INFINITY, base: directory });

const CHAINS: Readonly<Record<string, readonly (readonly [string, Readonly<Record<string, unknown>>])[]>> = {
  'a throttle that limits nothing': [['throttle', { group: 'none' }]],
  'a throttle whose limit is not reached': [['throttle', { iops: 1e9, bps: '1000GB', burst: 10 }]],
  'a throttle whose limit is reached': [['throttle', { iops: 100_000, iops_write: 70_000, burst_requests: 1 }]],
  'a trace': [['trace', { records: 256 }]],
  'no faults': [['fault', {}]],
  delays: [['fault', { rules: [{ every: 8, do: { delay: '20us' } }] }]],
  'all of them': [
    ['trace', {}],
    ['fault', {}],
    ['throttle', { iops: 200_000, burst_requests: 2 }],
    ['trace', {}],
  ],
};

let images = 0;

for (const [name, filters] of Object.entries(CHAINS))
  for (const backend of ['memory', 'file'] as const) {
    const desk = { now: new FilterDesk() };
    backendConformance({
      name: `${backend} behind ${name}`,
      skip: noRing,
      grows: false,
      keepsData: true,
      make(size): { options: BackendOptions; release(): void } {
        if (backend === 'memory') return { options: { type: 'memory', size }, release() {} };
        const path = join(directory, `${images++}.img`);
        return {
          options: { type: 'file', path, size, engine: 'io_uring' },
          release: () => rmSync(path, { force: true }),
        };
      },
      turn() {
        if (desk.now.busy) desk.now.turn();
      },
      create(spec: BackendSpec, host: BackendHost) {
        desk.now = new FilterDesk();
        // Abilities are those of any disk of its kind.
        const like = openDisk({ type: 'memory', size: 2 ** 20 });
        const { spec: chain } = diskFilters(
          like,
          filters.map(([use, options]) => ready(use, options)),
        );
        like.close();
        const filterHost: FilterHost = {
          pool: host.pool,
          uring: () => host.uring(),
          filterDesk: desk.now,
          filterMark: new Int32Array(1),
          helperBell: new HelperBell().buffer,
          makeHelper() {},
        };
        return createChain(chain!, 0, createBackend(spec, host), BLOCK_FILTERS, filterHost);
      },
    });
  }
