import { workerData } from 'node:worker_threads';
import { Epoll } from '../host/epoll.js';
import { signal } from '../host/eventfd.js';
import { CoreState } from './core-state.js';
import { WATCHER_STOP, type WatcherSetup } from './messages.js';

/**
 * The thread that watches the kicks of idle queues while their sidecore is busy with others. Each sidecore keeps the kick
 * descriptors of its idle queues in an epoll instance of its own; it lends that instance to this thread, for one event,
 * when it has idle queues and does not sleep. The event rings the core's bell.
 */
function watch({ epollFd, cores }: WatcherSetup): void {
  const states = cores.map((core) => new CoreState(core.state));
  const epoll = new Epoll(64, epollFd);
  for (;;) {
    const count = epoll.wait(-1);
    for (let event = 0; event < count; event++) {
      const core = epoll.token(event);
      if (core === WATCHER_STOP) return;
      if (states[core]?.ring()) signal(cores[core]!.bellFd);
    }
  }
}

watch(workerData as WatcherSetup);
