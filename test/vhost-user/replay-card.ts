/** The driver of a replay's network card, with a neighbour that it exchanges frames with. */
import assert from 'node:assert/strict';
import type { DriverStep, Mac, ReplayDevice } from '../replays/replay.js';
import { BROADCAST, makeFrame } from '../support/frames.js';
import { ControlRing, ReceiveRing, SENT_MAX, SendRing } from './replay-card-rings.js';
import type { ReplayMemory } from './replay-memory.js';
import { NEIGHBOUR_PAIRS, type Neighbour } from './replay-neighbour.js';
import { isUp, type LiveRing, lookUntil, type ReplayDriver, type ReplayRing } from './replay-ring.js';

/** Frames that set out from a queue pair of either side, to be waited for later. */
const AHEAD = [60, 1514, 400, 1000] as const;
/** Frames that a queue pair of the guest sends in an exchange: with those before, as many as its ring has room for. */
const LENGTHS = [60, 61, 64, 128, 300, 590, 1000, 1022, 1513, 1514, 700, 1200] as const;
/** Frames that a queue pair of the neighbour sends at once: all of them together fit into the buffers of one ring. */
const BATCH = 4;
/** Where a frame has its number. */
const SEED_AT = 14;
/** How long a frame may be on its way before another is tried. */
const PROBE_MS = 200;

type CardShape = Extract<ReplayDevice, { kind: 'card' }>;

/** A frame that is expected; one that may be lost may have come when nobody could take it. */
interface Expected {
  readonly frame: Buffer;
  readonly mayBeLost: boolean;
}

export class CardDriver implements ReplayDriver {
  readonly #memory: ReplayMemory;
  readonly #neighbour: Neighbour;
  readonly #device: CardShape;
  readonly #isMergeable: () => boolean;
  readonly #mac: Buffer;
  #pairs: number;
  #seed = 0;
  readonly #receive = new Map<number, ReceiveRing>();
  readonly #send = new Map<number, SendRing>();
  #control: ControlRing | undefined;
  /** By queue pair of the guest, what the neighbour has still to get. */
  readonly #fromGuest: Expected[][];
  /** By queue pair of the neighbour, what the guest has still to get. */
  readonly #toGuest: Expected[][];
  /** The frame that knocks last, and by which ring it came; -1 if it has not. */
  #knocker = 0;
  #knocked = -1;

  /** @param isMergeable - whether frames may be spread over several buffers, by what was negotiated */
  constructor(
    memory: ReplayMemory,
    device: CardShape,
    { guest, mac }: { guest: Neighbour; mac: Mac },
    isMergeable: () => boolean,
  ) {
    this.#memory = memory;
    this.#neighbour = guest;
    this.#device = device;
    this.#mac = Buffer.from(mac);
    this.#isMergeable = isMergeable;
    this.#pairs = device.pairsInUse;
    this.#fromGuest = Array.from({ length: device.queuePairs }, () => []);
    this.#toGuest = Array.from({ length: NEIGHBOUR_PAIRS }, () => []);
  }

  prepare(ring: ReplayRing): void {
    const { index } = ring;
    if (index === 2 * this.#device.queuePairs) {
      this.#control = new ControlRing(ring, this.#memory);
      return;
    }
    if (index % 2 === 1) {
      this.#send.set(index >> 1, new SendRing(ring, this.#memory));
      return;
    }
    const receive = new ReceiveRing(ring, this.#memory, this.#isMergeable());
    this.#receive.set(index >> 1, receive);
    if (index >> 1 < this.#pairs) receive.fill();
  }

  reset(): void {
    const waited = [...this.#fromGuest, ...this.#toGuest].flat().filter(({ mayBeLost }) => !mayBeLost);
    assert.equal(waited.length, 0, 'a driver that forgets its rings waits for nothing');
    for (const expected of [...this.#fromGuest, ...this.#toGuest]) expected.length = 0;
    this.#receive.clear();
    this.#send.clear();
    this.#control = undefined;
    this.#pairs = this.#device.pairsInUse;
  }

  async act(step: DriverStep, rings: readonly LiveRing[]): Promise<void> {
    switch (step.driver) {
      case 'exchange':
        return this.#exchange(rings);
      case 'set-out':
        return this.#setOut();
      case 'use-pairs':
        return this.#usePairs(step.pairs);
      case 'command': {
        const live = rings[2 * this.#device.queuePairs];
        assert.ok(live !== undefined && isUp(live), 'the control queue is up');
        assert.equal(await this.#control!.command(step.bytes), 0, 'the command is done');
        return;
      }
      default:
        assert.fail(`a card cannot ${step.driver}`);
    }
  }

  /** The neighbour hears where this address is. */
  async hearAnnouncement(mac: Mac): Promise<void> {
    let heard: Buffer | undefined;
    await lookUntil(
      () => (heard = this.#neighbour.receive()) !== undefined,
      () => 'no announcement comes',
    );
    assert.deepEqual(heard!.subarray(0, 12), Buffer.concat([BROADCAST, Buffer.from(mac)]));
  }

  #usePairs(pairs: number): void {
    this.#pairs = pairs;
    for (let pair = 0; pair < pairs; pair++) {
      const receive = this.#receive.get(pair)!;
      if (!receive.isFilled) receive.fill();
    }
  }

  async #setOut(): Promise<void> {
    for (let pair = 0; pair < this.#pairs; pair++) this.#post(pair, AHEAD);
    for (const [pair] of this.#toGuest.entries()) for (const length of AHEAD) await this.#call(pair, length, true);
  }

  async #exchange(rings: readonly LiveRing[]): Promise<void> {
    for (let pair = 0; pair < this.#pairs; pair++)
      assert.ok(isUp(rings[2 * pair]!) && isUp(rings[2 * pair + 1]!), `queue pair ${pair} is up`);
    for (let pair = 0; pair < this.#pairs; pair++) await this.#sendAll(pair, rings[2 * pair + 1]!.calledAt);
    for (let pair = 0; pair < NEIGHBOUR_PAIRS; pair++) await this.#knock(pair);
    for (let at = 0; at < LENGTHS.length; at += BATCH) {
      const isLast = at + BATCH >= LENGTHS.length;
      for (let pair = 0; pair < NEIGHBOUR_PAIRS; pair++) {
        const call = async () => {
          for (const length of LENGTHS.slice(at, at + BATCH)) await this.#call(pair, length, false);
        };
        const { calledAt } = rings[2 * this.#ringOf(pair)]!;
        if (isLast && calledAt !== undefined)
          await this.#receive.get(this.#ringOf(pair))!.ring.sleepOver(calledAt, call);
        else await call();
      }
      await this.#receiveAll();
    }
    for (const { ring } of this.#receive.values())
      assert.equal(ring.usedIndex, ring.done, `ring ${ring.index}: nothing else has come`);
    assert.equal(this.#neighbour.receive(), undefined, 'the neighbour gets nothing else');
  }

  /** The guest sends from one queue pair, and sleeps until it is called, if it can be; the neighbour gets all. */
  async #sendAll(pair: number, calledAt: number | undefined): Promise<void> {
    const send = this.#send.get(pair)!;
    // What was sent before is given back by then: the call is for what is sent now.
    await this.#arrive();
    await send.reclaim();
    const post = () => this.#post(pair, LENGTHS);
    if (calledAt === undefined) post();
    else await send.ring.sleepOver(calledAt, post);
    await this.#arrive();
    await send.reclaim();
    assert.equal(send.ring.usedIndex, send.ring.done, `ring ${send.ring.index}: each frame is given back once`);
  }

  #post(pair: number, lengths: readonly number[]): void {
    assert.ok(lengths.length <= SENT_MAX);
    const send = this.#send.get(pair)!;
    for (const length of lengths) {
      const frame = makeFrame(this.#neighbour.mac, this.#mac, length, ++this.#seed);
      this.#fromGuest[pair]!.push({ frame, mayBeLost: false });
      send.post(frame);
    }
    send.ring.publish();
  }

  /** The neighbour sends a frame to the guest. */
  async #call(pair: number, length: number, mayBeLost: boolean): Promise<void> {
    const frame = makeFrame(this.#mac, this.#neighbour.mac, length, ++this.#seed);
    this.#toGuest[pair]!.push({ frame, mayBeLost });
    await this.#neighbour.send(pair, frame);
  }

  /** Waits until the neighbour has all that the guest has sent. */
  #arrive(): Promise<void> {
    const left = () => this.#fromGuest.reduce((sum, { length }) => sum + length, 0);
    return lookUntil(
      () => {
        for (let got = this.#neighbour.receive(); got !== undefined; got = this.#neighbour.receive())
          expectOne(this.#fromGuest, got, 'the neighbour');
        return left() === 0;
      },
      () => `the neighbour has still to get ${left()} frames`,
    );
  }

  /** The ring to which the frames go that the neighbour sends from a queue pair. */
  #ringOf(pair: number): number {
    return pair % this.#pairs;
  }

  /**
   * Sends frames from a queue pair of the neighbour until one arrives, by the ring that it should: a kick of a moment ago may not
   * have been heard yet.
   */
  async #knock(pair: number): Promise<void> {
    let triedAt = 0;
    this.#knocked = -1;
    await lookUntil(
      () => {
        this.#takeAll();
        return this.#knocked === this.#ringOf(pair);
      },
      () => `nothing arrives from queue pair ${pair} of the neighbour by the ring of pair ${this.#ringOf(pair)}`,
      async () => {
        if (Date.now() - triedAt < PROBE_MS) return;
        triedAt = Date.now();
        await this.#call(pair, 60, true);
        this.#knocker = this.#seed;
      },
    );
  }

  #receiveAll(): Promise<void> {
    const left = () => this.#toGuest.flat().filter(({ mayBeLost }) => !mayBeLost).length;
    return lookUntil(
      () => {
        this.#takeAll();
        return left() === 0;
      },
      () => `the guest has still to get ${left()} frames`,
    );
  }

  #takeAll(): void {
    for (const [pair, receive] of this.#receive) {
      for (let got = receive.receive(); got !== undefined; got = receive.receive()) {
        const { from, mayBeLost } = expectOne(this.#toGuest, got, `ring ${receive.ring.index}`);
        if (got.readUInt32BE(SEED_AT) === this.#knocker) this.#knocked = pair;
        if (!mayBeLost) assert.equal(pair, this.#ringOf(from), `the ring of the neighbour's queue pair ${from}`);
      }
    }
  }
}

/** The frame is the next one of some queue pair that had to arrive, or any that might. Expects it no more; returns which it is. */
function expectOne(lists: readonly Expected[][], got: Buffer, who: string): { from: number; mayBeLost: boolean } {
  for (const [pair, list] of lists.entries()) {
    const at = list.findIndex(({ frame }) => frame.equals(got));
    if (at < 0) continue;
    assert.ok(
      list[at]!.mayBeLost || list.slice(0, at).every(({ mayBeLost }) => mayBeLost),
      `${who}: frames of queue pair ${pair} keep their order, and none is left out`,
    );
    return { from: pair, mayBeLost: list.splice(at, 1)[0]!.mayBeLost };
  }
  assert.fail(`${who}: a frame that nobody has sent: ${got.length} bytes ${got.subarray(0, 24).toString('hex')}`);
}
