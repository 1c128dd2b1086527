import { NetDriver } from '../src/guest/net-driver.js';
import { NET_FEATURES, NET_HEADER_BYTES } from '../src/net/features.js';
import { CPU_SHARE_MIN, type Measured } from './duel.js';
import { Pump, turnPumps, writeFrames } from './net-load.js';
import { type NetContext, ourSide, type PlannedRows } from './net-sides.js';
import { GUEST_MACS, type NetSide, type NetTiming, sharesOf } from './net-window.js';
import { row } from './report.js';

const FRAME_BYTES = 64;
const NAME = `${FRAME_BYTES} B to a guest that has stopped: frames between two others, against the same with a guest that takes them`;

interface PairWindow extends Measured {
  /** Frames a second that the other pair's receiver took, and that the stream's sender got rid of. */
  readonly pair: number;
  readonly stream: number;
}

/** Whether a guest that takes nothing of what it is sent costs others something. All guests are in one thread. */
export function stoppedReceiverRows(context: NetContext): PlannedRows[] {
  return [{ name: NAME, quick: true, needs: [], run: () => measure(context) }];
}

async function measure(context: NetContext) {
  const { ground, timing, pairs } = context;
  const ours = await ourSide(context, ['sender', 'receiver', 'a', 'b'], {});
  const window = (stopped: boolean) => () => pairBeside(ours, stopped, timing);
  const { a, b } = await ground.inTurn(NAME, window(true), window(false), pairs).finally(() => ours.process.stop());
  const of = (windows: readonly PairWindow[], key: 'pair' | 'stream') => windows.map((one) => one[key]);
  return [
    row(NAME, 'frames/s', of(a, 'pair'), of(b, 'pair'), { sense: 'at least', value: 0.97 }, 'peer: ours, all take'),
    row(
      `${FRAME_BYTES} B to a guest that has stopped: the stream itself`,
      'frames/s',
      of(a, 'stream'),
      of(b, 'stream'),
      null,
    ),
  ];
}

async function pairBeside({ process, sockets }: NetSide, stopped: boolean, timing: NetTiming): Promise<PairWindow> {
  process.resume();
  const guests: NetDriver[] = [];
  try {
    for (const socket of sockets) guests.push(await NetDriver.connect({ socket, features: NET_FEATURES.MRG_RXBUF }));
    const send = (from: number, to: number) => {
      writeFrames(guests[from]!, GUEST_MACS[from]!, GUEST_MACS[to]!, FRAME_BYTES);
      const pump = new Pump(guests[from]!.tx, NET_HEADER_BYTES + FRAME_BYTES);
      pump.start();
      return pump;
    };
    const receive = (index: number) => new Pump(guests[index]!.rx, guests[index]!.rx.bufferBytes);
    const [stream, ofStream] = [send(0, 1), receive(1)];
    const [pair, ofPair] = [send(2, 3), receive(3)];
    const pumps = stopped ? [stream, pair, ofPair] : [stream, ofStream, pair, ofPair];
    turnPumps(pumps, timing.warmUpMs);
    const [streamBefore, pairBefore, shares] = [stream.count, ofPair.count, sharesOf([process])];
    const { seconds, clientShare } = turnPumps(pumps, timing.windowMs);
    return {
      pair: (ofPair.count - pairBefore) / seconds,
      stream: (stream.count - streamBefore) / seconds,
      undisturbed: Math.min(clientShare, ...shares()) >= CPU_SHARE_MIN,
    };
  } finally {
    for (const guest of guests) guest.close();
    process.pause();
  }
}
