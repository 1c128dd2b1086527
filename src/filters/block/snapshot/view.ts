import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer } from '../../../filter/index.js';
import { DEFERRED, defineBlockFilter } from '../../../filter/index.js';
import type { StoreSpec } from '../clusters/commit.js';
import { CLUSTER_BYTES_MAX, Word } from '../clusters/layout.js';
import { BUFFERS, LentBuffers } from '../clusters/lent-buffers.js';
import { RequestClusters } from '../clusters/request-clusters.js';
import { goodSnapshot, readManifest, storeFiles } from './manifest.js';
import { slotSectors } from './prepared.js';
import { LIVE, SnapshotLookup } from './reader.js';
import { snapshotsOf } from './store.js';

interface Prepared {
  readonly store: StoreSpec;
  /** Of the filter whose snapshot it is. */
  readonly shared: SharedArrayBuffer;
  readonly slot: number;
}

/**
 * A disk that is a snapshot of another, read-only, while that is written: the back end below is the other disk's. What is read there counts
 * only if no copy of it has been made meanwhile, for then it may have been overwritten meanwhile. It belongs to a back end of type
 * `snapshot`: no configuration names it.
 */
export const snapshotView = defineBlockFilter({
  name: 'snapshot-view',
  defers: true,
  failsClosed: true,
  options: (z) => z.strictObject({ of: z.string(), name: z.string(), path: z.string() }),
  counters: ['again'],
  check({ options, base }) {
    goodSnapshot(readManifest(storeFiles(options, base).manifest).stores, options.of, options.name);
  },
  disks: ({ of }) => ({ copies: { type: 'lent', disk: snapshotsOf(of).copies } }),
  manage({ options: { of, name } }) {
    const snapshots = snapshotsOf(of);
    const slot = snapshots.attach(name);
    const prepared: Prepared = { store: snapshots.spec, shared: snapshots.shared, slot };
    return { prepared, close: () => snapshots.unuse(slot) };
  },
  offers: () => ({ readOnly: true, discard: false, writeZeroes: false, secureErase: false }),
  create: viewHooks,
});

function viewHooks(context: BlockFilterContext<unknown, Prepared>): BlockFilterHooks {
  const { below, slots } = context;
  const { store, shared, slot: own } = context.prepared;
  const lookup = new SnapshotLookup(store, shared);
  const { words } = lookup;
  const copies = context.disk('copies');
  const again = context.counter('again');
  const buffers = new LentBuffers(context);
  const { slotOf } = buffers;
  const clusters = new RequestClusters(store.shape);
  const sectorsPerSlot = slotSectors(store.shape);

  const tokens = new Float64Array(slots);
  /** How far a read has come, sectors. */
  const progress = new Float64Array(slots);
  const sourceOf = new Int32Array(BUFFERS);
  const generationOf = new Int32Array(BUFFERS);
  const pieceSectors = new Float64Array(BUFFERS);

  /** The stores that count, as of a generation and a number of stores. */
  let chain = lookup.slotsFrom(own);
  let generation = -1;

  /** False while stores are being put together. */
  function look(): boolean {
    const now = Atomics.load(words, Word.GENERATION);
    if ((now & 1) === 1) return false;
    if (now !== generation) {
      chain = lookup.slotsFrom(own);
      generation = now;
    }
    return true;
  }

  const lastOf = (request: FilterRequest) => request.sector + request.bytes / SECTOR_BYTES;

  /** The first cluster that no longer has that source, before `end`; or `end`. */
  function sameUntil(source: number, from: number, end: number): number {
    for (let at = from; at < end; at++) if (lookup.sourceOf(chain, at) !== source) return at;
    return end;
  }

  const isLive = (request: FilterRequest): boolean => {
    const end = clusters.until(lastOf(request));
    return look() && sameUntil(LIVE, clusters.at(request.sector), end) === end;
  };

  function keep(request: FilterRequest): void {
    tokens[request.slot] = request.defer();
    progress[request.slot] = 0;
    buffers.wait(request.slot);
  }

  /** Reads as much as comes from one source. False if that has to wait. */
  function readPiece(buffer: IoBuffer): boolean {
    if (!look()) return false;
    const { index } = buffer;
    const slot = slotOf[index]!;
    const request = context.requestOf(tokens[slot]!);
    const sector = request.sector + progress[slot]!;
    const last = Math.min(lastOf(request), sector + CLUSTER_BYTES_MAX / SECTOR_BYTES);
    const cluster = clusters.at(sector);
    const source = lookup.sourceOf(chain, cluster);
    const until = sameUntil(source, cluster + 1, clusters.until(last)) * clusters.sectors;
    pieceSectors[index] = Math.min(last, until) - sector;
    sourceOf[index] = source;
    generationOf[index] = generation;
    const bytes = pieceSectors[index]! * SECTOR_BYTES;
    if (source === LIVE) below.read(buffer, sector, bytes, index);
    else copies.read(buffer, source * sectorsPerSlot + sector, bytes, index);
    return true;
  }

  /** What was read is what the snapshot has. */
  function isGood(index: number, sector: number): boolean {
    if (!look()) return false;
    if (sourceOf[index] !== LIVE) return generation === generationOf[index];
    const end = clusters.until(sector + pieceSectors[index]!);
    return sameUntil(LIVE, clusters.at(sector), end) === end;
  }

  /** Goes on with a read that has a buffer. Without it, if that has to wait; then this is false. */
  function goOn(buffer: IoBuffer): boolean {
    if (readPiece(buffer)) return true;
    buffers.giveBack(buffer);
    return false;
  }

  function begin(slot: number): boolean {
    const buffer = buffers.take(slot);
    return buffer !== undefined && goOn(buffer);
  }

  return {
    submit(request, next) {
      const { type } = request;
      if (type === RequestType.FLUSH) return request.complete(Status.OK);
      if (type !== RequestType.IN) return request.complete(Status.IOERR);
      if (isLive(request)) next(request);
      else keep(request);
    },
    complete(request, status) {
      if (isLive(request)) return status;
      again.add(1);
      keep(request);
      return DEFERRED;
    },
    tick() {
      buffers.turn(begin);
    },
    done(index, status) {
      const buffer = buffers.at(index);
      const slot = slotOf[index]!;
      const request = context.requestOf(tokens[slot]!);
      if (status !== Status.OK) {
        buffers.giveBack(buffer);
        return context.finish(tokens[slot]!, Status.IOERR);
      }
      if (isGood(index, request.sector + progress[slot]!)) {
        request.copyFrom(progress[slot]! * SECTOR_BYTES, buffer.bytes, 0, pieceSectors[index]! * SECTOR_BYTES);
        progress[slot]! += pieceSectors[index]!;
      } else again.add(1);
      if (progress[slot]! * SECTOR_BYTES < request.bytes) {
        if (!goOn(buffer)) buffers.wait(slot);
        return;
      }
      buffers.giveBack(buffer);
      context.finish(tokens[slot]!, Status.OK);
    },
  };
}
