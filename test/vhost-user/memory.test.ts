/** Guest memory: shared, replaced and taken away in every way that front ends do it. vhost-user, SET_MEM_TABLE, *_MEM_REG */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { close } from '../../src/host/libc.js';
import { createSealedMemory, PAGE_BYTES } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { MEMORY_REGIONS_MAX } from '../../src/limits.js';
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import { MemoryTable } from '../../src/vhost-user/memory-table.js';
import { CleanupSteps, scratchDirectory } from '../support/daemon.js';
import { addSeals, openHugeMemory, openMemory, pipe, Seal, shrink } from './descriptors.js';
import { TestDaemon } from './test-daemon.js';
import { DEPTH, FEATURES, LAYOUTS, TestGuest } from './test-guest.js';

/** Rings, headers and status bytes of the first queue: what has to stay in one region. */
const RING_BYTES = 2 * PAGE_BYTES;
/** So that every request crosses from one region to the next. */
const PIECE_BYTES = PAGE_BYTES / 2;
/** Where the front end says its data are: any place will do, for rings alone are given by user address. */
const ELSEWHERE = 2 ** 40;

/** The first `count` of the regions into which a guest's memory is cut, the rings' own first. */
function pieces({ ram }: TestGuest, count: number): RegionMessage[] {
  const ring = { guestAddress: 0n, size: BigInt(RING_BYTES), userAddress: BigInt(ram.userAddress), mmapOffset: 0n };
  const rest = Array.from({ length: count - 1 }, (_, index) => {
    const at = RING_BYTES + index * PIECE_BYTES;
    const userAddress = BigInt(ELSEWHERE - index * 2 * PIECE_BYTES);
    return { guestAddress: BigInt(at), size: BigInt(PIECE_BYTES), userAddress, mmapOffset: BigInt(at) };
  });
  return [ring, ...rest];
}

/** Regions that hold all that one queue uses. */
const PIECES_NEEDED = 1 + DEPTH * 2;

describe('vhost-user guest memory', { timeout: 120_000 }, () => {
  let served: TestDaemon;
  const cleanup = new CleanupSteps();
  before(async () => {
    const image = join(scratchDirectory(cleanup), 'image');
    const file = { backend: { type: 'file', path: image, size: '16MiB' }, queues: 2 };
    served = await TestDaemon.start(cleanup, {
      vm: { disks: { d: { queues: 2 }, file } },
      trusted: { unsealed_memory: 'allow', disks: { d: {} } },
    });
  });
  after(async () => {
    assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    await cleanup.run();
  });

  function track(test: TestContext, guest: TestGuest): TestGuest {
    test.after(() => guest.close());
    return guest;
  }

  const settings = ['d', 'file'].flatMap((disk) => Object.entries(LAYOUTS).map((layout) => [disk, ...layout] as const));
  for (const [disk, layout, feature] of settings) {
    const what = `${disk === 'd' ? 'memory' : disk}, ${layout}`;
    it(`the table is replaced under live rings and nothing is lost (${what})`, async (test) => {
      const features = FEATURES | feature;
      const guest = track(test, await TestGuest.start(served.socket('vm', disk), { queues: 2, features }));
      const half = BigInt(guest.ram.byteLength / 2);
      const whole = guest.region;
      const low = { ...whole, size: half };
      const high = { guestAddress: half, size: half, userAddress: whole.userAddress + half, mmapOffset: half };
      const tables = [[whole], [low, high], [high, low], [whole], [whole]];
      for (let round = 0; round < 60; round++) {
        const table = tables[round % tables.length]!;
        for (const queue of guest.queues) queue.submitWrites();
        await guest.front.shareMemory(
          table,
          table.map(() => guest.ram.fd),
        );
        for (const queue of guest.queues) await queue.complete();
        for (const queue of guest.queues) await queue.readBack();
        await guest.front.settle();
        if (round % 10 === 0) assert.equal((await served.disk('vm', disk)).memory_regions, table.length);
      }
      for (const queue of guest.queues)
        assert.equal(await guest.stopQueue(queue), queue.position, 'each request was answered once');
    });
  }

  it(`regions come one by one, up to ${MEMORY_REGIONS_MAX}, and go again`, async (test) => {
    const guest = track(test, new TestGuest());
    const { front, queue } = await connected(guest);
    const all = pieces(guest, MEMORY_REGIONS_MAX + 1);
    const add = (region: RegionMessage) =>
      front.acknowledged('ADD_MEM_REG', encode.memoryRegion(region), [guest.ram.fd]);
    const remove = (region: RegionMessage) => front.acknowledged('REM_MEM_REG', encode.memoryRegion(region));
    for (const region of all.slice(0, PIECES_NEEDED)) assert.ok(await add(region));
    await guest.startQueue(queue);
    await queue.writeAndRead();
    for (const region of all.slice(PIECES_NEEDED, MEMORY_REGIONS_MAX)) {
      queue.submitWrites();
      assert.ok(await add(region));
      await queue.complete();
    }
    await queue.readBack();
    assert.ok(!(await add(all[MEMORY_REGIONS_MAX]!)), 'there are no more slots');
    assert.equal((await served.disk('vm')).memory_regions, MEMORY_REGIONS_MAX);
    assert.equal(served.held['mapped memory'], MEMORY_REGIONS_MAX);
    for (const region of all.slice(PIECES_NEEDED, MEMORY_REGIONS_MAX)) {
      queue.submitWrites();
      // Its offset does not matter.
      assert.ok(await remove({ ...region, mmapOffset: 0n }));
      await queue.complete();
    }
    await queue.readBack();
    assert.equal(served.held['mapped memory'], PIECES_NEEDED);
  });

  async function connected(guest: TestGuest) {
    await guest.connect(served.socket('vm'));
    await guest.negotiate();
    return { front: guest.front, queue: guest.queue };
  }

  it('a table has up to 32 regions', async (test) => {
    const guest = track(test, new TestGuest());
    const { front, queue } = await connected(guest);
    const table = pieces(guest, 32);
    assert.ok(
      await front.acknowledged(
        'SET_MEM_TABLE',
        encode.memoryTable(table),
        table.map(() => guest.ram.fd),
      ),
    );
    await guest.startQueue(queue);
    await queue.writeAndRead();
  });

  it('a region is taken away and given back in another size, rings and all, and the ring goes on', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    const { front, queue, ram } = guest;
    const [ring, ...rest] = pieces(guest, 2 + PIECES_NEEDED) as [RegionMessage, ...RegionMessage[]];
    await front.shareMemory([ring, ...rest], Array(1 + rest.length).fill(ram.fd));
    await queue.writeAndRead();
    for (let round = 0; round < 10; round++) {
      assert.ok(await front.acknowledged('REM_MEM_REG', encode.memoryRegion(ring)));
      queue.submitWrites();
      assert.ok(await front.acknowledged('ADD_MEM_REG', encode.memoryRegion(ring), [ram.fd]));
      await queue.complete();
      await queue.readBack();
    }
    const { queues, faults } = await served.disk('vm');
    assert.equal(queues[0]?.fault, null);
    assert.equal(faults.VRING_ADDRESS_INVALID, undefined, 'a ring may wait for its memory');
  });

  it('a region that is added twice goes when it was removed twice, as QEMU does for each queue pair of a card', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    const { front, queue, ram } = guest;
    const region = encode.memoryRegion(guest.region);
    assert.ok(await front.acknowledged('ADD_MEM_REG', region, [ram.fd]));
    await queue.writeAndRead();
    assert.ok(await front.acknowledged('REM_MEM_REG', region));
    await queue.writeAndRead();
    assert.ok(await front.acknowledged('REM_MEM_REG', region));
    assert.equal((await served.disk('vm')).memory_regions, 0);
    assert.ok(!(await front.acknowledged('REM_MEM_REG', region)));
    // The same addresses in another file are no repetition.
    assert.ok(await front.acknowledged('ADD_MEM_REG', region, [ram.fd]));
    const other = openMemory(Number(guest.region.size), true);
    test.after(() => close(other));
    assert.ok(!(await front.acknowledged('ADD_MEM_REG', region, [other])));
  });

  it('a table without the rings is a fault; with them they go on', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    const { front, queue, ram } = guest;
    await queue.writeAndRead();
    await front.shareMemory(pieces(guest, 3).slice(1), [ram.fd, ram.fd]);
    await served.untilDisk('vm', (disk) => disk.queues[0]?.fault === 'VRING_ADDRESS_INVALID', 'the fault is shown');
    queue.submitWrites();
    await guest.shareMemory();
    await queue.complete();
    await queue.readBack();
  });

  it('what is no memory of a guest is refused, and the table stays as it was', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    const { front, queue, ram, region } = guest;
    const [pipeEnd, otherEnd] = pipe();
    const short = openMemory(PAGE_BYTES, true);
    const readOnly = openMemory(PAGE_BYTES, true);
    addSeals(readOnly, Seal.WRITE);
    const unsealable = openMemory(PAGE_BYTES, false);
    const huge = openHugeMemory(2 ** 21);
    if (huge >= 0) addSeals(huge, Seal.SHRINK);
    test.after(() => [pipeEnd, otherEnd, short, readOnly, unsealable, huge].forEach(close));
    const free = { guestAddress: 2n ** 32n, size: BigInt(PAGE_BYTES), userAddress: 2n ** 40n, mmapOffset: 0n };
    type Wrong = [string, RegionMessage, number];
    const wrong: Wrong[] = [
      ['overlaps another', { ...region, userAddress: free.userAddress }, ram.fd],
      ['is empty', { ...free, size: 0n }, ram.fd],
      ['ends beyond every address', { ...free, guestAddress: 2n ** 64n - 4096n, size: 8192n }, ram.fd],
      ['has a user address beyond every address', { ...free, userAddress: 2n ** 64n - 1n }, ram.fd],
      ['could not be read word by word', { ...free, mmapOffset: 8n }, short],
      ['has an offset beyond every address', { ...free, mmapOffset: 2n ** 63n }, ram.fd],
      ['is larger than any memory', { ...free, size: 2n ** 51n }, ram.fd],
      ['is longer than its file', { ...free, size: 4097n }, short],
      ['starts behind the end of its file', { ...free, mmapOffset: 4096n }, short],
      ['is a pipe', free, pipeEnd],
      ['cannot be written', free, readOnly],
      ['cannot be sealed', free, unsealable],
      ...(huge < 0 ? [] : [['is in huge pages', { ...free, size: 2n ** 21n }, huge] as Wrong]),
    ];
    for (const [what, bad, fd] of wrong) {
      assert.ok(!(await front.acknowledged('ADD_MEM_REG', encode.memoryRegion(bad), [fd])), `a region that ${what}`);
      const table = encode.memoryTable([region, bad]);
      assert.ok(
        !(await front.acknowledged('SET_MEM_TABLE', table, [ram.fd, fd])),
        `a table with a region that ${what}`,
      );
      await queue.writeAndRead();
    }
    assert.ok(
      !(await front.acknowledged('SET_MEM_TABLE', encode.memoryTable([region]), [ram.fd, ram.fd])),
      'too many descriptors',
    );
    assert.ok(!(await front.acknowledged('REM_MEM_REG', encode.memoryRegion(free))), 'a region that is not there');
    assert.ok(!(await front.acknowledged('ADD_MEM_REG', encode.memoryRegion(free))), 'a region without descriptor');
    assert.equal((await served.disk('vm')).memory_regions, 1);
    await queue.writeAndRead();
  });

  it('a descriptor that comes with REM_MEM_REG is closed', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    await guest.queue.writeAndRead();
    const before = await served.heldAtRest();
    const more = { guestAddress: 2n ** 32n, size: BigInt(PAGE_BYTES), userAddress: 2n ** 40n, mmapOffset: 0n };
    for (let round = 0; round < 5; round++) {
      assert.ok(await guest.front.acknowledged('ADD_MEM_REG', encode.memoryRegion(more), [guest.ram.fd]));
      assert.ok(await guest.front.acknowledged('REM_MEM_REG', encode.memoryRegion(more), [guest.ram.fd]));
    }
    await served.expectHeld(before, 'descriptors and mappings');
    await guest.queue.writeAndRead();
  });

  it('memory cannot be cut short once it is shared', async (test) => {
    const guest = track(test, await TestGuest.start(served.socket('vm')));
    const fd = openMemory(2 * PAGE_BYTES, true);
    test.after(() => close(fd));
    assert.ok(shrink(fd, PAGE_BYTES) && shrink(fd, 2 * PAGE_BYTES), 'before');
    const more = { guestAddress: 2n ** 32n, size: BigInt(2 * PAGE_BYTES), userAddress: 2n ** 40n, mmapOffset: 0n };
    assert.ok(await guest.front.acknowledged('ADD_MEM_REG', encode.memoryRegion(more), [fd]));
    assert.ok(!shrink(fd, PAGE_BYTES), 'after');
  });

  it('memory that cannot be sealed is taken only from a VM that is trusted', async (test) => {
    const fd = openMemory(PAGE_BYTES, false);
    test.after(() => close(fd));
    const region = { guestAddress: 0n, size: BigInt(PAGE_BYTES), userAddress: 0n, mmapOffset: 0n };
    for (const vm of ['vm', 'trusted'] as const) {
      const guest = track(test, new TestGuest());
      await guest.connect(served.socket(vm));
      await guest.negotiate();
      const taken = await guest.front.acknowledged('SET_MEM_TABLE', encode.memoryTable([region]), [fd]);
      assert.equal(taken, vm === 'trusted');
    }
    assert.match(
      (await served.disk('vm')).last_fault?.text ?? '',
      /unsealed_memory/,
      'and its operator is told what to do',
    );
  });
});

it('a view of memory that a front end has taken away, or replaced, sees zeroes', async () => {
  const table = new MemoryTable(false);
  const fd = createSealedMemory('taken', 3 * PAGE_BYTES);
  const region = (page: number): RegionMessage => {
    const at = BigInt(page * PAGE_BYTES);
    return { guestAddress: at, size: BigInt(PAGE_BYTES), userAddress: at, mmapOffset: at };
  };
  const viewOf = (page: number) => viewBytes(table.regions[page]!.hostAddress, PAGE_BYTES);
  await table.set([region(0)], [fd]);
  const replaced = viewOf(0).fill(1);
  await table.set([region(0), region(1)], [fd, fd]);
  const removed = viewOf(1).fill(2);
  const cleared = viewOf(0);
  assert.deepEqual([replaced[9], cleared[9], removed[9]], [0, 1, 2]);
  table.remove(region(1));
  assert.deepEqual([cleared[9], removed[9]], [1, 0]);
  table.clear();
  assert.equal(cleared[9], 0);
  close(fd);
});
