import type { BlockFilterContext, BlockFilterHooks, FilterRequest, IoTarget } from '../../../filter/contract.js';
import { RequestType, SECTOR_BYTES, Status } from '../../../filter/index.js';
import { Guard } from '../parts/guard.js';
import { type GuardUser, Way } from '../parts/guard-user.js';
import type { RegionPlace } from './regions.js';
import { Resync } from './resync.js';
import { MirrorState } from './state.js';

export interface MirrorOptions {
  readonly read_failover: boolean;
  readonly resync_rate: number;
}

/** A mirror for one queue: writes go to both halves, from one copy of their data. */
export class MirrorQueue implements GuardUser, BlockFilterHooks {
  readonly flushes = true;
  readonly #context: BlockFilterContext<MirrorOptions, RegionPlace>;
  readonly #state: MirrorState;
  readonly #guard: Guard;
  readonly #below: IoTarget;
  readonly #second: IoTarget;
  readonly #failover: boolean;
  readonly #resync: Resync | undefined;
  readonly #mirrored;
  readonly #degradedWrites;
  readonly #errors;
  readonly #failovers;

  constructor(context: BlockFilterContext<MirrorOptions, RegionPlace>) {
    const { options, prepared, shared, queue } = context;
    this.#context = context;
    this.#state = new MirrorState(shared, prepared);
    const locks = this.#state.locks(queue);
    this.#guard = new Guard(context as BlockFilterContext, locks, this);
    this.#below = context.below;
    this.#second = context.disk('to');
    this.#failover = options.read_failover;
    this.#mirrored = context.counter('mirrored_writes');
    this.#degradedWrites = context.counter('single_writes');
    this.#errors = context.counter('second_errors');
    this.#failovers = context.counter('failed_over_reads');
    if (queue === 0) {
      const { tagOwn } = this.#guard;
      this.#resync = new Resync(context as BlockFilterContext, this.#state, locks, tagOwn, options.resync_rate);
    }
  }

  submit(request: FilterRequest, next: (request: FilterRequest) => void): void {
    this.#guard.submit(request, next);
  }

  complete(request: FilterRequest, status: number): number {
    if (status === Status.IOERR && request.type === RequestType.IN && this.#canFailOver(request)) {
      this.#failovers.add(1);
      return this.#guard.readPieces(request);
    }
    return this.#guard.complete(request, status);
  }

  tick(): void {
    this.#guard.tick();
    this.#resync?.tick();
    if (this.#guard.waits) this.#context.wakeAt(0);
  }

  done(tag: number, status: number): void {
    if (this.#guard.done(tag, status)) return;
    this.#resync!.done(status);
  }

  settled(): boolean {
    return this.#resync?.settled ?? true;
  }

  close(): void {
    this.#resync?.close();
  }

  #canFailOver({ sector, bytes }: FilterRequest): boolean {
    return this.#failover && bytes > 0 && !this.#state.regions.isAnyStale(sector, bytes / SECTOR_BYTES);
  }

  begin({ sector, bytes }: FilterRequest): number {
    const { regions } = this.#state;
    const sectors = bytes / SECTOR_BYTES;
    if (!this.#isSingle(sector, sectors)) {
      regions.markWritten(sector, sectors);
      this.#mirrored.add(1);
      return Way.COPY;
    }
    this.#degradedWrites.add(1);
    return Way.PASS;
  }

  /** Whether a write goes to the first half alone; its regions are marked then. */
  #isSingle(sector: number, sectors: number): boolean {
    const { regions, isDegraded } = this.#state;
    if (!isDegraded && !regions.areAllStale(sector, sectors)) return false;
    regions.markStale(sector, sectors);
    return true;
  }

  move(piece: number, way: number): number {
    const { buffers, pieceSector, pieceBytes, pieceOffset } = this.#guard;
    const buffer = buffers[piece]!;
    const sector = pieceSector[piece]!;
    const bytes = pieceBytes[piece]!;
    const offset = pieceOffset[piece]!;
    if (way === Way.READ) {
      this.#second.read(buffer, sector, bytes, 2 * piece, offset);
      return 1;
    }
    const { durable } = this.#guard.requestOf(piece);
    this.#below.write(buffer, sector, bytes, 2 * piece, offset, durable);
    this.#second.write(buffer, sector, bytes, 2 * piece + 1, offset, durable);
    return 2;
  }

  /** The guest gets what the first half says. */
  secondFailed(sector: number, sectors: number): number {
    // Of a flush: nobody knows what is lost.
    if (sectors === 0) this.#state.regions.markAllStale();
    else this.#state.regions.markStale(sector, sectors);
    this.#errors.add(1);
    if (this.#state.degrade())
      this.#context.log('the second half has failed: writes go to the first alone, and are noted');
    return Status.OK;
  }

  moved(piece: number, way: number, status: number): number {
    if (way === Way.READ || status === Status.OK) return status;
    // The first half has failed, and nobody knows what it has now.
    const { pieceSector, pieceBytes } = this.#guard;
    this.#state.regions.markStale(pieceSector[piece]!, pieceBytes[piece]! / SECTOR_BYTES);
    return status;
  }

  clear(slot: number, { type }: FilterRequest, sector: number, sectors: number, unmap: boolean): number {
    const tag = Guard.TAG_SLOTS + 2 * slot;
    const isSingle = this.#isSingle(sector, sectors);
    if (isSingle) this.#degradedWrites.add(1);
    else this.#state.regions.markWritten(sector, sectors);
    for (let half = 0; half < (isSingle ? 1 : 2); half++) {
      const target = half === 0 ? this.#below : this.#second;
      if (type === RequestType.DISCARD) target.discard(sector, sectors, tag + half);
      else target.writeZeroes(sector, sectors, unmap, tag + half);
    }
    return isSingle ? 1 : 2;
  }

  cleared(_request: FilterRequest, sector: number, sectors: number, status: number): void {
    if (status !== Status.OK) this.#state.regions.markStale(sector, sectors);
  }

  flush(slot: number): number {
    const tag = Guard.TAG_SLOTS + 2 * slot;
    this.#below.flush(tag);
    if (this.#state.isDegraded) return 1;
    this.#second.flush(tag + 1);
    return 2;
  }

  /** What was read from the second half is no good if a write has failed there meanwhile. */
  end(request: FilterRequest, way: number, status: number): number {
    if (way === Way.READ && !this.#canFailOver(request)) return Status.IOERR;
    return status;
  }
}
