import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type {
  BlockFilterContext,
  BlockFilterHooks,
  Counter,
  FilterRequest,
  IoBuffer,
  Next,
} from '../../../filter/contract.js';
import { FILTER_JOBS_MAX } from '../../../limits.js';
import { openXts, type Xts, type XtsArea, xtsArea } from './xts.js';

/** What sidecores need to know of the image. */
export interface Prepared {
  /** The master key, which goes nowhere else. */
  readonly key: Uint8Array;
  /** First sector of the data. */
  readonly payloadSector: number;
}

export interface QueueOptions {
  readonly discard: boolean;
  readonly offload_bytes: number;
}

/** Data of a request that are encrypted at once, bytes: about 20 us of a sidecore. */
export const PIECE_BYTES = 2 ** 16;
/** A page more, so that first pages of buffers do not all fall on the same places of the processor's caches. */
const BUFFER_BYTES = PIECE_BYTES + 4096;
export const BUFFERS = 128;
/** Pieces of one request in flight: the next are read or written while one is worked on. */
const PIECES_MAX = 4;
/** Encrypted on the sidecore in one of its turns, bytes: others on it wait no longer than about 40 us for that. */
export const TURN_BYTES = 2 ** 17;

/** What a helper is asked: `a` is the first sector's number, `b` how many there are. */
export const Job = { ENCRYPT: 1, DECRYPT: 2 } as const;

/**
 * Encrypts and decrypts the requests of one queue, piece by piece: each piece has a buffer of the filter's own, through which it
 * goes between guest and back end, since the guest's memory is not the place for what is stored. Everything is known by the
 * request's slot or the buffer's number; nothing is allocated per request.
 */
export class QueueCipher implements BlockFilterHooks {
  readonly context: BlockFilterContext<QueueOptions, Prepared>;
  readonly xts: Xts;
  readonly payloadSector: number;
  readonly pool: ReturnType<BlockFilterContext['buffers']>;
  readonly #areas: (XtsArea | undefined)[] = new Array(BUFFERS).fill(undefined);
  readonly #buffers: (IoBuffer | undefined)[] = new Array(BUFFERS).fill(undefined);

  /** Of each request, by slot: its token, its data in all, and where the next piece begins, bytes. */
  readonly #token: (number | undefined)[];
  readonly #bytes: Int32Array;
  readonly #next: Int32Array;
  /** Operations and jobs that have not ended, the worst status, and whether a job of it goes to the helper. */
  readonly #pending: Int32Array;
  readonly #status: Int32Array;
  readonly #offload: Uint8Array;

  /** Of each buffer in use, by number: whose piece it has, which one, and its first sector in the disk. */
  readonly #slotOf = new Int32Array(BUFFERS);
  readonly #position = new Int32Array(BUFFERS);
  readonly #length = new Int32Array(BUFFERS);
  readonly #sector = new Float64Array(BUFFERS);

  /** Ring of the slots that wait for a buffer, each in it once. */
  readonly #waiting: Int32Array;
  #waitingFirst = 0;
  #waitingCount = 0;
  /** Ring of the buffers whose pieces are for a later turn, and what may be done in this one, bytes. */
  readonly #later = new Int32Array(BUFFERS);
  #laterFirst = 0;
  #laterCount = 0;
  #budget = TURN_BYTES;
  #jobs = 0;

  readonly #encrypted: Counter;
  readonly #decrypted: Counter;
  readonly #offloaded: Counter;
  readonly #waits: Counter;
  readonly #errors: Counter;

  constructor(context: BlockFilterContext<QueueOptions, Prepared>) {
    const { slots, prepared } = context;
    this.context = context;
    this.xts = openXts(prepared.key);
    this.payloadSector = prepared.payloadSector;
    this.pool = context.buffers(BUFFERS, BUFFER_BYTES);
    this.#token = new Array(slots).fill(undefined);
    this.#bytes = new Int32Array(slots);
    this.#next = new Int32Array(slots);
    this.#pending = new Int32Array(slots);
    this.#status = new Int32Array(slots);
    this.#offload = new Uint8Array(slots);
    this.#waiting = new Int32Array(slots);
    this.#encrypted = context.counter('bytes_encrypted');
    this.#decrypted = context.counter('bytes_decrypted');
    this.#offloaded = context.counter('pieces_offloaded');
    this.#waits = context.counter('buffer_waits');
    this.#errors = context.counter('errors');
  }

  submit(request: FilterRequest, next: Next): void {
    const { type } = request;
    if (type === RequestType.IN || type === RequestType.OUT || type === RequestType.WRITE_ZEROES) {
      if (request.bytes === 0) request.complete(Status.OK);
      else this.#begin(request);
    } else if (type === RequestType.FLUSH) next(request);
    else if (type === RequestType.DISCARD && this.context.options.discard) this.#discard(request);
    else request.complete(Status.UNSUPP);
  }

  done(tag: number, status: number): void {
    if (tag >= BUFFERS) {
      this.#ended(tag - BUFFERS, status);
      return;
    }
    const slot = this.#slotOf[tag]!;
    const request = this.context.requestOf(this.#token[slot]!);
    if (status !== Status.OK || request.type !== RequestType.IN) this.#pieceEnded(tag, status);
    else if (!this.#ask(Job.DECRYPT, slot, tag)) this.#cryptInTurn(request, tag);
  }

  tick(): void {
    this.#budget = TURN_BYTES;
    while (this.#laterCount > 0 && this.#budget > 0) {
      const index = this.#later[this.#laterFirst]!;
      this.#laterFirst = (this.#laterFirst + 1) % BUFFERS;
      this.#laterCount--;
      this.#crypt(this.context.requestOf(this.#token[this.#slotOf[index]!]!), index);
    }
  }

  answered(tag: number, result: number): void {
    this.#jobs--;
    const request = this.context.requestOf(this.#token[this.#slotOf[tag]!]!);
    if (result !== 0) this.#pieceEnded(tag, Status.IOERR);
    else if (request.type === RequestType.IN) this.#toGuest(request, tag);
    else this.#store(request, tag);
  }

  close(): void {
    this.xts.close();
  }

  #begin(request: FilterRequest): void {
    const { slot } = request;
    this.#start(request);
    this.#bytes[slot] = request.bytes;
    this.#next[slot] = 0;
    this.#offload[slot] = request.bytes >= this.context.options.offload_bytes ? 1 : 0;
    this.#beginPieces(slot, request);
  }

  #start(request: FilterRequest): void {
    const { slot } = request;
    this.#token[slot] = request.defer();
    this.#pending[slot] = 0;
    this.#status[slot] = Status.OK;
  }

  /** Begins as many of a request's pieces as may be in flight, and as there are buffers for. */
  #beginPieces(slot: number, request: FilterRequest): void {
    while (this.#next[slot]! < this.#bytes[slot]! && this.#pending[slot]! < PIECES_MAX) {
      const buffer = this.pool.take();
      if (buffer === undefined) {
        // Those in flight go on with it; with none, it waits until others give one back.
        if (this.#pending[slot] === 0) this.#wait(slot);
        return;
      }
      this.#beginPiece(slot, request, buffer);
    }
  }

  #beginPiece(slot: number, request: FilterRequest, buffer: IoBuffer): void {
    const { index } = buffer;
    if (this.#areas[index] === undefined) this.#meet(buffer);
    const position = this.#next[slot]!;
    let sector = request.sector + position / SECTOR_BYTES;
    let length = Math.min(PIECE_BYTES, this.#bytes[slot]! - position);
    if (request.type === RequestType.WRITE_ZEROES) {
      const range = rangeAt(request, position);
      const within = (position - range.start) / SECTOR_BYTES;
      sector = range.sector + within;
      length = Math.min(length, (range.sectors - within) * SECTOR_BYTES);
    }
    this.#slotOf[index] = slot;
    this.#position[index] = position;
    this.#length[index] = length;
    this.#sector[index] = sector;
    this.#next[slot] = position + length;
    this.#pending[slot] = this.#pending[slot]! + 1;
    if (request.type === RequestType.IN) {
      this.context.below.read(buffer, this.payloadSector + sector, length, index);
      return;
    }
    if (request.type === RequestType.OUT) request.copyTo(position, buffer.bytes, 0, length);
    else buffer.bytes.fill(0, 0, length);
    if (!this.#ask(Job.ENCRYPT, slot, index)) this.#cryptInTurn(request, index);
  }

  /** Encrypts or decrypts a piece here: now, or in a later turn if this one has had its share. */
  #cryptInTurn(request: FilterRequest, index: number): void {
    if (this.#budget > 0 && this.#laterCount === 0) this.#crypt(request, index);
    else this.#later[(this.#laterFirst + this.#laterCount++) % BUFFERS] = index;
  }

  #crypt(request: FilterRequest, index: number): void {
    const length = this.#length[index]!;
    this.#budget -= length;
    if (request.type === RequestType.IN) {
      this.xts.decrypt(this.#areas[index]!, 0, length / SECTOR_BYTES, this.#sector[index]!);
      this.#toGuest(request, index);
    } else {
      this.xts.encrypt(this.#areas[index]!, 0, length / SECTOR_BYTES, this.#sector[index]!);
      this.#store(request, index);
    }
  }

  /** Gives a piece to the helper, if that is where pieces of its request go. It does not when the helper has too much to do. */
  #ask(code: number, slot: number, index: number): boolean {
    if (this.#offload[slot] === 0 || this.#jobs >= FILTER_JOBS_MAX) return false;
    this.#jobs++;
    this.#offloaded.add(1);
    const sectors = this.#length[index]! / SECTOR_BYTES;
    this.context.helper.ask(code, this.#buffers[index], index, this.#sector[index]!, sectors);
    return true;
  }

  #store(request: FilterRequest, index: number): void {
    const length = this.#length[index]!;
    this.#encrypted.add(length);
    const sector = this.payloadSector + this.#sector[index]!;
    this.context.below.write(this.#buffers[index]!, sector, length, index, 0, request.durable);
  }

  #toGuest(request: FilterRequest, index: number): void {
    const length = this.#length[index]!;
    this.#decrypted.add(length);
    request.copyFrom(this.#position[index]!, this.#buffers[index]!.bytes, 0, length);
    this.#pieceEnded(index, Status.OK);
  }

  #pieceEnded(index: number, status: number): void {
    const slot = this.#slotOf[index]!;
    this.pool.giveBack(this.#buffers[index]!);
    // First those that have none.
    this.#serveWaiting();
    this.#ended(slot, status);
  }

  /** A part of a request has ended: the next goes on, or the request has ended with its last. */
  #ended(slot: number, status: number): void {
    const pending = this.#pending[slot]! - 1;
    this.#pending[slot] = pending;
    if (status !== Status.OK) {
      this.#status[slot] = status;
      // What is not begun yet, is not any more.
      this.#next[slot] = this.#bytes[slot]!;
    }
    if (this.#next[slot]! < this.#bytes[slot]!) {
      this.#beginPieces(slot, this.context.requestOf(this.#token[slot]!));
    } else if (pending === 0) {
      if (this.#status[slot] !== Status.OK) this.#errors.add(1);
      this.context.finish(this.#token[slot]!, this.#status[slot]!);
    }
  }

  /** Passes a discard on to where the sectors are: what is read there later is not zero, and means nothing. */
  #discard(request: FilterRequest): void {
    const { slot, rangeCount } = request;
    this.#start(request);
    this.#bytes[slot] = 0;
    this.#next[slot] = 0;
    this.#pending[slot] = rangeCount;
    for (let i = 0; i < rangeCount; i++)
      this.context.below.discard(this.payloadSector + request.rangeSector(i), request.rangeSectors(i), BUFFERS + slot);
  }

  #wait(slot: number): void {
    this.#waits.add(1);
    const { length } = this.#waiting;
    this.#waiting[(this.#waitingFirst + this.#waitingCount++) % length] = slot;
  }

  /** A buffer came back: the one that waits longest goes on. */
  #serveWaiting(): void {
    if (this.#waitingCount === 0) return;
    const buffer = this.pool.take();
    if (buffer === undefined) return;
    const slot = this.#waiting[this.#waitingFirst]!;
    this.#waitingFirst = (this.#waitingFirst + 1) % this.#waiting.length;
    this.#waitingCount--;
    this.#beginPiece(slot, this.context.requestOf(this.#token[slot]!), buffer);
  }

  /** Looks at a buffer for the first time. */
  #meet(buffer: IoBuffer): void {
    this.#buffers[buffer.index] = buffer;
    this.#areas[buffer.index] = xtsArea(buffer.bytes, buffer.address);
  }
}

/** The range of a request that has its data at a position: its first sector, its length, and where in the data it starts. */
function rangeAt(request: FilterRequest, position: number): typeof found {
  let start = 0;
  for (let i = 0; ; i++) {
    const sectors = request.rangeSectors(i);
    const end = start + sectors * SECTOR_BYTES;
    if (position < end) {
      found.sector = request.rangeSector(i);
      found.sectors = sectors;
      found.start = start;
      return found;
    }
    start = end;
  }
}

/** What `rangeAt` fills. */
const found = { sector: 0, sectors: 0, start: 0 };
