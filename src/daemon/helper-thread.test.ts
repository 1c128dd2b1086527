import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import { HelperChannel } from '../filter/helper-channel.js';
import type { HelperSetup } from '../filter/helpers.js';
import type { CoreMessage } from '../sidecore/messages.js';
import { CoreThread } from './core-threads.js';
import { FilterControl } from './filter-control.js';
import { HelperThread } from './helper-thread.js';

/** Dies at once. */
const MORTAL = new URL('data:text/javascript,throw new Error("it was not to be")');

const newSetup = () => ({ channel: new HelperChannel().buffer }) as HelperSetup;

async function until(isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, 'it does not come to be so');
    await sleep(5);
  }
}

/** A sidecore that has a helper made, and dies. */
const SHORT_LIVED = `
const { mailbox, message } = require('node:worker_threads').workerData;
mailbox.postMessage(message);
throw new Error('boom');
`;

describe('the thread of helpers', () => {
  it('lets go of the helpers of a sidecore that has died', async () => {
    const thread = new HelperThread(() => {}, new URL('data:text/javascript,setInterval(() => {}, 1000)'));
    const setup = newSetup();
    const added: HelperSetup[] = [];
    const rung = thread.bell.count;
    const reason = await new Promise<string>((ended) => {
      const helpers = {
        add: (setup: HelperSetup) => {
          added.push(setup);
          thread.add(setup);
        },
        close: (setups: Iterable<HelperSetup>) => thread.close(setups),
      };
      new CoreThread({ heard: () => {}, ended }, helpers, ({ mailbox }) => {
        const message: CoreMessage = { event: 'helper', setup };
        return new Worker(SHORT_LIVED, { eval: true, workerData: { mailbox, message }, transferList: [mailbox] });
      });
    });
    assert.match(reason, /boom/);
    assert.equal(added.length, 1);
    assert.equal(new HelperChannel(setup.channel).closed, true);
    assert.notEqual(thread.bell.count, rung, 'and is woken for it');
    await thread.stop();
  });

  it('is started again when it dies, after pauses that grow, and says why', async () => {
    const deaths: { reason: string; at: number }[] = [];
    const thread = new HelperThread((reason) => void deaths.push({ reason, at: performance.now() }), MORTAL);
    thread.add(newSetup());
    await until(() => deaths.length === 1);
    // Nor does one that is added bring it back sooner.
    thread.add(newSetup());
    await until(() => deaths.length === 3);
    await thread.stop();
    for (const { reason } of deaths) assert.match(reason, /^Error: it was not to be/);
    const [first, second, third] = deaths.map(({ at }) => at);
    // Timers may be early by a millisecond.
    assert.ok(second! - first! >= 98, `${second! - first!} ms`);
    assert.ok(third! - second! >= 198, `${third! - second!} ms`);
    await sleep(500);
    assert.equal(deaths.length, 3, 'one that was stopped stays so');
  });

  it('is told of in the log, now and then', () => {
    const lines: string[] = [];
    const log = { warn: (_: object, text: string) => void lines.push(text) } as unknown as Logger;
    const control = new FilterControl(log);
    for (let i = 0; i < 5; i++) control.helpersDied('Error: boom');
    assert.equal(lines.length, 1);
    assert.match(lines[0]!, /helpers died and is started again: Error: boom \[FILTER_FAILED\]/);
  });
});
