/** Filters that pass everything on change nothing: a chain of them is a back end like any other. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { BackendHost } from '../../src/block/backends/backend.js';
import { type BackendSpec, createBackend } from '../../src/block/backends/index.js';
import { IoUring } from '../../src/host/io-uring.js';
import { chainOf, passThrough, testFilter } from '../support/filter-chain.js';
import { backendConformance, type Variant } from './backend.js';

const directory = mkdtempSync(join(tmpdir(), 'sidecore-conformance-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const ring = IoUring.create(1);
ring?.close();
const noRing = ring === undefined ? 'the kernel refuses io_uring' : false;

let images = 0;

const KINDS: readonly (Pick<Variant, 'name' | 'skip' | 'grows'> & { make: Variant['make'] })[] = [
  {
    name: 'memory',
    skip: false,
    grows: false,
    make: (size) => ({ options: { type: 'memory', size }, release() {} }),
  },
  {
    name: 'file',
    skip: noRing,
    grows: true,
    make(size) {
      const path = join(directory, `${images++}.img`);
      const release = () => rmSync(path, { force: true });
      return { options: { type: 'file', path, size, engine: 'io_uring' }, release };
    },
  },
];

for (const kind of KINDS) {
  for (const length of [0, 1, 3]) {
    backendConformance({
      ...kind,
      name: `${kind.name} behind ${length} filters`,
      keepsData: true,
      create(spec: BackendSpec, host: BackendHost) {
        const filters = Array.from({ length }, () => testFilter(passThrough()));
        return chainOf(filters, createBackend(spec, host));
      },
    });
  }
}
