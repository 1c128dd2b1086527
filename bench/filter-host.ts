/** What rigs for filters are made of, those of tests too: parts of a daemon, in a thread that the rig drives. */
import { MORE, type OpenDisk } from '../src/block/backends/backend.js';
import type { BackendSpec } from '../src/block/backends/index.js';
import { type BlockRequest, RequestPool } from '../src/block/request.js';
import { DiskFilters } from '../src/daemon/disk-filters.js';
import type { FilterHost } from '../src/filter/create.js';
import { FilterDesk } from '../src/filter/filter-desk.js';
import { FilterGroups } from '../src/filter/filter-groups.js';
import { HelperBell } from '../src/filter/helper-channel.js';
import { FilterHelpers, type HelperSetup } from '../src/filter/helpers.js';
import { type BuiltIns, readOptions } from '../src/filter/load.js';
import type { Ready } from '../src/filter/opened.js';
import type { FilterPlace, ReadyFilter } from '../src/filter/opened-filter.js';
import { SourceLines } from '../src/filter/source-lines.js';
import type { IoUring } from '../src/host/io-uring.js';
import { REQUESTS_IN_FLIGHT_MAX } from '../src/limits.js';
import { UringDesk } from '../src/sidecore/uring-desk.js';

/** A filter of ours, or of a test, as a configuration has it. Throws what is wrong with its options. */
export function readyFilter<Definition extends { readonly name: string; readonly options?: unknown }>(
  definition: Definition,
  given: Readonly<Record<string, unknown>> = {},
  more: Partial<ReadyFilter> = {},
): Ready<Definition> & Pick<ReadyFilter, 'deferNsMax'> {
  const { name } = definition;
  const read = readOptions(definition as Parameters<typeof readOptions>[0], given);
  if ('faults' in read) throw new Error(read.faults.map(({ keys, text }) => `${keys.join('.')}: ${text}`).join('; '));
  const { options } = read;
  const limits = { onFault: 'closed', deferNsMax: 30e9, timeNsMax: Number.POSITIVE_INFINITY } as const;
  const module = { kind: 'built-in', name } as const;
  return { module, lines: new SourceLines(), use: name, ...limits, base: '/', ...more, definition, options };
}

/** The filters of a disk that nobody uses yet, nearest to the guest first. */
export function diskFilters(
  disk: OpenDisk<BackendSpec>,
  filters: readonly ReadyFilter[],
  more: Partial<FilterPlace> = {},
): DiskFilters {
  const place: FilterPlace = {
    vm: 'vm',
    device: 'disk',
    queues: 1,
    groups: new FilterGroups(),
    hold: async (during) => during(),
    connected: () => false,
    // What goes wrong is thrown.
    log() {},
    ...more,
  };
  return new DiskFilters(place, disk, filters);
}

/** A sidecore, and the thread of helpers, as filters of a disk know them. */
export class RigHost implements FilterHost {
  readonly pool = new RequestPool(REQUESTS_IN_FLIGHT_MAX);
  readonly filterMark = new Int32Array(1);
  readonly helperBell = new HelperBell().buffer;
  readonly filterDesk: FilterDesk;
  readonly #helpers: FilterHelpers;
  readonly #uring = new UringDesk({}, this.pool, () => {}, { countBeat() {} });
  #begun: BlockRequest[] = [];

  /** @param readNowNs - its clock, if it has one of its own */
  constructor(builtIns: BuiltIns, readNowNs?: FilterDesk['readNowNs']) {
    this.filterDesk = new FilterDesk(readNowNs);
    this.#helpers = new FilterHelpers(this.helperBell, builtIns);
  }

  uring(): IoUring | undefined {
    return this.#uring.ring;
  }

  makeHelper(setup: HelperSetup): void {
    this.#helpers.add(setup);
  }

  /** Sees to what a back end or a chain has answered to a request. */
  take(request: BlockRequest, answer: number): void {
    if (answer >= 0) request.queue!.complete(request, answer);
    else if (answer === MORE) this.#begun.push(request);
  }

  /** A turn of a sidecore. */
  turn(): void {
    if (this.#begun.length > 0) {
      const begun = this.#begun;
      this.#begun = [];
      for (const request of begun) this.take(request, request.queue!.backend.proceed!(request));
    }
    this.#uring.turn();
    if (this.filterDesk.busy) this.filterDesk.turn();
    this.#helpers.look();
  }

  /** Its thread dies: what it had begun ends, and nobody hears of it. */
  die(): void {
    const ring = this.uring();
    while (ring !== undefined && ring.inFlight > 0) {
      ring.submit();
      ring.reap();
    }
    this.#begun = [];
    this.filterMark[0] = 0;
  }

  close(): void {
    this.#uring.close();
  }
}
