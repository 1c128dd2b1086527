/** Disks behind the filters `mirror`, `cache` and `verify` are disks like any other. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { diskFilters, readyFilter } from '../../bench/filter-host.js';
import { type BackendHost, type BlockBackend, MORE, type OpenDisk, PENDING } from '../../src/block/backends/backend.js';
import { type BackendOptions, type BackendSpec, createBackend, openDisk } from '../../src/block/backends/index.js';
import type { BlockRequest, RequestOwner } from '../../src/block/request.js';
import type { FilterChain } from '../../src/filter/chain.js';
import type { BlockFilter } from '../../src/filter/contract.js';
import { createChain, type FilterHost } from '../../src/filter/create.js';
import { FilterDesk } from '../../src/filter/filter-desk.js';
import { HelperBell } from '../../src/filter/helper-channel.js';
import type { ChainSpec } from '../../src/filter/spec.js';
import { BLOCK_FILTERS } from '../../src/filters/block/index.js';
import { IoUring } from '../../src/host/io-uring.js';
import { backendConformance } from './backend.js';
import type { RigHost } from './backend-rig.js';

const directory = mkdtempSync(join(tmpdir(), 'sidecore-conformance-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const ring = IoUring.create(1);
ring?.close();
const noRing = ring === undefined ? 'the kernel refuses io_uring' : false;

let images = 0;

interface Options {
  readonly below: BackendOptions;
  readonly use: string;
  readonly given: Readonly<Record<string, unknown>>;
}

interface Spec {
  readonly below: BackendSpec;
  readonly chain: ChainSpec;
}

function open({ below, use, given }: Options): OpenDisk<Spec> {
  const disk = openDisk(below);
  const filters = diskFilters(disk, [readyFilter<BlockFilter>(BLOCK_FILTERS[use]!, given, { base: directory })]);
  return {
    ...disk,
    spec: { below: disk.spec, chain: filters.spec! },
    abilities: filters.abilities,
    close() {
      void filters.close();
      disk.close();
    },
  };
}

function create({ below, chain }: Spec, host: BackendHost) {
  const desk = new FilterDesk();
  (host as RigHost).turns.push(() => desk.busy && desk.turn());
  const filterHost: FilterHost = {
    ...host,
    filterDesk: desk,
    filterMark: new Int32Array(1),
    helperBell: new HelperBell().buffer,
    makeHelper: () => {
      throw new Error('these filters have no helpers');
    },
  };
  const made = createChain(chain, 0, createBackend(below, filterHost), BLOCK_FILTERS, filterHost);
  return inLaterTurns(made, host as RigHost);
}

/** Chains may complete a request before they say that they will: a queue does not mind, the rig does. */
function inLaterTurns(chain: FilterChain, { turns }: RigHost): BlockBackend {
  let owner: RequestOwner;
  const ended: [BlockRequest, number][] = [];
  const between: RequestOwner = { backend: chain, complete: (request, status) => void ended.push([request, status]) };
  turns.push(() => {
    for (const [request, status] of ended.splice(0)) {
      request.queue = owner;
      owner.complete(request, status);
    }
  });
  const give =
    (kind: 'read' | 'write' | 'flush' | 'discard' | 'writeZeroes' | 'secureErase') => (request: BlockRequest) => {
      owner = request.queue!;
      request.queue = between;
      const answer = chain[kind](request);
      if (answer !== PENDING) request.queue = owner;
      return answer;
    };
  return {
    read: give('read'),
    write: give('write'),
    flush: give('flush'),
    discard: give('discard'),
    writeZeroes: give('writeZeroes'),
    secureErase: give('secureErase'),
    proceed(request) {
      const answer = chain.proceed(request);
      if (answer !== PENDING && answer !== MORE) request.queue = owner;
      return answer;
    },
    completed: (request, result) => chain.completed(request, result),
    quiesce: () => chain.quiesce(),
    close: () => chain.close(),
  };
}

const FILTERS: readonly { readonly use: string; given(image: number): Record<string, unknown> }[] = [
  { use: 'mirror', given: (image) => ({ to: { type: 'file', path: `${image}.second` }, resync_rate: '1GiB' }) },
  { use: 'cache', given: () => ({ size: '1MiB' }) },
  { use: 'cache', given: () => ({ size: '1MiB', writes: 'around' }) },
  { use: 'verify', given: (image) => ({ sums: `${image}.sums` }) },
];

for (const kind of ['memory', 'file'] as const)
  for (const { use, given } of FILTERS)
    backendConformance<Options, Spec>({
      name: `${kind} behind ${use} ${JSON.stringify(given(0))}`,
      skip: noRing,
      keepsData: true,
      grows: false,
      open,
      create,
      make(size) {
        const image = images++;
        const path = join(directory, `${image}.img`);
        const below: BackendOptions = kind === 'memory' ? { type: 'memory', size } : { type: 'file', path, size };
        return { options: { below, use, given: given(image) }, release: () => {} };
      },
    });
