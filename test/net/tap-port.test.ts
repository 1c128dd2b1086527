/** The TAP port against the kernel: a packet socket at the host's end of the device sees what guests sent, and sends to them. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Segments } from '../../src/guest-memory/segments.js';
import { IoUring } from '../../src/host/io-uring.js';
import { TAP_WRITES_MAX } from '../../src/limits.js';
import { completeChecksum } from '../../src/net/checksum.js';
import { NET_HEADER_BYTES } from '../../src/net/features.js';
import { Frame } from '../../src/net/frame.js';
import { BURST_FRAMES } from '../../src/net/frame-burst.js';
import { GsoType, NetHeaderFlag, NetHeaderOffset } from '../../src/net/net-header.js';
import { accessPort, trunkPort } from '../../src/net/vlan.js';
import { enterNetworkNamespace, ip } from '../support/network-namespace.js';
import { PacketSocket } from '../support/packet-socket.js';
import { GUEST_MAC, HOST_MAC, silenceHost, type TapEngineKind, TapRig, testFrame } from './tap-rig.js';

const skip = enterNetworkNamespace();
if (skip === false) silenceHost();

const refused = (() => {
  const ring = IoUring.create(1);
  ring?.close();
  return ring === undefined;
})();

let rig: TapRig;
let host: PacketSocket;
let opened = false;

function open(engine: TapEngineKind, options: ConstructorParameters<typeof TapRig>[2] = {}): void {
  rig = new TapRig(engine, 'tap0', options);
  host = new PacketSocket('tap0');
  opened = true;
}

afterEach(() => {
  if (!opened) return;
  opened = false;
  rig.close();
  host.close();
});

/** What the host has got, in order. */
function received(count: number): Buffer[] {
  const frames: Buffer[] = [];
  rig.until(`that the host has got ${count} frames`, () => {
    for (let next = host.receive(); next !== undefined; next = host.receive()) frames.push(next.frame);
    return frames.length >= count;
  });
  return frames;
}

/** Bytes of each length that matters: short, either side of what is copied, of a page, of an ordinary frame, and the longest. */
const LENGTHS = [18, 19, 60, 64, 250, 1023, 1024, 1025, 1026, 1514, 4096, 9014, 65_535];

for (const engine of ['uring', 'polled', 'sync'] as const) {
  const without = engine !== 'sync' && refused ? 'the kernel refuses io_uring' : skip;
  describe(`a TAP port, engine ${engine}`, { skip: without, timeout: 60_000 }, () => {
    describe('plain', () => {
      beforeEach(() => open(engine));

      it('gives the host what guests send, as it is and in order', () => {
        for (const owned of [true, false]) {
          const frames = LENGTHS.map((length, i) => testFrame(length, i));
          rig.sender.send(rig.network, rig.guest, frames, 3, owned);
          assert.deepEqual(received(frames.length), frames);
          rig.until('that the sender’s memory is free', () => rig.sender.held === 0);
        }
        const frames = 2 * LENGTHS.length;
        const bytes = 2 * LENGTHS.reduce((sum, length) => sum + length, 0);
        rig.settle();
        assert.deepEqual(rig.counts(), { FRAMES_OUT: frames, BYTES_OUT: bytes });
      });

      it('keeps the memory of long frames only, and only until they are gone', () => {
        rig.sender.send(rig.network, rig.guest, [testFrame(1024, 1)], 0, true);
        assert.equal(rig.sender.heldMost, 0);
        rig.sender.send(rig.network, rig.guest, [testFrame(1025, 1), testFrame(9000, 2)], 0, true);
        assert.equal(rig.sender.heldMost, engine === 'sync' ? 1 : 2);
        received(3);
        rig.until('that the sender’s memory is free', () => rig.sender.held === 0);
      });

      it('gives guests what the host sends, as it is and in order', () => {
        const sent: Buffer[] = [];
        for (let round = 0; round < 20; round++) {
          // More than are read in one turn, and few.
          for (let i = 0; i < (round % 3 === 0 ? 3 * BURST_FRAMES : 1 + (round % 5)); i++) {
            const frame = testFrame(14 + ((round * 97 + i * 13) % 1500), round + i, GUEST_MAC, HOST_MAC);
            assert.ok(host.send(frame));
            sent.push(frame);
          }
          rig.until('that all have come', () => rig.guest.frames.length === sent.length);
        }
        assert.deepEqual(
          rig.guest.frames.map(({ bytes }) => bytes),
          sent,
        );
        rig.settle();
        const bytes = sent.reduce((sum, { length }) => sum + length, 0);
        assert.deepEqual(rig.counts(), { FRAMES_IN: sent.length, BYTES_IN: bytes });
      });

      it(`needs ${engine === 'sync' ? 'to be asked again and again' : 'no turn while nothing comes'}`, () => {
        rig.settle();
        assert.equal(rig.port.active, engine === 'sync');
        assert.ok(host.send(testFrame(60, 1, GUEST_MAC, HOST_MAC)));
        rig.until('that it comes', () => rig.guest.frames.length === 1);
        rig.settle();
        assert.equal(rig.port.active, engine === 'sync');
      });

      it('leaves segmentation to the host, of frames in many pieces too', () => {
        const bytes = tcpFrame(20_000, HOST_MAC, GUEST_MAC);
        const memory = rig.sender.memory;
        const at = memory.headerAt(0);
        bytes.copy(memory.bytes[0]!, at);
        const pieces = new Segments(200);
        for (let from = 0; from < bytes.length; from += 113)
          pieces.push(0, at + from, Math.min(113, bytes.length - from));
        const frame = new Frame();
        frame.owner = rig.sender;
        frame.pair = 1;
        fillHeader(frame);
        frame.set(memory, pieces, pieces.count, 0, bytes.length, bytes, 0);
        rig.network.forward(frame, rig.guest);
        let got: ReturnType<PacketSocket['receive']>;
        rig.until('that the host gets it', () => (got = host.receive()) !== undefined);
        assert.deepEqual(got!.frame, bytes);
        assert.equal(got!.header[NetHeaderOffset.GSO_TYPE], GsoType.TCPV4);
        assert.equal(got!.header.readUInt16LE(NetHeaderOffset.GSO_SIZE), 1448);
        rig.settle();
        assert.deepEqual(rig.counts(), { FRAMES_OUT: 1, BYTES_OUT: bytes.length });
      });

      it('leaves segmentation to guests', () => {
        const bytes = tcpFrame(20_000, GUEST_MAC, HOST_MAC);
        assert.ok(host.send(bytes, gsoHeader()));
        rig.until('that it comes', () => rig.guest.frames.length === 1);
        const { bytes: got, header } = rig.guest.frames[0]!;
        assert.deepEqual(got, bytes);
        const { flags, gsoType, gsoSize, csumStart, csumOffset } = header;
        assert.deepEqual([flags, gsoType, gsoSize], [NetHeaderFlag.NEEDS_CSUM, GsoType.TCPV4, 1448]);
        assert.deepEqual([csumStart, csumOffset], [34, 16]);
      });

      it('says why frames are lost: the device is switched off, or gone', () => {
        ip('link', 'set', 'tap0', 'down');
        rig.sender.send(rig.network, rig.guest, [testFrame(60, 1), testFrame(2000, 2)], 0, true);
        rig.settle();
        assert.deepEqual(rig.counts(), { DROPPED_LINK_DOWN: 2 });
        ip('link', 'set', 'tap0', 'up');
        rig.sender.send(rig.network, rig.guest, [testFrame(60, 1)], 0, true);
        rig.settle();
        assert.deepEqual(rig.counts(), { DROPPED_LINK_DOWN: 2, FRAMES_OUT: 1, BYTES_OUT: 60 });
        ip('link', 'del', 'tap0');
        rig.sender.send(rig.network, rig.guest, [testFrame(60, 1), testFrame(2000, 2)], 0, true);
        rig.settle();
        const lost = { DROPPED_NOT_READY: 2, QUEUES_LOST: 1 };
        assert.deepEqual(rig.counts(), { DROPPED_LINK_DOWN: 2, FRAMES_OUT: 1, BYTES_OUT: 60, ...lost });
        assert.equal(rig.port.active, false, 'nothing more is read');
      });

      it('takes nothing more when it is closed', () => {
        rig.port.closed = true;
        rig.sender.send(rig.network, rig.guest, [testFrame(60, 1), testFrame(60, 2)], 0, true);
        assert.ok(host.send(testFrame(60, 1, GUEST_MAC, HOST_MAC)));
        rig.until('that nothing is in flight', () => rig.port.inFlight === 0);
        assert.deepEqual(rig.counts(), { DROPPED_NOT_READY: 2 });
        assert.equal(rig.guest.frames.length, 0);
      });
    });

    it('takes tags off and puts them on, as the VLANs of ports say', () => {
      open(engine, { vlans: trunkPort(5, [10]), guestVlans: accessPort(10) });
      const tag = Buffer.from('8100000a', 'hex');
      const tagged = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 12), tag, bytes.subarray(12)]);
      const frames = [testFrame(60, 1), testFrame(3000, 2)];
      rig.sender.send(rig.network, rig.guest, frames, 0, true);
      assert.deepEqual(received(2), frames.map(tagged));
      const back = [testFrame(60, 3, GUEST_MAC, HOST_MAC), testFrame(1500, 4, GUEST_MAC, HOST_MAC)];
      for (const bytes of back) assert.ok(host.send(tagged(bytes)));
      // Without a tag it is in another VLAN, which the guest is not in.
      assert.ok(host.send(testFrame(60, 5, GUEST_MAC, HOST_MAC)));
      rig.until('that all have come', () => rig.counts().FRAMES_IN === 3);
      assert.deepEqual(
        rig.guest.frames.map(({ bytes }) => bytes),
        back,
      );
    });

    it('cuts up for guests that do not take long frames', () => {
      open(engine, { guestOffloads: 0 });
      const bytes = tcpFrame(10_000, GUEST_MAC, HOST_MAC);
      assert.ok(host.send(bytes, gsoHeader()));
      const segments = Math.ceil((10_000 - TCP_HEADERS) / 1448);
      rig.until('that all segments come', () => rig.guest.frames.length === segments);
      const payload = rig.guest.frames.map(({ bytes: segment, header }) => {
        assert.deepEqual([header.flags, header.gsoType], [0, GsoType.NONE]);
        assert.ok(segment.length <= TCP_HEADERS + 1448);
        return segment.subarray(TCP_HEADERS);
      });
      assert.deepEqual(Buffer.concat(payload), bytes.subarray(TCP_HEADERS));
    });

    it('uses all its queues', () => {
      open(engine, { queues: 4 });
      const frames = Array.from({ length: BURST_FRAMES }, (_, i) => testFrame(100, i));
      for (let pair = 0; pair < 4; pair++) rig.sender.send(rig.network, rig.guest, frames, pair, true);
      assert.equal(received(4 * frames.length).length, 4 * frames.length);
      // The kernel chooses a queue by flow.
      const flows = 64;
      for (let flow = 0; flow < flows; flow++) assert.ok(host.send(udpFrame(1000 + flow)));
      rig.until('that all have come', () => rig.guest.frames.length === flows);
      const pairs = new Set(rig.guest.frames.map(({ pair }) => pair));
      assert.ok(pairs.size > 1 && [...pairs].every((pair) => pair < 4), `pairs ${[...pairs]}`);
    });
  });
}

describe('a TAP port that does not keep up', { skip: refused ? 'the kernel refuses io_uring' : skip }, () => {
  it('drops what it has no room for, and goes on', () => {
    open('uring');
    const frames = Array.from({ length: BURST_FRAMES }, (_, i) => testFrame(2000, i));
    const bursts = TAP_WRITES_MAX / BURST_FRAMES + 2;
    for (let i = 0; i < bursts; i++) rig.sender.send(rig.network, rig.guest, frames, 0, true);
    rig.settle();
    assert.deepEqual(rig.counts(), {
      FRAMES_OUT: TAP_WRITES_MAX,
      BYTES_OUT: 2000 * TAP_WRITES_MAX,
      DROPPED_NO_BUFFER: 2 * BURST_FRAMES,
    });
    received(TAP_WRITES_MAX);
    rig.sender.send(rig.network, rig.guest, frames, 0, true);
    assert.deepEqual(received(frames.length), frames);
  });
});

/** Ethernet, IPv4 and TCP. */
const TCP_HEADERS = 14 + 20 + 20;

/** A TCP segment of any length, whose checksum is left to be done. */
function tcpFrame(byteLength: number, to: Buffer, from: Buffer): Buffer {
  const bytes = testFrame(byteLength, 9, to, from);
  bytes.writeUInt16BE(0x0800, 12);
  const packet = bytes.subarray(14);
  packet.fill(0, 0, 40);
  packet[0] = 0x45;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = 64;
  packet[9] = 6;
  packet.set([192, 0, 2, 1, 192, 0, 2, 2], 12);
  completeChecksum(packet, 20, 0, 10);
  packet.writeUInt16BE(4000, 20);
  packet.writeUInt16BE(5000, 22);
  packet[32] = 5 << 4;
  packet[33] = 0x10;
  // The sum of the pseudo header, as whoever completes it wants it. RFC 9293, 3.1
  let sum = 6 + packet.length - 20;
  for (let at = 12; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet.writeUInt16BE(sum, 36);
  return bytes;
}

/** A UDP datagram from some port, without a checksum. */
function udpFrame(port: number): Buffer {
  const bytes = testFrame(60, 1, GUEST_MAC, HOST_MAC);
  bytes.writeUInt16BE(0x0800, 12);
  const packet = bytes.subarray(14);
  packet.fill(0, 0, 28);
  packet[0] = 0x45;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = 64;
  packet[9] = 17;
  packet.set([192, 0, 2, 1, 192, 0, 2, 2], 12);
  completeChecksum(packet, 20, 0, 10);
  packet.writeUInt16BE(port, 20);
  packet.writeUInt16BE(5000, 22);
  packet.writeUInt16BE(packet.length - 20, 24);
  return bytes;
}

const GSO = { flags: NetHeaderFlag.NEEDS_CSUM, gsoType: GsoType.TCPV4, hdrLen: TCP_HEADERS, gsoSize: 1448 };

function fillHeader({ header }: Frame): void {
  Object.assign(header, GSO, { csumStart: 34, csumOffset: 16, numBuffers: 0 });
}

/** The same as the packet socket takes it: without num_buffers. */
function gsoHeader(): Buffer {
  const header = Buffer.alloc(NET_HEADER_BYTES - 2);
  header[NetHeaderOffset.FLAGS] = GSO.flags;
  header[NetHeaderOffset.GSO_TYPE] = GSO.gsoType;
  header.writeUInt16LE(GSO.hdrLen, NetHeaderOffset.HDR_LEN);
  header.writeUInt16LE(GSO.gsoSize, NetHeaderOffset.GSO_SIZE);
  header.writeUInt16LE(34, NetHeaderOffset.CSUM_START);
  header.writeUInt16LE(16, NetHeaderOffset.CSUM_OFFSET);
  return header;
}
