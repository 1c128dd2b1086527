import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DESCRIPTOR_WORDS, DescriptorFlag } from '../virtio/ring-layout.js';
import { PackedDriver } from './packed-driver.js';
import { GuestRam } from './ram.js';

test('a chain whose table the device has made a circle of ends with the ring', (context) => {
  const ram = new GuestRam(2 ** 16);
  context.after(() => ram.close());
  const size = 6;
  const driver = new PackedDriver(ram, size, true);
  const table = ram.words32(driver.table, size * DESCRIPTOR_WORDS * 4);
  table[3] = DescriptorFlag.NEXT | (1 << 16);
  table[DESCRIPTOR_WORDS + 3] = DescriptorFlag.NEXT;
  driver.add(0);
  assert.ok(driver.publish());
  assert.equal(driver.take(), -1);
});
