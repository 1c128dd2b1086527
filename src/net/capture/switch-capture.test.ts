/** What the switch gives to captures of its ports. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Segments } from '../../guest-memory/segments.js';
import { NET_HEADER_BYTES } from '../features.js';
import { Frame } from '../frame.js';
import { BURST_FRAMES, FrameBurst } from '../frame-burst.js';
import { MacTable } from '../mac-table.js';
import { GsoType, NetHeaderFlag } from '../net-header.js';
import { buildPacket } from '../packets.test.js';
import { type Port, PortCounter } from '../port.js';
import { StagingMemory } from '../staging-memory.js';
import { Switch } from '../switch.js';
import { accessPort, type PortVlans, trunkPort } from '../vlan.js';
import { CaptureReader } from './capture-reader.js';
import { createCaptureRing, Direction } from './capture-ring.js';
import { FrameCapture } from './frame-capture.js';

const GSO_BYTES = 500;

/** A port whose frames are captured. It takes no offloads. */
class CapturedPort implements Port {
  readonly number: number;
  readonly counters = new Float64Array(Object.keys(PortCounter).length);
  readonly vlans: PortVlans;
  readonly offloads = 0;
  readonly mesh = false;
  readonly capture: FrameCapture;
  readonly reader: CaptureReader;
  delivered = 0;

  constructor(number: number, vlans = trunkPort()) {
    this.number = number;
    this.vlans = vlans;
    const ring = createCaptureRing(2 ** 16);
    this.capture = new FrameCapture(ring, 2 ** 18);
    this.reader = new CaptureReader(ring);
  }

  deliver(): void {
    this.delivered++;
  }

  deliverBurst(_burst: FrameBurst, from: number, to: number): void {
    this.delivered += to - from;
  }

  /** All that was captured since the last time. */
  get captured() {
    const all: { direction: number; bytes: Buffer }[] = [];
    for (let frame = this.reader.next(); frame !== undefined; frame = this.reader.next()) {
      const { bytes, at, keptBytes, direction } = frame;
      all.push({ direction, bytes: Buffer.from(bytes.subarray(at, at + keptBytes)) });
    }
    this.reader.release();
    return all;
  }
}

const VLAN = 7;

function create() {
  const network = new Switch(new MacTable({ secrets: [1, 2] }));
  const ports = [accessPort(VLAN), accessPort(VLAN), trunkPort()].map((vlans, i) => new CapturedPort(i, vlans));
  for (const port of ports) network.plug(port);
  return { network, ports };
}

function tagged(bytes: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, 12), Buffer.from([0x81, 0, 0, VLAN]), bytes.subarray(12)]);
}

describe('captures at a switch', () => {
  it('get large frames as they are, however these are cut up for their receivers, and with the tag they leave with', () => {
    const { network, ports } = create();
    const packet = buildPacket({
      tags: [],
      version: 4,
      tcp: true,
      optionWords: 0,
      extensions: [],
      tcpOptionWords: 0,
      flags: 0x18,
      sequence: 1,
      id: 1,
      salt: Uint8Array.from({ length: 64 }, (_, i) => 2 * i),
      payload: new Uint8Array(4 * GSO_BYTES).fill(9),
      lengthUnsaid: false,
    });
    const bytes = packet.frame;
    const segments = new Segments(1);
    segments.push(0, 0, bytes.length);
    const frame = new Frame();
    frame.set(
      { bytes: [bytes], words: [], longs: [], hostAddress: new Float64Array(1) },
      segments,
      1,
      0,
      bytes.length,
      bytes,
      0,
    );
    frame.header.flags = NetHeaderFlag.NEEDS_CSUM;
    frame.header.gsoType = GsoType.TCPV4;
    frame.header.gsoSize = GSO_BYTES;
    frame.header.hdrLen = packet.headerBytes;
    frame.header.csumStart = packet.l4;
    frame.header.csumOffset = packet.checksumOffset;
    network.forward(frame, ports[0]!);
    assert.deepEqual(
      ports.map(({ delivered }) => delivered),
      [0, 4, 4],
    );
    assert.deepEqual(
      ports.map(({ captured }) => captured),
      [
        [{ direction: Direction.OUTBOUND, bytes }],
        [{ direction: Direction.INBOUND, bytes }],
        [{ direction: Direction.INBOUND, bytes: tagged(bytes) }],
      ],
    );
  });

  it('get each frame of a burst once and in order, whichever way it goes', () => {
    const { network, ports } = create();
    const station = (number: number) => Buffer.from([2, 0, 0, 0, 0, number]);
    const frameTo = (to: number, from: number, byteLength: number) => {
      const body = Buffer.alloc(byteLength - 14, byteLength);
      return Buffer.concat([station(to), station(from), Buffer.from([0x88, 0xb5]), body]);
    };
    const STRIDE = 128;
    const memory = new StagingMemory(STRIDE * BURST_FRAMES + STRIDE);
    const burst = new FrameBurst(memory, 0);
    const sendBurst = (frames: readonly Buffer[], from: CapturedPort) => {
      for (const [i, bytes] of frames.entries()) {
        bytes.copy(memory.buffer, i * STRIDE + NET_HEADER_BYTES);
        burst.chains.offset[i] = i * STRIDE;
        burst.chains.length[i] = NET_HEADER_BYTES + bytes.length;
      }
      burst.read(frames.length);
      network.forwardBurst(burst, 0, frames.length, from);
    };
    const [a, b, trunk] = ports as [CapturedPort, CapturedPort, CapturedPort];
    const hello = frameTo(99, 2, 60);
    sendBurst([hello], b);
    assert.deepEqual(b.captured, [{ direction: Direction.OUTBOUND, bytes: hello }]);
    assert.deepEqual(a.captured, [{ direction: Direction.INBOUND, bytes: hello }]);
    assert.deepEqual(trunk.captured, [{ direction: Direction.INBOUND, bytes: tagged(hello) }]);
    // To where its address is known, to where it is not, and back and forth.
    const frames = [2, 2, 50, 2, 51, 51, 2].map((to, i) => frameTo(to, 1, 60 + i));
    sendBurst(frames, a);
    const inbound = frames.map((bytes) => ({ direction: Direction.INBOUND, bytes }));
    assert.deepEqual(
      a.captured,
      frames.map((bytes) => ({ direction: Direction.OUTBOUND, bytes })),
    );
    assert.deepEqual(b.captured, inbound);
    const flooded = [2, 4, 5].map((i) => ({ direction: Direction.INBOUND, bytes: tagged(frames[i]!) }));
    assert.deepEqual(trunk.captured, flooded);
  });
});
