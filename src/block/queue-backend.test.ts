/** What a queue tells its back end, and what it makes of the answers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockRig, header, ranges, send } from '../../test/support/block-rig.js';
import { StubBackend } from '../../test/support/stub-backend.js';
import { BLOCK_FEATURES, RequestType, Status } from './features.js';

const { IN, OUT, FLUSH, DISCARD, WRITE_ZEROES, SECURE_ERASE } = RequestType;

const bytes = (length: number) => Buffer.alloc(length, 0x5c);

function on(test: (rig: BlockRig, backend: StubBackend) => void): void {
  const backend = new StubBackend();
  const rig = new BlockRig({ sectors: 64, backend });
  try {
    test(rig, backend);
  } finally {
    rig.release();
  }
}

/** Sends a request that must be answered. */
function ask(rig: BlockRig, type: number, data: Buffer | number) {
  const readable = typeof data === 'number' ? header(type, 0) : Buffer.concat([header(type, 0), data]);
  const answer = send(rig, readable, typeof data === 'number' ? data : 0);
  assert.ok(answer);
  return answer;
}

describe('the back end', () => {
  it('gets the data and nothing else, in pieces none of which is empty', () => {
    on((rig, backend) => {
      for (const [readable, writable] of [
        [[16], [1024]],
        [[], []],
        [[16, 300], [300]],
        [
          [3, 13, 1],
          [1, 1],
        ],
        [
          [0, 16, 0],
          [0, 1024, 0],
        ],
      ] as const) {
        const framing = { readable, writable, gaps: [5] };
        for (const type of [IN, OUT]) {
          const data = type === OUT ? bytes(1024) : Buffer.alloc(0);
          const room = type === IN ? 1024 : 0;
          assert.equal(send(rig, Buffer.concat([header(type, 2), data]), room, framing)!.status, Status.OK);
          const [asked] = backend.take();
          assert.ok(
            asked!.pieces.every((length) => length > 0),
            `pieces of ${asked!.pieces}`,
          );
          assert.equal(
            asked!.pieces.reduce((sum, length) => sum + length, 0),
            1024,
          );
          assert.deepEqual([asked!.sector, asked!.dataBytes], [2, 1024]);
        }
      }
    });
  });

  it('is told what must be durable: writes and ranges in write-through mode, and only there', () => {
    const {
      FLUSH: flush,
      CONFIG_WCE: wce,
      WRITE_ZEROES: zeroes,
      DISCARD: discard,
      SECURE_ERASE: erase,
    } = BLOCK_FEATURES;
    const ranged = zeroes | discard | erase;
    on((rig, backend) => {
      const list = ranges([{ sector: 0, sectors: 8 }]);
      // A request is used again and again: what it was last time means nothing, whichever way the mode changes.
      for (const [features, mode, durable] of [
        [ranged, undefined, true],
        [ranged | flush, undefined, false],
        [ranged | flush | wce, 0, true],
        [ranged | flush | wce, 1, false],
        [ranged | wce, undefined, true],
        [ranged | flush | wce, 1, false],
        [ranged, undefined, true],
      ] as const) {
        for (const first of [WRITE_ZEROES, DISCARD, SECURE_ERASE, OUT]) {
          rig.device.reset();
          rig.device.negotiate(durable ? ranged | flush : ranged);
          assert.equal(ask(rig, OUT, bytes(512)).status, Status.OK);
          rig.device.negotiate(features);
          if (mode !== undefined) rig.device.writeConfig(32, Buffer.from([mode]));
          assert.equal(ask(rig, first, first === OUT ? bytes(512) : list).status, Status.OK);
          assert.deepEqual(
            backend.take().map((asked) => asked.durable),
            [!durable, durable],
          );
        }
      }
    });
  });

  it('says what the status is', () => {
    on((rig, backend) => {
      for (const status of Object.values(Status)) {
        backend.answer = status;
        for (const [type, data] of [
          [IN, 512],
          [OUT, bytes(512)],
          [FLUSH, 0],
          [DISCARD, ranges([{ sector: 0, sectors: 1 }])],
        ] as const) {
          const answer = ask(rig, type, data);
          assert.equal(answer.status, status);
          assert.ok(answer.written <= (status === Status.OK && type === IN ? 513 : 1));
        }
      }
    });
  });
});
