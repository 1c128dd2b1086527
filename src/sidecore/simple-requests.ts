import { FrameCapture } from '../net/capture/frame-capture.js';
import type { Networks } from '../net/networks.js';
import type { UringHost } from '../net/uring-user.js';
import type { HeldQueues } from './held-queues.js';
import type { CoreRequest } from './messages.js';

/** What a sidecore does at once: all but what changes which queues it has, and what waits. */
export type SimpleRequest = Exclude<CoreRequest, { readonly op: 'attach' | 'detach' | 'retain' | 'hold' | 'stop' }>;

/** Does it, between two turns. Throws what keeps it from being done. */
export function serveRequest(request: SimpleRequest, networks: Networks, held: HeldQueues, host: UringHost): void {
  switch (request.op) {
    case 'release':
      return held.release(request.key);
    case 'filters':
      return held.changeFilters(request.key, request.filters);
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
