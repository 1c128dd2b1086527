import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoBuffer } from '../../../filter/index.js';
import { DEFERRED } from '../../../filter/index.js';
import { CommitQueue } from '../clusters/commit-queue.js';
import { CLUSTER_BYTES_MAX, clusterMap, rangeLocks, sharedWords } from '../clusters/layout.js';
import { BUFFERS, LentBuffers } from '../clusters/lent-buffers.js';
import { RequestClusters } from '../clusters/request-clusters.js';
import type { OverlayPrepared } from './filter.js';

/** Where a request stands, by its slot. */
const State = {
  /** Nothing is to be done when it is complete. */
  PLAIN: 0,
  /** A read in pieces. */
  READ: 1,
  /** It waits for its locks. */
  WAITS: 2,
  /** It holds them, and waits for a buffer or fills clusters. */
  FILLS: 3,
  /** It holds them, and is at the top. */
  AT_TOP: 4,
} as const;

/** What the operation of a buffer does. */
const Step = { READ: 0, FETCH: 1, STORE: 2 } as const;

/**
 * One queue's part. A request whose clusters are all in the top goes there as it is, one of which none is goes to the base: nothing is
 * copied. Writes to clusters that are not in the top hold locks until they are there, because a second write of another part of the
 * same cluster would fill it too.
 */
export function overlayHooks(context: BlockFilterContext<unknown, OverlayPrepared>): BlockFilterHooks {
  const { below, helper, shared, queue, slots } = context;
  const { shape, mapAddress } = context.prepared.store;
  const top = context.disk('top');
  const map = clusterMap(shape, shared, mapAddress, 0);
  const locks = rangeLocks(shared, queue);
  locks.releaseAll();
  const words = sharedWords(shared);
  const clusters = new RequestClusters(shape);
  const sectorsPerCluster = clusters.sectors;
  const diskSectors = shape.diskBytes / SECTOR_BYTES;
  const [fromTop, fromBase, divided] = ['from_top', 'from_base', 'divided'].map(context.counter);
  const [bytesFilled, commits] = ['bytes_filled', 'commits'].map(context.counter);
  const buffers = new LentBuffers(context);
  const { slotOf } = buffers;

  const state = new Uint8Array(slots);
  const tokens = new Float64Array(slots);
  /** How far a read has come, sectors; or the edge of a write that is filled next. */
  const progress = new Float64Array(slots);
  const stepOf = new Uint8Array(BUFFERS);
  const pieceSector = new Float64Array(BUFFERS);
  const pieceSectors = new Float64Array(BUFFERS);

  function keep(request: FilterRequest, as: number): void {
    tokens[request.slot] = request.defer();
    state[request.slot] = as;
    progress[request.slot] = 0;
  }

  /** Goes on with a request that waits, as far as it can. False if it waits on. */
  function goOn(slot: number): boolean {
    const request = context.requestOf(tokens[slot]!);
    if (state[slot] === State.WAITS) {
      if (!locks.take(clusters.first(request), clusters.last(request))) return false;
      state[slot] = State.FILLS;
    }
    if (state[slot] === State.FILLS && !hasFill(request)) {
      toTop(slot);
      return true;
    }
    const buffer = buffers.take(slot);
    if (buffer === undefined) return false;
    if (state[slot] === State.READ) readPiece(buffer);
    else fill(buffer);
    return true;
  }

  // --- reads that cross ----------------------------------------------------------------------------------------

  function readPiece(buffer: IoBuffer): void {
    const { index } = buffer;
    const request = context.requestOf(tokens[slotOf[index]!]!);
    const sector = request.sector + progress[request.slot]!;
    const last = request.sector + request.bytes / SECTOR_BYTES;
    const cluster = clusters.at(sector);
    const isThere = map.has(cluster);
    const until = map.find(!isThere, cluster + 1, clusters.until(last)) * sectorsPerCluster;
    const sectors = Math.min(last - sector, until - sector, CLUSTER_BYTES_MAX / SECTOR_BYTES);
    stepOf[index] = Step.READ;
    pieceSectors[index] = sectors;
    (isThere ? top : below).read(buffer, sector, sectors * SECTOR_BYTES, index);
  }

  function readDone(buffer: IoBuffer): void {
    const { index } = buffer;
    const slot = slotOf[index]!;
    const request = context.requestOf(tokens[slot]!);
    const at = progress[slot]! * SECTOR_BYTES;
    const bytes = pieceSectors[index]! * SECTOR_BYTES;
    request.copyFrom(at, buffer.bytes, 0, bytes);
    progress[slot]! += pieceSectors[index]!;
    if (at + bytes < request.bytes) return readPiece(buffer);
    buffers.giveBack(buffer);
    finish(slot, Status.OK);
  }

  // --- writes --------------------------------------------------------------------------------------------------

  /** The edge at `progress`: sectors of a cluster that is not in the top, before or behind what a range covers. */
  const edge = { sector: 0, sectors: 0 };

  /** Finds the next edge that has to be filled; false if there is none. */
  function hasFill(request: FilterRequest): boolean {
    const { slot } = request;
    for (; progress[slot]! < 2 * clusters.count(request); progress[slot]!++) {
      const range = progress[slot]! >>> 1;
      const isTail = (progress[slot]! & 1) === 1;
      const at = isTail ? clusters.end(request, range) : clusters.begin(request, range);
      const cluster = clusters.at(at);
      const from = cluster * sectorsPerCluster;
      if (clusters.isEmpty(request, range) || at === from || at === diskSectors || map.has(cluster)) continue;
      edge.sector = isTail ? at : from;
      edge.sectors = (isTail ? Math.min(from + sectorsPerCluster, diskSectors) : at) - edge.sector;
      return true;
    }
    return false;
  }

  function fill(buffer: IoBuffer): void {
    const { index } = buffer;
    stepOf[index] = Step.FETCH;
    pieceSector[index] = edge.sector;
    pieceSectors[index] = edge.sectors;
    below.read(buffer, edge.sector, edge.sectors * SECTOR_BYTES, index);
  }

  function filled(buffer: IoBuffer): void {
    const slot = slotOf[buffer.index]!;
    bytesFilled!.add(pieceSectors[buffer.index]! * SECTOR_BYTES);
    progress[slot]!++;
    if (hasFill(context.requestOf(tokens[slot]!))) return fill(buffer);
    buffers.giveBack(buffer);
    toTop(slot);
  }

  function toTop(slot: number): void {
    state[slot] = State.AT_TOP;
    context.redirect(tokens[slot]!, top);
  }

  /** It was at the top: clusters that it covers are there from now on, if it has succeeded. */
  function arrived(request: FilterRequest, status: number): void {
    if (status === Status.OK)
      for (let i = 0; i < clusters.count(request); i++)
        if (!clusters.isEmpty(request, i))
          map.setAll(clusters.at(clusters.begin(request, i)), clusters.until(clusters.end(request, i)));
    locks.release(clusters.first(request), clusters.last(request));
  }

  function finish(slot: number, status: number): void {
    const token = tokens[slot]!;
    state[slot] = State.PLAIN;
    context.finish(token, status);
  }

  const commitQueue = new CommitQueue(words, helper, commits!, (slot, good) =>
    finish(slot, good ? Status.OK : Status.IOERR),
  );

  return {
    submit(request, next) {
      const { type, slot } = request;
      state[slot] = State.PLAIN;
      if (type === RequestType.IN) {
        const from = clusters.at(request.sector);
        const to = clusters.until(request.sector + request.bytes / SECTOR_BYTES);
        if (map.hasAll(from, to)) {
          fromTop!.add(1);
          return request.redirect(top);
        }
        if (map.hasNone(from, to)) {
          fromBase!.add(1);
          return next(request);
        }
        divided!.add(1);
        keep(request, State.READ);
        buffers.wait(slot);
      } else if (type === RequestType.FLUSH) {
        if (commitQueue.isIdle) return request.redirect(top);
        keep(request, State.PLAIN);
        commitQueue.add(slot);
      } else if (type === RequestType.SECURE_ERASE) request.complete(Status.UNSUPP);
      else if (clusters.areAllIn(map, request)) request.redirect(top);
      else {
        keep(request, State.WAITS);
        buffers.wait(slot);
      }
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
        if (state[slot] === State.FILLS) locks.release(clusters.first(request), clusters.last(request));
        return finish(slot, Status.IOERR);
      }
      if (stepOf[index] === Step.READ) return readDone(buffer);
      if (stepOf[index] === Step.STORE) return filled(buffer);
      stepOf[index] = Step.STORE;
      top.write(buffer, pieceSector[index]!, pieceSectors[index]! * SECTOR_BYTES, index);
    },
    answered: (_tag, result) => commitQueue.answered(result),
    complete(request, status) {
      const { slot } = request;
      const was = state[slot];
      state[slot] = State.PLAIN;
      if (was === State.AT_TOP) arrived(request, status);
      // A write that is durable already has its clusters durable too.
      const isDurable = request.durable && request.type === RequestType.OUT;
      if (status !== Status.OK || !isDurable || commitQueue.isIdle) return status;
      keep(request, State.PLAIN);
      commitQueue.add(slot);
      return DEFERRED;
    },
  };
}
