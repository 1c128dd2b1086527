/** Each request type, and each status that the standard asks for. VIRTIO 1.3, 5.2.6 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type Answer,
  BlockRig,
  type BlockRigOptions,
  header,
  RAM,
  RAM_END,
  send,
} from '../../test/support/block-rig.js';
import { StubBackend } from '../../test/support/stub-backend.js';
import { REQUEST_MALFORMED } from '../virtio/queue-faults.js';
import { RequestType, Status } from './features.js';

const { IN, OUT, FLUSH, GET_ID } = RequestType;
const SECTORS = 64;
const STALE = 0xee;

const bytes = (length: number, seed = 1) => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff));

function on(options: BlockRigOptions, test: (rig: BlockRig) => void): void {
  const rig = new BlockRig({ sectors: SECTORS, pool: 8, ...options });
  try {
    test(rig);
    assert.equal(rig.free, 8, 'requests are not given back');
  } finally {
    rig.release();
  }
}

/** Sends a request that must be answered. */
function ask(rig: BlockRig, type: number, sector: number | bigint, data: Buffer | number = 0): Answer {
  const readable = typeof data === 'number' ? header(type, sector) : Buffer.concat([header(type, sector), data]);
  const answer = send(rig, readable, typeof data === 'number' ? data : 0);
  assert.ok(answer, `not answered: fault ${rig.queues[0]!.state.fault}`);
  return answer;
}

const untouched = (data: Buffer) => data.every((byte) => byte === STALE);

describe('IN', () => {
  it('reads sectors, and counts the status as written', () =>
    on({}, (rig) => {
      bytes(rig.disk.length).copy(rig.disk);
      for (const [sector, sectors] of [
        [0, 1],
        [5, 3],
        [0, SECTORS],
        [SECTORS - 1, 1],
      ] as const) {
        const { status, written, data } = ask(rig, IN, sector, sectors * 512);
        assert.equal(status, Status.OK);
        assert.equal(written, sectors * 512 + 1);
        assert.equal(data.compare(rig.disk, sector * 512, (sector + sectors) * 512), 0);
      }
    }));

  it('reads nothing where nothing is asked', () =>
    on({}, (rig) => {
      for (const sector of [0, SECTORS]) assert.deepEqual(ask(rig, IN, sector, 0).status, Status.OK);
      assert.equal(ask(rig, IN, SECTORS + 1, 0).status, Status.IOERR);
    }));

  it('fails beyond the end, at any distance, and writes nothing', () =>
    on({}, (rig) => {
      for (const sector of [
        SECTORS - 1,
        SECTORS,
        2 ** 32,
        2n ** 53n,
        2n ** 55n,
        2n ** 63n,
        2n ** 64n - 2n,
        2n ** 64n - 1n,
      ]) {
        const { status, data, written } = ask(rig, IN, sector, 1024);
        assert.equal(status, Status.IOERR, `sector ${sector}`);
        assert.ok(untouched(data));
        assert.ok(written <= 1);
      }
    }));

  it('fails for parts of sectors', () =>
    on({}, (rig) => {
      for (const length of [1, 20, 511, 513, 1023]) assert.equal(ask(rig, IN, 0, length).status, Status.IOERR);
    }));

  it('fails if there are data to read as well', () =>
    on({}, (rig) => assert.equal(send(rig, Buffer.concat([header(IN, 0), bytes(512)]), 512)!.status, Status.IOERR)));

  it('reads from a disk that is read-only', () =>
    on({ readOnly: true }, (rig) => assert.equal(ask(rig, IN, 0, 512).status, Status.OK)));
});

describe('OUT', () => {
  it('writes sectors, and those only', () =>
    on({}, (rig) => {
      for (const [sector, sectors] of [
        [0, 1],
        [5, 3],
        [SECTORS - 1, 1],
        [0, SECTORS],
      ] as const) {
        rig.disk.fill(9);
        const data = bytes(sectors * 512, sector);
        assert.deepEqual(ask(rig, OUT, sector, data), { status: Status.OK, written: 1, data: Buffer.alloc(0) });
        const expected = Buffer.alloc(rig.disk.length, 9);
        data.copy(expected, sector * 512);
        assert.equal(rig.disk.compare(expected), 0);
      }
    }));

  it('fails beyond the end and for parts of sectors, and writes nothing', () =>
    on({}, (rig) => {
      for (const sector of [SECTORS - 1, SECTORS, 2n ** 53n, 2n ** 64n - 1n]) {
        assert.equal(ask(rig, OUT, sector, bytes(1024)).status, Status.IOERR);
      }
      for (const length of [1, 511, 513]) assert.equal(ask(rig, OUT, 0, bytes(length)).status, Status.IOERR);
      assert.ok(rig.disk.every((byte) => byte === 0));
    }));

  it('fails on a disk that is read-only, whatever was negotiated, and writes nothing', () => {
    for (const features of [undefined, 0n]) {
      on({ readOnly: true, ...(features === undefined ? {} : { features }) }, (rig) => {
        for (const length of [0, 512, 1024]) assert.equal(ask(rig, OUT, 0, bytes(length)).status, Status.IOERR);
        assert.ok(rig.disk.every((byte) => byte === 0));
      });
    }
  });

  it('fails if there is room for data as well', () =>
    on({}, (rig) => {
      const { status, data } = send(rig, Buffer.concat([header(OUT, 0), bytes(512)]), 512)!;
      assert.equal(status, Status.IOERR);
      assert.ok(untouched(data));
      assert.ok(rig.disk.every((byte) => byte === 0));
    }));
});

describe('FLUSH', () => {
  it('asks the back end, whatever else the request says', () => {
    const backend = new StubBackend();
    on({ backend }, (rig) => {
      assert.equal(ask(rig, FLUSH, 0).status, Status.OK);
      assert.equal(ask(rig, FLUSH, 12_345).status, Status.OK);
      assert.equal(ask(rig, FLUSH, 0, bytes(100)).status, Status.OK);
      const { status, written, data } = ask(rig, FLUSH, 0, 100);
      assert.equal(status, Status.OK);
      assert.ok(untouched(data) && written <= 1);
      assert.deepEqual(
        backend.asked.map(({ what }) => what),
        ['flush', 'flush', 'flush', 'flush'],
      );
    });
  });

  it('has nothing to do on a disk that is read-only', () => {
    const backend = new StubBackend();
    on({ readOnly: true, backend }, (rig) => assert.equal(ask(rig, FLUSH, 0).status, Status.OK));
    assert.equal(backend.asked.length, 0);
  });
});

describe('GET_ID', () => {
  it('gives the serial number, and says how much of it', () =>
    on({}, (rig) => {
      const { status, written, data } = ask(rig, GET_ID, 0, 20);
      assert.equal(status, Status.OK);
      assert.equal(data.toString('latin1'), 'a serial number\0\0\0\0\0');
      assert.equal(written, 21);
    }));

  it('writes no more than the serial number into more room', () =>
    on({}, (rig) => {
      const { status, written, data } = ask(rig, GET_ID, 0, 512);
      assert.equal(status, Status.OK);
      assert.equal(data.toString('latin1', 0, 20), 'a serial number\0\0\0\0\0');
      assert.ok(untouched(data.subarray(20)));
      assert.equal(written, 20);
    }));

  it('fails without room for it', () =>
    on({}, (rig) => {
      for (const length of [0, 1, 19]) {
        const { status, data } = ask(rig, GET_ID, 0, length);
        assert.equal(status, Status.IOERR);
        assert.ok(untouched(data));
      }
    }));

  it('works on a disk that is read-only', () =>
    on({ readOnly: true }, (rig) => assert.equal(ask(rig, GET_ID, 0, 20).status, Status.OK)));
});

describe('other types', () => {
  it('are not supported', () =>
    on({}, (rig) => {
      const known: number[] = Object.values(RequestType);
      const types = [...Array(40).keys(), 0x100, 0x8000_0000, 0x8000_0001, 2 ** 32 - 1].filter(
        (type) => !known.includes(type),
      );
      for (const type of types) {
        for (const data of [0, 512, bytes(512)]) {
          const { status, data: found, written } = ask(rig, type, 0, data);
          assert.equal(status, Status.UNSUPP, `type ${type}`);
          assert.ok(untouched(found) && written <= 1);
        }
      }
      assert.ok(rig.disk.every((byte) => byte === 0));
    }));
});

describe('what is no request', () => {
  const stops = (readable: number, writable: number) =>
    on({}, (rig) => {
      const { queue, state, driver } = rig.queues[0]!;
      const elements = [
        { address: RAM.guestAddress, length: readable },
        { address: RAM.guestAddress + 4096, length: writable, writable: true },
      ].filter(({ length }) => length > 0);
      assert.equal(rig.pass(elements), undefined);
      assert.equal(state.fault, REQUEST_MALFORMED);
      assert.equal(queue.closed, true);
      assert.equal(queue.inFlight, 0);
      driver.add([
        { address: RAM.guestAddress, length: 16 },
        { address: RAM_END - 1, length: 1, writable: true },
      ]);
      driver.publish();
      rig.turn();
      assert.equal(driver.take(), undefined, 'a queue is served that has a fault');
    });

  it('has no status byte', () => {
    stops(16, 0);
    stops(528, 0);
  });

  it('has no whole header', () => {
    for (const length of [1, 8, 15]) {
      stops(length, 1);
      stops(length, 513);
    }
    stops(0, 1);
    stops(0, 600);
  });
});
