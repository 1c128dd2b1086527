/** A thread that reads and writes a disk of counts through the cache's blocks, beside others. Each block is one count, all over. */
import { parentPort, workerData } from 'node:worker_threads';
import { CacheBlocks, type CachePlace } from '../../src/filters/block/cache/blocks.js';
import { Random } from './seed.js';

interface Setup {
  readonly shared: SharedArrayBuffer;
  readonly place: CachePlace;
  /** Count of each block. */
  readonly disk: SharedArrayBuffer;
  readonly queue: number;
  readonly rounds: number;
  readonly seed: number;
}

const { shared, place, disk, queue, rounds, seed } = workerData as Setup;
const blocks = new CacheBlocks(shared, place, queue);
const counts = new Int32Array(disk);
const random = new Random(seed + queue);
const wrong: string[] = [];
let hits = 0;
const own = Buffer.alloc(4096);

const keep = (block: number, count: number, generation: number) => {
  const way = blocks.take(block);
  if (way < 0) return;
  for (let i = 0; i < 4096; i += 4) blocks.bytes.writeInt32LE(count, blocks.offset + i);
  blocks.store(way, block, generation);
};

for (let round = 0; round < rounds && wrong.length === 0; round++) {
  // More than the cache has room for, and some of them often.
  const block = random.below(random.chance(0.7) ? 16 : counts.length);
  if (random.chance(0.2)) {
    const generation = blocks.change(block);
    const count = Atomics.add(counts, block, 1) + 1;
    if (blocks.changeFrom(block, generation)) keep(block, count, (generation + 1) | 0);
    continue;
  }
  const before = Atomics.load(counts, block);
  const way = blocks.find(block);
  const opened = way < 0 ? -1 : blocks.open(way, block);
  if (opened >= 0) {
    blocks.bytes.copy(own, 0, blocks.offset, blocks.offset + 4096);
    if (blocks.isStill(way, opened)) {
      hits++;
      const count = own.readInt32LE(0);
      for (let i = 4; i < 4096; i += 4)
        if (own.readInt32LE(i) !== count) wrong.push(`block ${block} is torn: ${count}, ${own.readInt32LE(i)}`);
      // A write that has not ended may be seen or not: each thread has one at most.
      if (count < before - 3 || count > Atomics.load(counts, block))
        wrong.push(`block ${block} is ${count}, and was ${before}`);
      continue;
    }
  }
  const generation = blocks.generation(block);
  const count = Atomics.load(counts, block);
  if (blocks.generation(block) === generation) keep(block, count, generation);
}
parentPort!.postMessage({ hits, wrong: wrong.slice(0, 3) });
