/** Everything that every port of a switch must do, whatever it leads to. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Frame } from '../../src/net/frame.js';
import { FrameBurst } from '../../src/net/frame-burst.js';
import { type Port, PortCounter } from '../../src/net/port.js';
import { StagingMemory } from '../../src/net/staging-memory.js';
import { macOf, makeFrame } from '../support/frames.js';

export interface PortUnderTest {
  readonly port: Port;
  /** What has reached whoever is behind the port since the last call, byte by byte; missing where nobody can see it. */
  received?(): Buffer[];
}

export interface PortCase {
  readonly name: string;
  /** Made anew for each test, with room for a hundred frames of the usual lengths. */
  create(): PortUnderTest;
}

const LENGTHS = [14, 15, 16, 17, 60, 61, 64, 65, 255, 256, 257, 1513, 1514];
/** What stands before a frame in a burst. */
const HEADER_BYTES = 12;

export function portConformance({ name, create }: PortCase): void {
  const make = (length: number, seed: number) => makeFrame(macOf(1), macOf(2), length, seed);
  const deliver = (port: Port, bytes: Buffer, memory = new StagingMemory()) => {
    bytes.copy(memory.buffer);
    const frame = new Frame();
    memory.describe(0, bytes.length, frame);
    port.deliver(frame);
    // Its sender uses the memory again at once.
    memory.buffer.fill(0xdd, 0, bytes.length);
  };
  const burstOf = (frames: readonly Buffer[]) => {
    const memory = new StagingMemory(frames.length * 2048 + 64);
    const burst = new FrameBurst(memory, 0);
    frames.forEach((bytes, i) => {
      bytes.copy(memory.buffer, i * 2048 + HEADER_BYTES);
      burst.chains.offset[i] = i * 2048;
      burst.chains.length[i] = bytes.length + HEADER_BYTES;
    });
    burst.read(frames.length);
    return { burst, memory };
  };
  const dropped = ({ counters }: Port) =>
    counters[PortCounter.DROPPED_NO_BUFFER]! + counters[PortCounter.DROPPED_NOT_READY]!;

  describe(`port: ${name}`, () => {
    it('passes on frames of every length, as they were, and counts them', () => {
      const { port, received } = create();
      const sent = LENGTHS.map((length, i) => make(length, i));
      for (const bytes of sent) deliver(port, bytes);
      assert.equal(port.counters[PortCounter.FRAMES_OUT], sent.length);
      assert.equal(
        port.counters[PortCounter.BYTES_OUT],
        sent.reduce((sum, { length }) => sum + length, 0),
      );
      if (received !== undefined) assert.deepEqual(received(), sent);
    });

    it('passes on frames of a burst, any part of it, in their order', () => {
      const { port, received } = create();
      const sent = LENGTHS.filter((length) => length >= 16).map((length, i) => make(length, i));
      const { burst, memory } = burstOf(sent);
      port.deliverBurst(burst, 2, 5);
      port.deliverBurst(burst, 5, sent.length);
      memory.buffer.fill(0xdd);
      const part = sent.slice(2);
      assert.equal(port.counters[PortCounter.FRAMES_OUT], part.length);
      assert.equal(
        port.counters[PortCounter.BYTES_OUT],
        part.reduce((sum, { length }) => sum + length, 0),
      );
      if (received !== undefined) assert.deepEqual(received(), part);
    });

    it('passes a frame on or counts it as dropped, and never both, however many there are', () => {
      const { port, received } = create();
      const frames = Array.from({ length: 32 }, (_, i) => make(64, i));
      let asked = 0;
      for (let round = 0; round < 40; round++) {
        port.deliverBurst(burstOf(frames).burst, 0, frames.length);
        deliver(port, make(100, round));
        asked += frames.length + 1;
        assert.equal(port.counters[PortCounter.FRAMES_OUT]! + dropped(port), asked);
      }
      if (received !== undefined) assert.equal(received().length, port.counters[PortCounter.FRAMES_OUT]);
    });
  });
}
