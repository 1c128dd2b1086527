import { after, describe } from 'node:test';
import { burstTests } from './virtqueue-burst.js';
import { chainTests } from './virtqueue-chains.js';
import { hostileTests } from './virtqueue-hostile.js';
import { indirectTests } from './virtqueue-indirect.js';
import type { VirtqueueLayout } from './virtqueue-layout.js';
import { notificationTests } from './virtqueue-notification.js';
import { createMemory } from './virtqueue-rig.js';
import { takeoverTests } from './virtqueue-takeover.js';

/** Everything that every layout of virtqueues must do. */
export function virtqueueConformance(layout: VirtqueueLayout): void {
  const memory = createMemory();
  describe(`virtqueue, ${layout.name}`, () => {
    after(() => memory.release());
    describe('chains', () => chainTests(layout, () => memory));
    describe('bursts', () => burstTests(layout, () => memory));
    describe('indirect tables', () => indirectTests(layout, () => memory));
    describe('notification', () => notificationTests(layout, () => memory));
    describe('hostile drivers', () => hostileTests(layout, () => memory));
    describe('takeover', () => takeoverTests(layout, () => memory));
  });
}
