import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer } from '../../../filter/index.js';
import { viewSigned32 } from '../../../host/memory-view.js';
import type { ClusterMap } from '../clusters/cluster-map.js';
import { CommitQueue } from '../clusters/commit-queue.js';
import { CLUSTER_BYTES_MAX, clusterMap, KEPT_AT, KeptWord, rangeLocks, sharedWords, Word } from '../clusters/layout.js';
import { BUFFERS, LentBuffers } from '../clusters/lent-buffers.js';
import { RequestClusters } from '../clusters/request-clusters.js';
import { type SnapshotPrepared, slotSectors } from './prepared.js';

/** Where a request stands, by its slot. */
const State = {
  /** It waits for its locks. */
  WAITS: 0,
  /** It holds them, and waits for a buffer or has clusters copied. */
  COPIES: 1,
  /** It waits until copies are durable, and goes on. */
  COMMITS: 2,
} as const;

const Step = { FETCH: 0, STORE: 1 } as const;

/**
 * One queue's part: before clusters are written that the newest store has not, their old content is copied there. Locks keep two queues from
 * copying the same one: the second copy would have the first one's new data.
 */
export function snapshotHooks(context: BlockFilterContext<unknown, SnapshotPrepared>): BlockFilterHooks {
  const { below, helper, shared, queue, slots } = context;
  const { store, powerSafe, dropsWhenFull } = context.prepared;
  const { shape, mapAddress } = store;
  const copies = context.disk('copies');
  const maps: (ClusterMap | undefined)[] = new Array(shape.slots).fill(undefined);
  const locks = rangeLocks(shared, queue);
  locks.releaseAll();
  const words = sharedWords(shared);
  const kept = viewSigned32(mapAddress + KEPT_AT, 64);
  const clusters = new RequestClusters(shape);
  const sectorsPerCluster = clusters.sectors;
  const diskSectors = shape.diskBytes / SECTOR_BYTES;
  const sectorsPerSlot = slotSectors(shape);
  const counters = ['copied', 'bytes_copied', 'commits', 'dropped'].map(context.counter);
  const [copied, bytesCopied, commits, dropped] = counters;
  const buffers = new LentBuffers(context);
  const { slotOf } = buffers;

  const state = new Uint8Array(slots);
  const tokens = new Float64Array(slots);
  /** The range that is copied for next. */
  const rangeOf = new Uint8Array(slots);
  const stepOf = new Uint8Array(BUFFERS);
  const pieceFrom = new Float64Array(BUFFERS);
  const pieceEnd = new Float64Array(BUFFERS);

  /** Of the newest store; undefined if there is none. */
  function newest(): ClusterMap | undefined {
    const slot = Atomics.load(words, Word.NEWEST) - 1;
    if (slot < 0) return undefined;
    maps[slot] ??= clusterMap(shape, shared, mapAddress, slot);
    return maps[slot];
  }

  /** Clusters that are copied next. */
  const piece = { from: 0, end: 0 };

  /** Finds them; false if there are none. */
  function hasPiece(request: FilterRequest): boolean {
    const map = newest();
    if (map === undefined) return false;
    const { slot } = request;
    for (; rangeOf[slot]! < clusters.count(request); rangeOf[slot]!++) {
      const range = rangeOf[slot]!;
      const last = clusters.until(clusters.end(request, range));
      piece.from = map.find(false, clusters.at(clusters.begin(request, range)), last);
      if (piece.from >= last) continue;
      const room = CLUSTER_BYTES_MAX / shape.clusterBytes;
      piece.end = map.find(true, piece.from, Math.min(last, piece.from + room));
      return true;
    }
    return false;
  }

  /** Goes on with a request that waits, as far as it can. False if it waits on. */
  function goOn(slot: number): boolean {
    const request = context.requestOf(tokens[slot]!);
    if (state[slot] === State.WAITS) {
      if (!locks.take(clusters.first(request), clusters.last(request))) return false;
      state[slot] = State.COPIES;
    }
    if (!hasPiece(request)) {
      allCopied(slot);
      return true;
    }
    const buffer = buffers.take(slot);
    if (buffer === undefined) return false;
    copy(buffer);
    return true;
  }

  const pieceBytes = (index: number) =>
    (Math.min(pieceEnd[index]! * sectorsPerCluster, diskSectors) - pieceFrom[index]! * sectorsPerCluster) *
    SECTOR_BYTES;

  function copy(buffer: IoBuffer): void {
    const { index } = buffer;
    pieceFrom[index] = piece.from;
    pieceEnd[index] = piece.end;
    stepOf[index] = Step.FETCH;
    below.read(buffer, piece.from * sectorsPerCluster, pieceBytes(index), index);
  }

  function stored(buffer: IoBuffer): void {
    const { index } = buffer;
    const slot = slotOf[index]!;
    copied!.add(pieceEnd[index]! - pieceFrom[index]!);
    bytesCopied!.add(pieceBytes(index));
    newest()?.setAll(pieceFrom[index]!, pieceEnd[index]!);
    if (hasPiece(context.requestOf(tokens[slot]!))) return copy(buffer);
    buffers.giveBack(buffer);
    allCopied(slot);
  }

  function allCopied(slot: number): void {
    const request = context.requestOf(tokens[slot]!);
    locks.release(clusters.first(request), clusters.last(request));
    passOn(slot, request);
  }

  /** The request may be written now, once its copies are durable where that is asked for. */
  function passOn(slot: number, request: FilterRequest): void {
    if ((powerSafe || request.durable) && !commitQueue.isIdle) {
      state[slot] = State.COMMITS;
      commitQueue.add(slot);
    } else context.goOn(tokens[slot]!);
  }

  const commitQueue = new CommitQueue(words, helper, commits!, (slot, good) => {
    if (good) context.goOn(tokens[slot]!);
    else giveUp(slot);
  });

  /** Copies cannot be made: the write fails, or snapshots are given up. */
  function giveUp(slot: number): void {
    if (!dropsWhenFull) return context.finish(tokens[slot]!, Status.IOERR);
    // In the file first: from there the next daemon knows.
    Atomics.store(kept, KeptWord.DROPPED, 1);
    if (Atomics.exchange(words, Word.NEWEST, 0) !== 0) {
      dropped!.add(1);
      context.log('old content cannot be stored: snapshots are given up, and the guest goes on');
    }
    context.goOn(tokens[slot]!);
  }

  return {
    submit(request, next) {
      const { type, slot } = request;
      if (type === RequestType.IN) return next(request);
      if (type === RequestType.FLUSH) {
        if (Atomics.load(words, Word.NEWEST) === 0 || commitQueue.isIdle) return next(request);
        tokens[slot] = request.defer();
        state[slot] = State.COMMITS;
        return commitQueue.add(slot);
      }
      const map = newest();
      if (map === undefined) return next(request);
      const isThere = clusters.areAllIn(map, request);
      const mustWait = powerSafe || request.durable;
      if (isThere && (!mustWait || commitQueue.isIdle)) return next(request);
      tokens[slot] = request.defer();
      rangeOf[slot] = 0;
      if (isThere) {
        state[slot] = State.COMMITS;
        return commitQueue.add(slot);
      }
      state[slot] = State.WAITS;
      buffers.wait(slot);
    },
    tick() {
      buffers.turn(goOn, locks);
      commitQueue.turn();
    },
    done(index, status) {
      const buffer = buffers.at(index);
      const slot = slotOf[index]!;
      if (status !== Status.OK) {
        buffers.giveBack(buffer);
        const request = context.requestOf(tokens[slot]!);
        locks.release(clusters.first(request), clusters.last(request));
        return giveUp(slot);
      }
      if (stepOf[index] === Step.STORE) return stored(buffer);
      const target = Atomics.load(words, Word.NEWEST) - 1;
      // Snapshots were given up meanwhile.
      if (target < 0) return stored(buffer);
      stepOf[index] = Step.STORE;
      copies.write(buffer, target * sectorsPerSlot + pieceFrom[index]! * sectorsPerCluster, pieceBytes(index), index);
    },
    answered: (_tag, result) => commitQueue.answered(result),
  };
}
