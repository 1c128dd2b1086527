import { resolve } from 'node:path';
import { SidecoreError } from '../../../errors.js';
import {
  type BlockFilterCheck,
  type BlockFilterManager,
  type BlockFilterSetup,
  defineBlockFilter,
} from '../../../filter/contract.js';
import { FILTER_BLOCK_BYTES, NUMBERED_DISK_BYTES_MAX } from '../../limits.js';
import { bytesOption } from '../parts/sizes.js';
import { checkStateFile, openStateFile } from '../parts/state-file.js';
import { type VerifyOptions, VerifyQueue } from './queue.js';
import { blocksOf, Figure, type SumPlace, VERIFY_SHARED_BYTES, VerifyState, Word } from './state.js';

interface SetupOptions extends VerifyOptions {
  readonly sums: string;
}

/** Blocks that `status` counts: of more, it would keep the main thread for too long. */
const COUNTED_BLOCKS_MAX = 2 ** 24;

const MAGIC = 'sidecore verify';

function checkVerify({ options, base, below }: BlockFilterCheck<SetupOptions>): void {
  if (below !== undefined && below.sizeBytes > NUMBERED_DISK_BYTES_MAX)
    throw new SidecoreError('CONFIG_INVALID', 'verify: the disk is larger than 16 TiB');
  checkStateFile(resolve(base, options.sums), { magic: MAGIC });
}

function manageVerify(setup: BlockFilterSetup<SetupOptions>): BlockFilterManager<SumPlace> {
  const { vm, device, options, base, below, image, shared, hold } = setup;
  const { sizeBytes } = below;
  const shape = { magic: MAGIC, identity: `${vm}/${device} ${sizeBytes}`, bytes: 4 * blocksOf(sizeBytes) };
  const path = resolve(base, options.sums);
  const stateAt = (address: number) => new VerifyState(shared, { address, sizeBytes });
  const file = openStateFile(path, shape, shared, (address, found) => {
    // What data and what checksums have come to the storage before the host went down, nobody knows.
    if (found === 'host-down') stateAt(address).forget();
  });
  const state = stateAt(file.address);
  const { words, figures } = state;
  const status = () => ({
    when_opened: file.found,
    known_blocks: state.blocks > COUNTED_BLOCKS_MAX ? null : state.countKnown(),
    blocks: state.blocks,
    damaged: words[Word.DAMAGED]!,
    sectors: state.damage,
    scrub: {
      running: Atomics.load(words, Word.SCRUBBING) === 1,
      bytes: Math.min(sizeBytes, figures[Figure.AT]! * FILTER_BLOCK_BYTES),
      damaged_pieces: figures[Figure.FOUND]!,
      ended: figures[Figure.ENDED]! === 0 ? null : new Date(figures[Figure.ENDED]!).toISOString(),
    },
  });
  return {
    prepared: { address: file.address, sizeBytes },
    status,
    commands: {
      status,
      scrub() {
        figures[Figure.RATE] = options.scrub_rate;
        figures[Figure.AT] = 0;
        figures[Figure.FOUND] = 0;
        Atomics.add(words, Word.ASKED, 1);
        Atomics.store(words, Word.SCRUBBING, 1);
        return status();
      },
      stop() {
        Atomics.store(words, Word.SCRUBBING, 0);
        return status();
      },
      async forget() {
        await hold(() => state.forget());
        return status();
      },
    },
    close() {
      image?.sync();
      file.close();
    },
  };
}

/** A checksum for each block: what is read is what was written, or an error. */
export const verify = defineBlockFilter({
  name: 'verify',
  defers: true,
  options: (z) =>
    z.strictObject({
      sums: z.string().min(1),
      on_mismatch: z.enum(['fail', 'report']).default('fail'),
      scrub_rate: bytesOption(z).default(64 * 2 ** 20),
    }),
  counters: ['checked_blocks', 'learned_blocks', 'mismatches', 'unchecked_reads', 'unreadable_pieces'],
  sharedBytes: VERIFY_SHARED_BYTES,
  check: checkVerify,
  manage: manageVerify,
  offers: () => ({ secureErase: false }),
  create: (context) => new VerifyQueue(context),
});
