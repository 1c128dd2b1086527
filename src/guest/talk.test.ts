import assert from 'node:assert/strict';
import { it } from 'node:test';
import { LoadCounters } from './load-counters.js';
import type { NetDriver } from './net-driver.js';
import { Talk } from './talk.js';

/** A driver that has so many buffers to send from, and notes what it sends. */
function stubDriver(number: number, buffers: number) {
  const sent: Buffer[] = [];
  const heard: Buffer[] = [];
  const driver = {
    mac: Buffer.from([2, 0, 0, 0, 0, number]),
    tx: { kicks: 0, publish: () => {} },
    rx: { callFd: -1 },
    send: (frame: Buffer) => sent.length < buffers && sent.push(Buffer.from(frame)) > 0,
    receive: () => heard.shift(),
  };
  return { driver: driver as unknown as NetDriver, sent, heard };
}

it('a question for which there is no buffer is asked as soon as there is one', () => {
  const asking = stubDriver(1, 1);
  const answering = stubDriver(2, 1);
  const talk = new Talk(asking.driver, answering.driver, 60, new ArrayBuffer(LoadCounters.BYTES));
  talk.turn();
  answering.heard.push(asking.sent[0]!);
  talk.turn();
  asking.heard.push(answering.sent[0]!);
  talk.turn();
  talk.turn();
  assert.equal(asking.sent.length, 1, 'its buffer has not come back');
  asking.sent.length = 0;
  talk.turn();
  assert.equal(asking.sent.length, 1);
  assert.equal(talk.counters.errors, 0);
});
