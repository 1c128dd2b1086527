/** The rings of a replay's card: buffers all over guest memory, with frames in them. */
import assert from 'node:assert/strict';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import type { ReplayMemory } from './replay-memory.js';
import { type Element, lookUntil, PAGE_BYTES, type ReplayRing } from './replay-ring.js';

/** Room for one buffer, or for one frame that is sent, with its indirect table. */
const SLOT_BYTES = 2048;
/** Slots of a ring. */
const SLOTS = 32;
/** Frames that a ring may have on their way, each with so many descriptors. */
export const SENT_MAX = 16;
const SENT_CHAIN = 3;
/** In a slot of what is sent: a header apart from its frame, and one in front of it. */
const HEADER_AT = 64;
const FRAME_AT = 128;
/** How much of a slot that lies across the border of two regions is in front of it. */
const BEFORE_BORDER = 1000;
/** What buffers hold before anything was written to them. */
const STALE = 0xee;
/** Buffers of a driver that takes several for a frame, in turn; and those of one that does not. */
const MERGEABLE_BYTES = [600, 1536] as const;
const WHOLE_BYTES = 1600;
const NUM_BUFFERS_AT = 10;

/** Where a slot is: across a border of regions, one ring at each, or near the end of one region or another. */
function place(memory: ReplayMemory, ring: number, slot: number, stays: boolean): number {
  const { borders } = memory;
  const border = borders[ring];
  const regions = stays ? memory.regions.filter(({ removable }) => !removable) : memory.regions;
  const isWithin = regions.some(({ guestAddress }) => guestAddress === border);
  if (slot === 0 && border !== undefined && isWithin) return border - BEFORE_BORDER;
  const region = regions[(slot + ring) % regions.length]!;
  return region.guestAddress + region.size - PAGE_BYTES - (ring * SLOTS + slot + 1) * SLOT_BYTES;
}

function write(memory: ReplayMemory, address: number, bytes: Uint8Array): void {
  memory.eachPart(address, bytes.length, (view, at) => view.set(bytes.subarray(at, at + view.length)));
}

/** A ring by which frames are sent. */
export class SendRing {
  readonly ring: ReplayRing;
  readonly #memory: ReplayMemory;
  readonly #free = Array.from({ length: SENT_MAX }, (_, slot) => slot);

  constructor(ring: ReplayRing, memory: ReplayMemory) {
    this.ring = ring;
    this.#memory = memory;
  }

  /** Puts a frame into the ring: in one piece with its header, in two, or by an indirect table. */
  post(frame: Uint8Array): void {
    const slot = this.#free.pop();
    assert.ok(slot !== undefined, 'the ring has room');
    const at = place(this.#memory, this.ring.index, slot, false);
    const isWhole = slot % 3 === 0;
    const header = at + (isWhole ? FRAME_AT - NET_HEADER_BYTES : HEADER_AT);
    write(this.#memory, header, Buffer.alloc(NET_HEADER_BYTES));
    write(this.#memory, at + FRAME_AT, frame);
    const chain: Element[] = isWhole
      ? [{ address: header, length: NET_HEADER_BYTES + frame.length }]
      : [
          { address: header, length: NET_HEADER_BYTES },
          { address: at + FRAME_AT, length: frame.length },
        ];
    this.ring.add(slot * SENT_CHAIN, chain, this.ring.indirect && slot % 3 === 2 ? at : undefined);
  }

  /** Waits until all that was sent is given back, once each. */
  async reclaim(): Promise<void> {
    const { index } = this.ring;
    await lookUntil(
      () => {
        for (let head = this.ring.take(); head >= 0; head = this.ring.take()) {
          assert.equal(this.ring.driver.takenBytes, 0, `ring ${index}: nothing is written to what is sent`);
          this.#free.push(head / SENT_CHAIN);
        }
        return this.#free.length === SENT_MAX;
      },
      () => `ring ${index}: ${this.#free.length} of ${SENT_MAX} frames are given back`,
    );
    assert.equal(new Set(this.#free).size, SENT_MAX, `ring ${index}: each once`);
  }
}

/** A ring in which buffers are offered for what is received. */
export class ReceiveRing {
  readonly ring: ReplayRing;
  readonly #memory: ReplayMemory;
  readonly #mergeable: boolean;
  /** By head. */
  readonly #buffers: Element[] = [];

  constructor(ring: ReplayRing, memory: ReplayMemory, mergeable: boolean) {
    this.ring = ring;
    this.#memory = memory;
    this.#mergeable = mergeable;
  }

  get isFilled(): boolean {
    return this.#buffers.length > 0;
  }

  /** Offers all buffers. */
  fill(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#offer(slot);
    this.ring.publish();
  }

  /** The next frame that came, over however many buffers, which are offered again. */
  receive(): Buffer | undefined {
    const first = this.#take();
    if (first === undefined) return undefined;
    const count = first.readUInt16LE(NUM_BUFFERS_AT);
    assert.deepEqual(first.subarray(0, NUM_BUFFERS_AT), Buffer.alloc(NUM_BUFFERS_AT), 'a header that asks for nothing');
    assert.ok(count === 1 || (this.#mergeable && count > 1), `a frame in ${count} buffers`);
    const parts = [first.subarray(NET_HEADER_BYTES)];
    while (parts.length < count) {
      const next = this.#take();
      assert.ok(next !== undefined, `${count} buffers, of which ${parts.length} are there`);
      parts.push(next);
    }
    this.ring.publish();
    return Buffer.concat(parts);
  }

  #take(): Buffer | undefined {
    const head = this.ring.take();
    if (head < 0) return undefined;
    const { address, length } = this.#buffers[head]!;
    const written = this.ring.driver.takenBytes;
    assert.ok(written <= length, 'no more is written than a buffer holds');
    const bytes = Buffer.alloc(SLOT_BYTES);
    this.#memory.eachPart(address, SLOT_BYTES, (view, at) => view.copy(bytes, at));
    assert.ok(
      bytes.subarray(written).every((byte) => byte === STALE),
      'nothing is written behind a frame',
    );
    this.#offer(head);
    return bytes.subarray(0, written);
  }

  #offer(slot: number): void {
    const address = place(this.#memory, this.ring.index, slot, true);
    write(this.#memory, address, Buffer.alloc(SLOT_BYTES, STALE));
    const length = this.#mergeable ? MERGEABLE_BYTES[slot % 2]! : WHOLE_BYTES;
    const buffer = { address, length, writable: true };
    this.#buffers[slot] = buffer;
    this.ring.add(slot, [buffer]);
  }
}

/** The ring by which the card is told what its driver wants. VIRTIO 1.3, 5.1.6.5 */
export class ControlRing {
  readonly ring: ReplayRing;
  readonly #memory: ReplayMemory;

  constructor(ring: ReplayRing, memory: ReplayMemory) {
    this.ring = ring;
    this.#memory = memory;
  }

  /** Has the device do a command, and looks for its answer, which it returns. */
  async command(bytes: readonly number[]): Promise<number> {
    const at = place(this.#memory, this.ring.index, 1, true);
    const answer = at + FRAME_AT;
    write(this.#memory, at, Buffer.from(bytes));
    write(this.#memory, answer, Buffer.from([STALE]));
    // Class and command in one piece, and what they are about in another.
    const said = [
      { address: at, length: 2 },
      { address: at + 2, length: bytes.length - 2 },
    ].filter(({ length }) => length > 0);
    this.ring.add(0, [...said, { address: answer, length: 1, writable: true }]);
    this.ring.publish();
    await lookUntil(
      () => this.ring.take() === 0,
      () => `command ${bytes} is not answered`,
    );
    return this.#memory.view(answer, 1)[0]!;
  }
}
