import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { jam } from '../../test/vhost-user/descriptors.js';
import { createEventFd, drain, eventCount, signal } from './eventfd.js';
import { close } from './libc.js';
import { signalUnblockably } from './unblockable-signal.js';

describe('an event counter', () => {
  let fd = -1;
  beforeEach(() => {
    fd = createEventFd();
  });
  afterEach(() => close(fd));

  it('counts signals of either kind, and is emptied at once', () => {
    assert.equal(drain(fd), 0);
    signal(fd);
    signalUnblockably(fd);
    for (let i = 0; i < 300; i++) signalUnblockably(fd);
    assert.equal(eventCount(fd), 302n);
    assert.equal(drain(fd), 302);
    assert.equal(drain(fd), 0);
  });

  it('that was filled and made blocking keeps nobody waiting', () => {
    jam(fd);
    signalUnblockably(fd);
    signalUnblockably(fd);
    assert.ok(drain(fd) > 0);
    assert.equal(drain(fd), 0, 'empty and blocking: a read would wait');
  });

  it('is no other descriptor, and a wrong one does no harm to the next', () => {
    signalUnblockably(-1);
    signalUnblockably(0);
    assert.equal(drain(-1), 0);
    signalUnblockably(fd);
    assert.equal(drain(fd), 1);
  });
});
