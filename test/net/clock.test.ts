/** A sidecore tells its switches the time, however little it is awake. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { Epoll } from '../../src/host/epoll.js';
import { createEventFd, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { Directory } from '../../src/net/directory.js';
import { SCHEDULER_DEFAULTS } from '../../src/scheduler/policy.js';
import { POLLING_RULES } from '../../src/scheduler/polling.js';
import { CoreState } from '../../src/sidecore/core-state.js';
import { Sidecore } from '../../src/sidecore/sidecore.js';

for (const mode of ['adaptive', 'baseline'] as const) {
  it(`as soon as it wakes: ${mode}`, (test) => {
    const state = new CoreState();
    const { port1: mailbox, port2 } = new MessageChannel();
    const [doorway, bellFd] = [new Epoll(1), createEventFd()];
    test.after(() => {
      port2.close();
      for (const fd of [doorway.fd, bellFd]) close(fd);
    });
    const core = new Sidecore({
      cpus: [],
      workerCpus: [],
      sqpollCpu: undefined,
      polling: POLLING_RULES[mode],
      scheduler: SCHEDULER_DEFAULTS,
      state: state.buffer,
      bellFd,
      helperBell: new SharedArrayBuffer(8),
      doorwayFd: doorway.fd,
      index: 0,
      neighbours: { directory: Directory.create(1, 0), networks: 0, others: [] },
      mailbox,
    });
    const times: number[] = [];
    // It is awake for one turn at a time: each time that it is told the time, it is woken again.
    core.networks.tick = (nowS) => {
      times.push(nowS);
      if (times.length === 3) {
        port2.postMessage({ id: 1, op: 'stop' });
        state.ring();
      }
      signal(bellFd);
    };
    signal(bellFd);
    core.run();
    assert.equal(times.length, 3);
  });
}
