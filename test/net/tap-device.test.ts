/** TAP devices as the kernel makes them, in a network namespace of the test's own. */
import assert from 'node:assert/strict';
import { readSync, statSync, writeSync } from 'node:fs';
import { afterEach, describe, it } from 'node:test';
import { type ErrorCode, SidecoreError } from '../../src/errors.js';
import { close } from '../../src/host/libc.js';
import { openTap, type Tap, TapOffload, type TapOptions, TUN_PATH } from '../../src/host/tap.js';
import { enterNetworkNamespace, ip, link } from '../support/network-namespace.js';

const skip = enterNetworkNamespace();
/** Whether everybody may open it. */
const IS_OPEN = skip === false && (statSync(TUN_PATH).mode & 0o006) === 0o006;

const HEADER_BYTES = 12;
const taps: Tap[] = [];

function open(options: Partial<TapOptions> & { device: string }): Tap {
  const tap = openTap({ queues: 1, headerBytes: HEADER_BYTES, ...options });
  taps.push(tap);
  return tap;
}

function closeAll(): void {
  for (const { fds } of taps.splice(0)) for (const fd of fds) close(fd);
}

function refused(
  code: ErrorCode,
  message: RegExp,
  options: Partial<TapOptions> & { device: string },
  remedy = /^/,
): void {
  assert.throws(
    () => open(options),
    (error) => {
      assert.ok(error instanceof SidecoreError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.match(error.remedy, remedy);
      assert.doesNotMatch(error.line, /\n.*\n/, 'at most one line, and what to do');
      return true;
    },
  );
}

afterEach(closeAll);

describe('a TAP device that is not there', { skip }, () => {
  it('is made as it was asked for, switched on, and goes away', () => {
    const address = Uint8Array.of(0x52, 0x54, 0, 0xab, 0xcd, 0xef);
    const tap = open({ device: 'tap0', address, mtu: 9000, uid: 65_534, gid: 0 });
    assert.equal(tap.made, true);
    assert.equal(tap.fds.length, 1);
    const { flags, mtu, address: text, linkinfo } = link('tap0')!;
    assert.ok(flags.includes('UP') && flags.includes('LOWER_UP'));
    assert.deepEqual([mtu, text, linkinfo!.info_kind], [9000, '52:54:00:ab:cd:ef', 'tun']);
    const { multi_queue, vnet_hdr, persist, user, group } = linkinfo!.info_data;
    assert.deepEqual([multi_queue, vnet_hdr, persist], [false, true, false]);
    assert.deepEqual([user, group], ['nobody', 'root']);
    closeAll();
    assert.equal(link('tap0'), undefined);
  });

  it('has as many queues as it shall', () => {
    const tap = open({ device: 'tap0', queues: 8 });
    assert.equal(tap.fds.length, 8);
    assert.equal(link('tap0')!.linkinfo!.info_data.multi_queue, true);
  });

  it('is put into a bridge', () => {
    ip('link', 'add', 'br0', 'type', 'bridge');
    try {
      open({ device: 'tap0', bridge: 'br0' });
      assert.equal(link('tap0')!.master, 'br0');
    } finally {
      ip('link', 'del', 'br0');
    }
  });

  it('passes frames with a header of twelve bytes before them, without waiting', () => {
    const [fd] = open({ device: 'tap0' }).fds;
    ip('address', 'add', '192.0.2.1/24', 'dev', 'tap0');
    const asked = Buffer.alloc(HEADER_BYTES + 42);
    // Who has 192.0.2.1? Tell 192.0.2.2, 02:00:00:00:00:02. RFC 826
    const arp = 'ffffffffffff 020000000002 0806 0001 0800 06 04 0001 020000000002 c0000202 000000000000 c0000201';
    Buffer.from(arp.replaceAll(' ', ''), 'hex').copy(asked, HEADER_BYTES);
    assert.equal(writeSync(fd!, asked), asked.length);
    const frame = Buffer.alloc(65_536);
    // The kernel also says of its own accord that it is there.
    for (;;) {
      const length = readSync(fd!, frame);
      if (frame.readUInt16BE(HEADER_BYTES + 12) !== 0x0806) continue;
      assert.equal(length, asked.length);
      assert.equal(frame.toString('hex', HEADER_BYTES, HEADER_BYTES + 6), '020000000002');
      assert.equal(frame.toString('hex', HEADER_BYTES + 20, HEADER_BYTES + 22), '0002', 'a reply');
      break;
    }
    assert.throws(
      () => {
        for (;;) readSync(fd!, frame);
      },
      { code: 'EAGAIN' },
    );
  });

  it('leaves checksums and segmentation to us', () => {
    const { offloads } = open({ device: 'tap0' });
    const tcp = TapOffload.CSUM | TapOffload.TSO4 | TapOffload.TSO6 | TapOffload.ECN;
    assert.equal(offloads & tcp, tcp);
    const uso = TapOffload.USO4 | TapOffload.USO6;
    assert.ok((offloads & uso) === uso || (offloads & uso) === 0);
  });
});

describe('a TAP device that is there', { skip }, () => {
  afterEach(() => {
    closeAll();
    if (link('tap0') !== undefined) ip('link', 'del', 'tap0');
  });

  it('is used as it is, and left behind', () => {
    ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'user', 'nobody');
    ip('link', 'set', 'tap0', 'mtu', '1400');
    const { address } = link('tap0')!;
    const tap = open({ device: 'tap0' });
    assert.equal(tap.made, false);
    closeAll();
    const after = link('tap0')!;
    assert.deepEqual([after.mtu, after.address, after.linkinfo!.info_data.user], [1400, address, 'nobody']);
    assert.equal(open({ device: 'tap0' }).made, false, 'and can be used again at once');
  });

  it('may have been made for several queues', () => {
    ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'multi_queue');
    assert.equal(open({ device: 'tap0' }).fds.length, 1);
    closeAll();
    assert.equal(open({ device: 'tap0', queues: 4 }).fds.length, 4);
  });

  it('and was made for one queue has no more', () => {
    ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap');
    refused('TAP_INVALID', /^tap0 was made for one queue$/, { device: 'tap0', queues: 2 });
  });

  for (const queues of [1, 2]) {
    it(`and has somebody at its ${queues === 1 ? 'queue' : 'queues'} is left to them`, () => {
      open({ device: 'tap0', queues });
      refused('TAP_BUSY', /^tap0 is used by another program$/, { device: 'tap0', queues: 1 });
      refused('TAP_BUSY', /^tap0 is used by another program$/, { device: 'tap0', queues: 2 });
    });
  }

  it('stays in its bridge, but is not taken out of another one', () => {
    ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap');
    ip('link', 'add', 'br0', 'type', 'bridge');
    ip('link', 'add', 'br1', 'type', 'bridge');
    try {
      ip('link', 'set', 'tap0', 'master', 'br0');
      open({ device: 'tap0', bridge: 'br0' });
      closeAll();
      refused('TAP_INVALID', /^tap0 cannot be put into br1: it is in br0$/, { device: 'tap0', bridge: 'br1' });
    } finally {
      ip('link', 'del', 'br0');
      ip('link', 'del', 'br1');
    }
  });
});

describe('a TAP device that cannot be', { skip }, () => {
  it('has the name of something else', () => {
    refused('TAP_NAME_TAKEN', /^lo is there already, and no TAP device$/, { device: 'lo' });
    refused('TAP_NAME_TAKEN', /^lo is there already, and no TAP device$/, { device: 'lo', queues: 2 });
    ip('tuntap', 'add', 'dev', 'tun0', 'mode', 'tun');
    refused('TAP_NAME_TAKEN', /^tun0 is there already, and no TAP device$/, { device: 'tun0' });
  });

  it('has an MTU or an address that no device has', () => {
    refused('TAP_INVALID', /^tap0 cannot have an MTU of 65522: Invalid argument$/, { device: 'tap0', mtu: 65_522 });
    const address = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
    refused('TAP_INVALID', /^tap0 cannot have the address 01:00:5e:00:00:01: /, { device: 'tap0', address });
    assert.equal(link('tap0'), undefined, 'and nothing is left behind');
  });

  it('goes into a bridge that is not there, or is none', () => {
    refused('BRIDGE_MISSING', /^tap0: there is no bridge br9$/, { device: 'tap0', bridge: 'br9' });
    refused('BRIDGE_MISSING', /^tap0: lo is no bridge$/, { device: 'tap0', bridge: 'lo' });
  });
});

describe('without rights', { skip }, () => {
  /** Runs with the rights of user and group 65534, as far as the kernel looks at them for the calls below. */
  function asNobody(action: () => void): void {
    process.setegid!(65_534);
    process.seteuid!(65_534);
    try {
      action();
    } finally {
      process.seteuid!(0);
      process.setegid!(0);
    }
  }

  it('a TAP device is not made', () => {
    // Distributions differ: some let everybody open it, since a device that is there may be one of theirs.
    const why = IS_OPEN
      ? /^tap0 is not there, and only root can make it$/
      : /^tap0: \/dev\/net\/tun may not be opened$/;
    asNobody(() => refused('TAP_PERMISSION', why, { device: 'tap0' }));
  });

  it('one of ours is used, and one of others is not', {
    skip: IS_OPEN ? false : `only root may open ${TUN_PATH}`,
  }, () => {
    ip('tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'user', 'nobody');
    ip('tuntap', 'add', 'dev', 'tap1', 'mode', 'tap', 'user', 'root');
    ip('link', 'set', 'tap0', 'up');
    asNobody(() => {
      assert.equal(open({ device: 'tap0', mtu: 1500 }).made, false);
      closeAll();
      const mtu = /^As root: `ip link set tap0 mtu 1400`\.$/;
      refused('TAP_PERMISSION', /^tap0 cannot have an MTU of 1400: not permitted$/, { device: 'tap0', mtu: 1400 }, mtu);
      refused('TAP_PERMISSION', /^tap1 belongs to somebody else$/, { device: 'tap1' });
    });
    ip('link', 'set', 'tap0', 'down');
    const up = /^As root: `ip link set tap0 up`\.$/;
    asNobody(() => refused('TAP_PERMISSION', /^tap0 cannot be switched on: not permitted$/, { device: 'tap0' }, up));
  });
});
