import { defineFrameFilter, IpProtocol } from 'sidecore/filter';

/** A guest is no DHCP server: what it answers as one is dropped. */
export default defineFrameFilter({
  name: 'no-dhcp-server',
  options: (z) => z.strictObject({ ports: z.array(z.int()).default([67, 547]) }),
  counters: ['dropped'],
  create({ options, counter }) {
    const dropped = counter('dropped');
    const ports = new Set(options.ports);
    return {
      outbound(frame, next) {
        if (frame.protocol !== IpProtocol.UDP || !ports.has(frame.sourcePort)) return next(frame);
        dropped.add(1);
      },
    };
  },
});
