/**
 * Random descriptor tables of hostile guests: nothing throws, nothing but what a device may write is written, nothing of
 * this process is read, and a queue that stops stops alone.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Element } from '../../test/conformance/virtqueue-layout.js';
import { SplitDriverSide, splitRingRoom } from '../../test/conformance/virtqueue-split.js';
import { BlockRig, header, MORE_RAM, RAM, RAM_END } from '../../test/support/block-rig.js';
import { CANARY } from '../../test/support/guest-memory.js';
import { type Random, seeded } from '../../test/support/seed.js';
import { faultCode } from '../virtio/queue-faults.js';
import { RequestType, Status } from './features.js';
import { RequestPool } from './request.js';

const SECTORS = 32;
const RING_SIZE = 16;
const TABLES = 20_000;
/** The other guest's own memory, which no hostile descriptor of ours names: its requests must go on as ever. */
const PEACE = RAM.guestAddress;
const HEADERS = RAM.guestAddress + 0x1000;
const INDIRECT = RAM.guestAddress + 0x3000;
const DATA = RAM.guestAddress + 0x5000;
const stolen = Buffer.alloc(16, CANARY);
const TYPES = [...Object.values(RequestType), 2, 5, 10, 15, 0xffff_ffff];

function randomAddress(random: Random): number | bigint {
  switch (random.below(12)) {
    case 0:
      return RAM_END - random.below(64);
    case 1:
      return MORE_RAM.guestAddress - random.below(600);
    case 2:
      return random.pick([0n, 2n ** 32n, 2n ** 52n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 512n]);
    case 3:
      return BigInt(random.word()) * BigInt(random.word());
    case 4:
      return DATA + 32_768 * random.below(5) - random.below(40);
    default:
      return DATA + random.below(RAM_END - DATA);
  }
}

function randomLength(random: Random): number {
  return random.pick([
    0,
    1,
    15,
    16,
    17,
    20,
    32,
    511,
    512,
    513,
    1024,
    4096,
    33_000,
    2 ** 32 - 1,
    random.below(3000),
    random.word(),
  ]);
}

/** A good header with, for the most part, a sector that exists. */
function layHeader(rig: BlockRig, random: Random): Element {
  const address = HEADERS + random.below(0x1000);
  const sector = random.chance(0.8) ? random.below(SECTORS) : BigInt(random.word()) << BigInt(random.below(33));
  rig.memory.write(address, header(random.pick(TYPES), sector));
  return { address, length: random.chance(0.9) ? 16 : random.below(40) };
}

/** Descriptors at random: requests that are nearly good, and noise. */
function randomChain(rig: BlockRig, random: Random): Element[] {
  const chain: Element[] = random.chance(0.85) ? [layHeader(rig, random)] : [];
  const noise = (writable: boolean) => ({ address: randomAddress(random), length: randomLength(random), writable });
  const data = (writable: boolean) => {
    const length = random.pick([16, 20, 32, 512, 1024, 2048]);
    return { address: DATA + random.below(RAM_END - DATA - length), length, writable };
  };
  const writable = random.chance(0.5);
  for (let count = random.below(4); count > 0; count--) {
    chain.push(random.chance(0.7) ? data(writable) : noise(random.chance(0.2) ? !writable : writable));
  }
  if (random.chance(0.9)) chain.push({ address: DATA + random.below(1000), length: 1, writable: true });
  return chain.length > 0 ? chain : [noise(true)];
}

interface Hostile {
  readonly driver: SplitDriverSide;
  /** What the device may write to. */
  readonly writable: Element[];
}

/** Fills a ring's descriptor table and avail ring, partly by the rules. False if what comes back cannot be foreseen. */
function fillRing(rig: BlockRig, { driver, writable }: Hostile, random: Random): boolean {
  let lawful = true;
  while (driver.free > 8 && random.chance(0.8)) {
    let chain = randomChain(rig, random);
    writable.push(...chain.filter((element) => element.writable));
    if (random.chance(0.3)) {
      const table = driver.table(chain);
      if (random.chance(0.2)) table.writeUInt16LE(random.word() & 0xffff, 16 * random.below(chain.length) + 14);
      // Each table has a place of its own in this round, so that what it says of what may be written stays true.
      const address = INDIRECT + 512 * (RING_SIZE - driver.free) + random.below(20);
      rig.memory.write(address, table);
      const length = random.chance(0.9) ? table.length : randomLength(random);
      chain = [{ address, length, indirect: true, dangling: random.chance(0.05) }];
      if (random.chance(0.2)) chain.unshift(layHeader(rig, random));
    }
    driver.add(chain);
  }
  if (random.chance(0.3)) {
    lawful = false;
    // A descriptor as no driver writes it: any flags, any next.
    const element = { address: randomAddress(random), length: randomLength(random) };
    writable.push(element);
    driver.put(
      random.below(RING_SIZE),
      element,
      random.word() & 0xffff,
      random.chance(0.7) ? random.below(20) : random.word() & 0xffff,
    );
  }
  if (random.chance(0.1)) {
    lawful = false;
    driver.offer(random.chance(0.5) ? random.below(RING_SIZE) : random.word() & 0xffff);
  }
  if (random.chance(0.03)) {
    lawful = false;
    driver.addedIndex = random.word() & 0xffff;
  }
  driver.publish();
  return lawful;
}

/** The stretches of `[start, end)` that no element covers. */
function untouchable(writable: readonly Element[], start: number, end: number): [number, number][] {
  const covered = writable
    .map(({ address, length }): [number, number] => [Number(address), Number(address) + length])
    .filter(([from, to]) => to > start && from < end)
    .sort((a, b) => a[0] - b[0]);
  const gaps: [number, number][] = [];
  let at = start;
  for (const [from, to] of covered) {
    if (from > at) gaps.push([at, from]);
    at = Math.max(at, to);
  }
  if (at < end) gaps.push([at, end]);
  return gaps;
}

/** Fails if the device has written to memory that no descriptor lets it write to. */
function checkGuest(rig: BlockRig, before: ReadonlyMap<number, Buffer>, writable: readonly Element[]): void {
  for (const [guestAddress, then] of before) {
    const now = rig.memory.bytesOf(guestAddress);
    for (const [from, to] of untouchable(writable, guestAddress, guestAddress + then.length)) {
      const [a, b] = [from - guestAddress, to - guestAddress];
      assert.equal(now.compare(then, a, b, a, b), 0, `${a} … ${b} of the region at ${guestAddress} was written`);
    }
  }
}

/** A request of the peaceful queue: a sector that it writes and reads back. */
function checkPeace(rig: BlockRig, value: number): void {
  for (const type of [RequestType.OUT, RequestType.IN]) {
    const writable = type === RequestType.IN;
    rig.memory.write(PEACE, header(type, SECTORS - 1));
    rig.memory.write(PEACE + 16, Buffer.alloc(513, writable ? 0xee : value));
    const used = rig.pass(
      [
        { address: PEACE, length: 16 },
        { address: PEACE + 16, length: 512, writable },
        { address: PEACE + 528, length: 1, writable: true },
      ],
      1,
    );
    assert.ok(used, 'a queue stopped that is not to blame');
    assert.equal(rig.memory.read(PEACE + 528, 1)[0], Status.OK);
    assert.ok(rig.memory.read(PEACE + 16, 512).every((byte) => byte === value));
  }
}

describe('hostile guests', () => {
  it(`reach nothing with ${TABLES} random descriptor tables`, () =>
    seeded(4, (random) => {
      const faults = new Map<number, number>();
      let answered = 0;
      const pool = new RequestPool(24);
      const make = () => new BlockRig({ sectors: SECTORS, ringSize: RING_SIZE, queues: 2, pool });
      let rig = make();
      // By every descriptor that the ring may still hold.
      let writable: Element[] = [];
      const before = new Map([RAM, MORE_RAM].map(({ guestAddress, size }) => [guestAddress, Buffer.alloc(size)]));
      for (let table = 0; table < TABLES; table++) {
        const { driver, state } = rig.queues[0]!;
        assert.ok(driver instanceof SplitDriverSide);
        const lawful = fillRing(rig, { driver, writable }, random);
        for (const [at, bytes] of before) rig.memory.bytesOf(at).copy(bytes);
        const parts = Buffer.from(driver.view.buffer, driver.view.byteOffset, driver.used);
        const driverParts = Buffer.from(parts);
        rig.turn();
        checkGuest(rig, before, writable);
        assert.equal(parts.compare(driverParts), 0, 'the descriptor table or the avail ring was written');
        rig.checkCanaries();
        assert.ok(!rig.disk.includes(stolen), 'the guest has read what is not its own');
        assert.equal(rig.free, 24, 'requests are not given back');
        if (driver.view.getUint16(driver.used + 2, true) !== driver.takenIndex) answered++;
        if (state.fault !== 0) faults.set(state.fault, (faults.get(state.fault) ?? 0) + 1);
        if (state.fault === 0 && lawful && random.chance(0.9)) {
          while (driver.take() !== undefined);
          continue;
        }
        checkPeace(rig, 1 + (table % 97));
        rig.release();
        rig = make();
        writable = [];
      }
      rig.release();
      const names = [...faults.keys()].map(faultCode);
      assert.ok(names.length >= 9, `only ${names}`);
      assert.ok(answered > TABLES / 10, `only ${answered} answered`);
    }));

  it('reach nothing with a ring that their own requests write to', () =>
    seeded(5, (random) => {
      const pool = new RequestPool(24);
      // The ring is where data are, too: reads put sectors, serial numbers and statuses into tables, indices and flags.
      const ringAt = DATA;
      const options = { sectors: SECTORS, ringSize: RING_SIZE, queues: 2, pool, ringAt };
      for (let round = 0; round < 1500; round++) {
        const rig = new BlockRig({ ...options, eventIdx: random.chance(0.5) });
        const { driver, queue, ring } = rig.queues[0]!;
        assert.ok(driver instanceof SplitDriverSide);
        for (let i = 0; i < rig.disk.length; i++) rig.disk[i] = random.chance(0.7) ? 0 : random.word();
        for (let turn = 0; turn < 12; turn++) {
          if (driver.free > 8) fillRing(rig, { driver, writable: [] }, random);
          for (let shots = random.below(3); driver.free > 3 && shots > 0; shots--) {
            const at = ringAt + random.below(splitRingRoom(RING_SIZE) / 4);
            const length = random.pick([1, 20, 512, 1024]);
            driver.add([
              layHeader(rig, random),
              { address: at, length, writable: true },
              { address: DATA, length: 1, writable: true },
            ]);
            driver.publish();
          }
          rig.turn();
          random.pick([() => ring.suppressKicks(), () => ring.requestKicks(), () => {}])();
          rig.checkCanaries();
          assert.ok(!rig.disk.includes(stolen), 'the guest has read what is not its own');
          assert.equal(queue.inFlight, 0);
          assert.equal(rig.free, 24, 'requests are not given back');
        }
        checkPeace(rig, 7);
        rig.release();
      }
    }));
});
