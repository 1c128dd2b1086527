/** A guest whose front end can be led through any order of messages, with a driver that checks every byte it moves. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { BlockDriverQueue, GuestRam, RequestType, SECTOR_BYTES, Status } from '../../src/guest/index.js';
import { createEventFd } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { ALL_PROTOCOL_FEATURES, RawFrontEnd } from './raw-front-end.js';

/** Requests in flight on a queue. */
export const DEPTH = 8;
export const REQUEST_BYTES = 4096;
const REQUEST_SECTORS = REQUEST_BYTES / SECTOR_BYTES;
/** Blocks of the disk that one queue uses. */
const BLOCKS = 64;
const COMPLETION_TIMEOUT_MS = 20_000;

/** The layouts of rings, by the feature that asks for them. */
export const LAYOUTS = { split: 0n, packed: RING_FEATURES.RING_PACKED } as const;

/** VIRTIO 1.3 and what a guest cannot do without, and the word that protocol features are known. */
export const FEATURES = RING_FEATURES.VERSION_1 | RING_FEATURES.EVENT_IDX | RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES;

export interface TestGuestOptions {
  readonly queues?: number;
  /** Acknowledged. */
  readonly features?: bigint;
}

/** One queue and its place on the disk. */
export class TestQueue {
  readonly index: number;
  readonly driver: BlockDriverQueue;
  readonly errFd = createEventFd();
  readonly #ram: GuestRam;
  #generation = 1;
  #submitted = 0;

  constructor(index: number, ram: GuestRam, eventIdx: boolean, packed: boolean) {
    this.index = index;
    this.#ram = ram;
    this.driver = new BlockDriverQueue(ram, {
      depth: DEPTH,
      requestBytes: REQUEST_BYTES,
      indirect: false,
      eventIdx,
      packed,
    });
  }

  /** Chains made available so far. */
  get submitted(): number {
    return this.#submitted;
  }

  /** Where the ring stands, as vhost-user says it, when all chains so far have been given back. */
  get position(): number {
    return this.#baseAfter(this.#submitted);
  }

  /** How many of the last `DEPTH` chains the device has taken and given back if it stands there. */
  doneAt(base: number): number {
    for (let done = 0; done <= DEPTH; done++) if (this.#baseAfter(this.#submitted - DEPTH + done) === base) return done;
    assert.fail(`the ring stands at ${base}, at none of the last ${DEPTH} chains`);
  }

  /** vhost-user, "Vring state": an index of 16 bits, or twice 15 bits and a wrap counter. A request has three descriptors. */
  #baseAfter(chains: number): number {
    const { ring } = this.driver;
    if (!ring.packed) return chains & 0xffff;
    const turns = (3 * chains) % (2 * ring.size);
    const half = turns < ring.size ? turns | 0x8000 : turns - ring.size;
    return half * 0x1_0001;
  }

  /** What the ring says of where it stands, as a front end reads it that has lost its connection. */
  get base(): number {
    return this.driver.ring.base;
  }

  /** Puts `count` writes of fresh data into the ring, and shows them with a kick if the back end wants one. */
  submitWrites(count = DEPTH, publish = true): void {
    this.#generation++;
    for (let slot = 0; slot < count; slot++) {
      this.#words(slot).fill(this.#pattern(slot));
      this.driver.submit(slot, RequestType.OUT, this.#sector(slot), REQUEST_BYTES);
    }
    this.#submitted += count;
    if (publish) this.driver.publish();
  }

  /** Reads back what `submitWrites` wrote, and checks it. */
  async readBack(count = DEPTH): Promise<void> {
    for (let slot = 0; slot < count; slot++) {
      this.#words(slot).fill(0);
      this.driver.submit(slot, RequestType.IN, this.#sector(slot), REQUEST_BYTES);
    }
    this.#submitted += count;
    this.driver.publish();
    await this.complete(count);
    for (let slot = 0; slot < count; slot++) {
      const expected = this.#pattern(slot);
      assert.ok(
        this.#words(slot).every((word) => word === expected),
        `queue ${this.index}: block ${slot} reads as written`,
      );
    }
  }

  /** Waits for so many completions; all must have succeeded. */
  async complete(count = DEPTH): Promise<void> {
    const deadline = Date.now() + COMPLETION_TIMEOUT_MS;
    for (let done = 0; done < count; ) {
      const slot = this.driver.take();
      if (slot >= 0) {
        done++;
        assert.equal(this.driver.status(slot), Status.OK, `queue ${this.index}: status of slot ${slot}`);
      } else {
        if (Date.now() > deadline) assert.fail(`queue ${this.index}: ${done} of ${count} requests came back`);
        await turn();
      }
    }
  }

  /** A round of checked I/O. */
  async writeAndRead(rounds = 1): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      this.submitWrites();
      await this.complete();
      await this.readBack();
    }
  }

  close(): void {
    this.driver.close();
    close(this.errFd);
  }

  #pattern(slot: number): number {
    return ((this.#generation << 8) | (this.index << 4) | slot) >>> 0;
  }

  #sector(slot: number): number {
    return (this.index * BLOCKS + ((slot + this.#generation) % BLOCKS)) * REQUEST_SECTORS;
  }

  #words(slot: number): Uint32Array {
    return this.#ram.words32(this.driver.dataAddress(slot), REQUEST_BYTES);
  }
}

export class TestGuest {
  readonly ram: GuestRam;
  readonly queues: readonly TestQueue[];
  front!: RawFrontEnd;

  readonly #features: bigint;

  constructor({ queues = 1, features = FEATURES }: TestGuestOptions = {}) {
    this.ram = new GuestRam(2 ** 20 * queues);
    this.#features = features;
    this.queues = Array.from({ length: queues }, (_, index) => this.newQueue(index));
  }

  /** Another, empty ring for a queue, in fresh memory. */
  newQueue(index: number): TestQueue {
    const has = (feature: bigint) => (this.#features & feature) !== 0n;
    return new TestQueue(index, this.ram, has(RING_FEATURES.EVENT_IDX), has(RING_FEATURES.RING_PACKED));
  }

  /** Connects and brings everything up, unless a test wants to do that itself. */
  static async start(socket: string, options: TestGuestOptions = {}): Promise<TestGuest> {
    const guest = new TestGuest(options);
    await guest.connect(socket);
    await guest.negotiate();
    await guest.shareMemory();
    for (const queue of guest.queues) await guest.startQueue(queue);
    return guest;
  }

  get queue(): TestQueue {
    return this.queues[0]!;
  }

  async connect(socket: string): Promise<void> {
    this.front = await RawFrontEnd.connect(socket);
  }

  async negotiate(): Promise<void> {
    await this.front.negotiate(this.#features, ALL_PROTOCOL_FEATURES);
  }

  /** All memory, from guest physical address 0. */
  get region(): RegionMessage {
    const { ram } = this;
    return { guestAddress: 0n, size: BigInt(ram.byteLength), userAddress: BigInt(ram.userAddress), mmapOffset: 0n };
  }

  shareMemory(): Promise<void> {
    return this.front.shareMemory([this.region], [this.ram.fd]);
  }

  /** Everything about a ring but its kick descriptor and whether it is enabled. */
  async setUpQueue(queue: TestQueue, base = queue.base): Promise<void> {
    const { index, driver } = queue;
    await this.front.tell('SET_VRING_NUM', encode.vringState({ index, num: driver.ring.size }));
    await this.front.tell('SET_VRING_BASE', encode.vringState({ index, num: base }));
    await this.setAddress(queue);
    await this.front.tell('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [driver.callFd]);
    await this.front.tell('SET_VRING_ERR', encode.vringFd({ index, noFd: false }), [queue.errFd]);
  }

  setAddress({ index, driver }: TestQueue): Promise<void> {
    const user = this.ram.userAddress;
    const address = {
      index,
      flags: 0,
      descriptors: BigInt(user + driver.ring.descriptors),
      available: BigInt(user + driver.ring.available),
      used: BigInt(user + driver.ring.used),
      log: 0n,
    };
    return this.front.tell('SET_VRING_ADDR', encode.vringAddress(address));
  }

  arm({ index, driver }: TestQueue): Promise<void> {
    return this.front.tell('SET_VRING_KICK', encode.vringFd({ index, noFd: false }), [driver.kickFd]);
  }

  enable({ index }: TestQueue, enabled = true): Promise<void> {
    return this.front.tell('SET_VRING_ENABLE', encode.vringState({ index, num: enabled ? 1 : 0 }));
  }

  async startQueue(queue: TestQueue, base = queue.base): Promise<void> {
    await this.setUpQueue(queue, base);
    await this.arm(queue);
    await this.enable(queue);
  }

  /** GET_VRING_BASE. */
  async stopQueue({ index }: TestQueue): Promise<number> {
    const reply = await this.front.ask('GET_VRING_BASE', encode.vringState({ index, num: 0 }));
    assert.equal(reply.length, 8);
    assert.equal(reply.readUInt32LE(0), index);
    return reply.readUInt32LE(4);
  }

  /** Leaves. The guest can connect again. */
  disconnect(): void {
    this.front.close();
  }

  close(): void {
    this.front?.close();
    for (const queue of this.queues) queue.close();
    this.ram.close();
  }
}
