import assert from 'node:assert/strict';
import { it } from 'node:test';
import { RequestType, SECTOR_BYTES, Status } from '../../../block/features.js';
import type { BlockFilterContext, FilterRequest } from '../../../filter/contract.js';
import { DEVICE_REQUESTS_IN_FLIGHT_MAX, FILTER_OPERATIONS_MAX, RANGES_MAX } from '../../../limits.js';
import { BUFFERS, DISCARDS_MAX, type Prepared, QueueCipher, type QueueOptions } from './pieces.js';

const PAYLOAD = 7;

it('as many discards as a guest may have in flight, with as many ranges, are never more operations than a filter may have', () => {
  assert.ok(BUFFERS + DISCARDS_MAX <= FILTER_OPERATIONS_MAX);
  const inFlight: number[] = [];
  const discarded: string[] = [];
  const requests: FilterRequest[] = [];
  const statuses = new Map<number, number>();
  let most = 0;
  const context = {
    slots: DEVICE_REQUESTS_IN_FLIGHT_MAX,
    options: { discard: true, offload_bytes: 2 ** 30 },
    prepared: { key: Buffer.alloc(64, 1).fill(2, 32), payloadSector: PAYLOAD },
    counter: () => ({ add: () => {} }),
    buffers: () => ({}),
    requestOf: (token: number) => requests[token],
    finish: (token: number, status: number) => {
      assert.ok(!statuses.has(token), 'ended twice');
      statuses.set(token, status);
    },
    below: {
      discard: (sector: number, sectors: number, tag: number) => {
        discarded.push(`${sector} ${sectors}`);
        inFlight.push(tag);
        most = Math.max(most, inFlight.length);
      },
    },
  };
  const cipher = new QueueCipher(context as unknown as BlockFilterContext<QueueOptions, Prepared>);
  const expected: string[] = [];
  for (let slot = 0; slot < DEVICE_REQUESTS_IN_FLIGHT_MAX; slot++) {
    const rangeCount = 1 + (slot % RANGES_MAX);
    const first = (range: number) => 100 * slot + 10 * range;
    // Two fail, with their first range and with a later one: what is behind that is left as it is.
    const failsAt = slot === 7 ? 0 : slot === 3 ? 2 : rangeCount;
    for (let range = 0; range < Math.min(rangeCount, failsAt + 1); range++)
      expected.push(`${PAYLOAD + first(range)} ${range}`);
    requests.push({
      slot,
      type: RequestType.DISCARD,
      bytes: SECTOR_BYTES,
      rangeCount,
      rangeSector: first,
      rangeSectors: (range: number) => range,
      defer: () => slot,
      failsAt,
    } as unknown as FilterRequest);
    cipher.submit(requests[slot]!, () => assert.fail('passed on'));
  }
  for (let tag = inFlight.shift(); tag !== undefined; tag = inFlight.shift()) {
    const done = discarded.filter((text) => Math.floor((Number(text.split(' ')[0]) - PAYLOAD) / 100) === tag - BUFFERS);
    const { failsAt } = requests[tag - BUFFERS] as unknown as { failsAt: number };
    cipher.done(tag, done.length - 1 === failsAt ? Status.IOERR : Status.OK);
  }
  assert.equal(most, DISCARDS_MAX);
  assert.deepEqual(discarded.sort(), expected.sort());
  assert.equal(statuses.size, DEVICE_REQUESTS_IN_FLIGHT_MAX);
  const failed = [...statuses].filter(([, status]) => status !== Status.OK);
  assert.deepEqual(failed.sort(), [
    [3, Status.IOERR],
    [7, Status.IOERR],
  ]);
  cipher.close();
});
