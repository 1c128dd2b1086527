import { defineFrameFilter, type FilterFrame } from '../../../filter/index.js';

const GROUP_BIT = 0x0100;

/** Counts frames and bytes by direction and kind, and how long frames are. */
export const meter = defineFrameFilter({
  name: 'meter',
  counters: [
    'frames_sent',
    'bytes_sent',
    'unicast_sent',
    'multicast_sent',
    'broadcast_sent',
    'frames_received',
    'bytes_received',
    'unicast_received',
    'multicast_received',
    'broadcast_received',
  ],
  histograms: ['bytes_sent', 'bytes_received'],
  create(context) {
    const meterOf = (way: string) => {
      const [frames, bytes, unicast, multicast, broadcast] = [
        'frames',
        'bytes',
        'unicast',
        'multicast',
        'broadcast',
      ].map((name) => context.counter(`${name}_${way}`));
      const lengths = context.histogram(`bytes_${way}`);
      return (frame: FilterFrame) => {
        const { byteLength, destinationHigh } = frame;
        frames!.add(1);
        bytes!.add(byteLength);
        lengths.add(byteLength);
        if ((destinationHigh & GROUP_BIT) === 0) unicast!.add(1);
        else if (destinationHigh === 0xffff && frame.destinationLow === -1) broadcast!.add(1);
        else multicast!.add(1);
      };
    };
    const sent = meterOf('sent');
    const received = meterOf('received');
    return {
      outbound(frame, next) {
        sent(frame);
        next(frame);
      },
      inbound(frame, next) {
        received(frame);
        next(frame);
      },
    };
  },
});
