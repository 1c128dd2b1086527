import { FrameCapture } from '../net/capture/frame-capture.js';
import type { Networks } from '../net/networks.js';
import type { UringHost } from '../net/uring-user.js';
import type { CoreRequest } from './messages.js';

/** What the daemon asks of a sidecore's networks. */
export type NetworkRequest = Exclude<CoreRequest, { readonly op: 'attach' | 'detach' | 'retain' | 'stop' }>;

/** Does it, between two turns. Throws what keeps it from being done. */
export function serveNetworkRequest(request: NetworkRequest, networks: Networks, host: UringHost): void {
  switch (request.op) {
    case 'inject':
      return networks.inject(request.device, request.frame);
    case 'refilter':
      return networks.refilter(request.device);
    case 'plug':
      return networks.plug(request.port, host);
    case 'capture':
      return networks.capture(request.port, new FrameCapture(request.ring, request.snapBytes));
    case 'uncapture':
      return networks.capture(request.port, undefined);
    case 'freeze':
      return networks.freeze(request.network);
    case 'thaw':
      return networks.thaw(request.network);
  }
}
