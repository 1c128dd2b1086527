import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { scratchDirectory } from '../../../../test/support/daemon.js';
import { definedFilter } from '../../../../test/support/frame-filters.js';
import { expectSame, makeFrame } from '../../../../test/support/frames.js';
import { NetRig } from '../../../../test/support/net-rig.js';
import type { FrameFilterSetup } from '../../../filter/frame-contract.js';
import { BlockType } from '../../../net/capture/pcapng.js';
import { mirror } from './filter.js';

/** The frames in a file, and types of all blocks. */
function read(path: string): { frames: Buffer[]; types: number[] } {
  const bytes = readFileSync(path);
  const frames: Buffer[] = [];
  const types: number[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
    types.push(bytes.readUInt32LE(at));
    if (types.at(-1) !== BlockType.ENHANCED_PACKET) continue;
    const kept = bytes.readUInt32LE(at + 20);
    assert.equal(bytes.readUInt32LE(at + 24), kept);
    frames.push(bytes.subarray(at + 28, at + 28 + kept));
  }
  return { frames, types };
}

describe('the mirror', () => {
  it('copies what passes to a file, both ways or one, until that is long enough', async (test) => {
    const base = scratchDirectory(test);
    for (const [direction, wanted] of [
      ['both', [1, 2, 3]],
      ['outbound', [1, 2]],
      ['inbound', [3]],
    ] as const) {
      const file = `${direction}.pcapng`;
      const mirrored = definedFilter(mirror, { file, direction, max_bytes: 2 ** 16 });
      const said: string[] = [];
      const setup = { vm: 'vm', device: 'nic', base, log: (text: string) => said.push(text) };
      const whole = { ...setup, options: mirrored.options, shared: mirrored.shared };
      const manager = mirror.manage!(whole as unknown as FrameFilterSetup<never>);
      const rig = new NetRig();
      const one = rig.guest({ filters: [mirrored.filter] });
      const other = rig.guest();
      const frames = [
        makeFrame(other.mac, one.mac, 100, 1),
        makeFrame(other.mac, one.mac, 3000, 2),
        makeFrame(one.mac, other.mac, 60, 3),
      ];
      one.send(frames[0]!);
      one.send(frames[1]!, { cuts: [50] });
      rig.run();
      other.send(frames[2]!);
      rig.run();
      manager.commands!['flush']!({});
      assert.equal((manager.status!() as { written: number }).written, wanted.length);
      for (let i = 0; i < 50; i++) {
        one.send(makeFrame(other.mac, one.mac, 2500, 100 + i));
        rig.run();
        one.reclaim();
      }
      await manager.close!();
      const path = join(base, file);
      const { frames: packets, types } = read(path);
      expectSame(
        packets.slice(0, wanted.length),
        wanted.map((number) => frames[number - 1]!),
      );
      const isFull = direction !== 'inbound';
      assert.equal(packets.length < 53, true);
      assert.equal(said.length, isFull ? 1 : 0);
      assert.deepEqual(
        [types[0], types[1], types.at(-1)],
        [BlockType.SECTION_HEADER, BlockType.INTERFACE_DESCRIPTION, BlockType.INTERFACE_STATISTICS],
      );
      rig.release();
    }
  });

  it('says what keeps it from writing', (test) => {
    const base = scratchDirectory(test);
    const { options, shared } = definedFilter(mirror, { file: 'no/such/folder' });
    const setup = { vm: 'vm', device: 'nic', base, log() {}, options, shared } as unknown as FrameFilterSetup<never>;
    assert.throws(() => mirror.manage!(setup), { code: 'IO_FAILED' });
  });
});
