import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RETIRED_BYTES_MAX, RETIRED_MAPS_MAX } from '../limits.js';
import { createSealedMemory, mapAnonymous, mapFile, PAGE_BYTES, retire, unmap } from './memory-map.js';
import { viewBytes } from './memory-view.js';

/** Whether something is mapped at an address of this process. */
function isMapped(address: number): boolean {
  const ranges = readFileSync('/proc/self/maps', 'utf8').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm);
  return [...ranges].some(([, from, to]) => address >= parseInt(from!, 16) && address < parseInt(to!, 16));
}

const counted = readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').trim() === '2';

describe('memory that is given back and that somebody has a view of', { skip: counted }, () => {
  it('is zeroes there, which hold nothing of what others have', () => {
    const fd = createSealedMemory('retired', 2 * PAGE_BYTES);
    const map = mapFile(fd, 0, 2 * PAGE_BYTES);
    const view = viewBytes(map.address, map.length);
    view.fill(7);
    retire(map);
    assert.ok(view.every((byte) => byte === 0));
    // Another guest's, which would have come to lie there.
    const again = mapFile(fd, 0, 2 * PAGE_BYTES);
    view.fill(9);
    assert.ok(viewBytes(again.address, again.length).every((byte) => byte === 7));
    assert.ok(again.address >= map.address + map.length || again.address + again.length <= map.address);
    unmap(again);
    closeSync(fd);
  });

  it('takes up no address space for good', () => {
    const first = mapAnonymous(PAGE_BYTES);
    retire(first);
    for (let i = 1; i < RETIRED_MAPS_MAX; i++) retire(mapAnonymous(PAGE_BYTES));
    assert.ok(isMapped(first.address));
    const last = mapAnonymous(PAGE_BYTES);
    retire(last);
    assert.deepEqual([isMapped(first.address), isMapped(last.address)], [false, true]);
    // More bytes than may stay, in all or by themselves, go at once.
    const large = [0.6, 0.6, 1.1].map((share) => mapAnonymous(RETIRED_BYTES_MAX * share));
    for (const map of large) retire(map);
    assert.deepEqual(
      large.map(({ address }) => isMapped(address)),
      [false, true, false],
    );
    assert.equal(isMapped(last.address), false);
  });
});
