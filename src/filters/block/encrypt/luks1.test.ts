import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../../../test/support/seed.js';
import { SidecoreError } from '../../../errors.js';
import { LUKS_ITERATIONS_MAX } from '../../../limits.js';
import { formatLuks1, isLuks, LUKS_HEADER_BYTES, LUKS_STRIPES, type LuksHeader, parseLuks1 } from './luks1.js';
import { makeLuks1, openLuks1 } from './luks1-keys.js';
import { encryptSector, openXts, xtsArea } from './xts.js';

const folder = mkdtempSync(join(tmpdir(), 'sidecore-luks-'));
after(() => rmSync(folder, { recursive: true }));
const inFolder = (name: string) => join(folder, name);

const PASSPHRASE = Buffer.from('correct horse battery staple');
const keyFile = inFolder('key');
writeFileSync(keyFile, PASSPHRASE);

const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;
const noQemu = has('qemu-img') ? false : 'there is no qemu-img';
const noCryptsetup = has('cryptsetup') ? false : 'there is no cryptsetup';

function run(tool: string, ...args: string[]): string {
  let { status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  // QEMU 7.2 gives up on its calibration if the kernel's account of CPU time has not moved yet.
  for (let i = 0; i < 50 && /Unable to get accurate CPU usage/.test(stderr); i++)
    ({ status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' }));
  assert.equal(status, 0, `${tool} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const secret = ['--object', `secret,id=s,file=${keyFile}`];
const luks = (path: string) => `driver=luks,key-secret=s,file.filename=${path}`;
const code = (expected: string, message: RegExp) => (error: unknown) =>
  error instanceof SidecoreError && error.code === expected && message.test(error.message);

/** Has the master key of an image's file. */
function open(path: string, passphrase: Buffer = PASSPHRASE) {
  const bytes = readFileSync(path);
  const header = parseLuks1(bytes, bytes.length / 512);
  const read = (offset: number, length: number) => Buffer.from(bytes.subarray(offset, offset + length));
  return { header, bytes, ...openLuks1(header, read, [passphrase]) };
}

/** What is in an image, by us. */
function decrypt(path: string): Buffer {
  const { header, bytes, key } = open(path);
  const data = bytes.subarray(header.payloadSector * 512);
  const area = xtsArea(Buffer.from(new SharedArrayBuffer(data.length)));
  area.bytes.set(data);
  const xts = openXts(key);
  xts.decrypt(area, 0, data.length / 512, 0);
  xts.close();
  return Buffer.from(area.bytes);
}

/** Writes an image of ours with these data. */
function write(path: string, plain: Uint8Array, making: Parameters<typeof makeLuks1>[0]): LuksHeader {
  const { header, bytes } = makeLuks1({ iterations: 1000, ...making });
  writeFileSync(path, bytes);
  const { key } = open(path, making.passphrase);
  const sectors = Array.from({ length: plain.length / 512 }, (_, i) =>
    encryptSector(key, i, plain.subarray(i * 512, i * 512 + 512)),
  );
  writeFileSync(path, Buffer.concat([bytes, ...sectors]));
  return header;
}

const plain = randomBytes(2 ** 20);
const plainFile = inFolder('plain');
writeFileSync(plainFile, plain);

describe('LUKS1 and QEMU', { skip: noQemu }, () => {
  for (const hash of ['sha1', 'sha256', 'sha512'] as const) {
    for (const [keyBytes, algorithm] of [
      [64, 'aes-256'],
      [32, 'aes-128'],
    ] as const) {
      it(`opens what qemu-img makes, and qemu-img opens ours: ${algorithm}, ${hash}`, () => {
        const theirs = inFolder('theirs');
        const options = `key-secret=s,iter-time=10,hash-alg=${hash},cipher-alg=${algorithm},cipher-mode=xts,ivgen-alg=plain64`;
        run('qemu-img', 'convert', ...secret, '-O', 'luks', '-o', options, '-f', 'raw', plainFile, theirs);
        const { header } = open(theirs);
        assert.deepEqual([header.hash, header.keyBytes], [hash, keyBytes]);
        assert.ok(decrypt(theirs).equals(plain));

        const ours = inFolder('ours');
        const back = inFolder('back');
        const made = write(ours, plain, { passphrase: PASSPHRASE, hash, keyBytes });
        run('qemu-img', 'convert', ...secret, '--image-opts', luks(ours), '-O', 'raw', back);
        assert.ok(readFileSync(back).equals(plain));
        assert.equal(made.payloadSector, header.payloadSector, 'where QEMU has it');
        const info = JSON.parse(run('qemu-img', 'info', ...secret, '--output=json', '--image-opts', luks(ours)));
        const { data } = info['format-specific'];
        assert.deepEqual([data.uuid, data['payload-offset']], [made.uuid, made.payloadSector * 512]);
      });
    }
  }

  it('opens by a passphrase that QEMU added in another slot, and no longer by one that it erased', () => {
    const ours = inFolder('amended');
    write(ours, plain, { passphrase: PASSPHRASE });
    const second = inFolder('second');
    writeFileSync(second, 'another');
    const both = [...secret, '--object', `secret,id=t,file=${second}`, '--image-opts', luks(ours)];
    run('qemu-img', 'amend', ...both, '-o', 'state=active,new-secret=t,iter-time=10');
    assert.equal(open(ours, Buffer.from('another')).slot, 1);
    run('qemu-img', 'amend', ...both, '-o', 'state=inactive,old-secret=s,keyslot=0', '--force');
    assert.equal(open(ours, Buffer.from('another')).slot, 1);
    assert.throws(() => open(ours), code('KEY_INVALID', /opens none of the key slots in use \(1\)/));
  });
});

describe('LUKS1 and cryptsetup', { skip: noCryptsetup }, () => {
  for (const hash of ['sha1', 'sha256', 'sha512']) {
    it(`opens what cryptsetup makes: ${hash}`, () => {
      const path = inFolder('cryptsetup');
      writeFileSync(path, '');
      truncateSync(path, 2 ** 23);
      const format = ['-q', '--type', 'luks1', '--hash', hash, '--pbkdf-force-iterations', '1000', '--key-size', '512'];
      run('cryptsetup', 'luksFormat', ...format, '--cipher', 'aes-xts-plain64', path, keyFile);
      const master = inFolder('master');
      rmSync(master, { force: true });
      run('cryptsetup', 'luksDump', '-q', '--dump-master-key', '--master-key-file', master, '-d', keyFile, path);
      assert.deepEqual(open(path).key, readFileSync(master));
    });
  }

  it('cryptsetup opens ours', () => {
    const path = inFolder('for-cryptsetup');
    write(path, plain, { passphrase: PASSPHRASE });
    run('cryptsetup', 'luksOpen', '--test-passphrase', '-d', keyFile, path);
    assert.equal(run('cryptsetup', 'luksUUID', path).trim(), open(path).header.uuid);
  });
});

describe('a LUKS1 header', () => {
  const { header, bytes } = makeLuks1({ passphrase: PASSPHRASE, iterations: 1000 });
  const imageSectors = header.payloadSector + 8;
  const changed = (change: (bytes: Buffer) => void) => {
    const copy = Buffer.from(bytes.subarray(0, LUKS_HEADER_BYTES));
    change(copy);
    return () => parseLuks1(copy, imageSectors);
  };

  it('is read as it was made', () => {
    assert.deepEqual(parseLuks1(bytes, imageSectors), header);
    assert.deepEqual(formatLuks1(parseLuks1(bytes, imageSectors)), bytes.subarray(0, LUKS_HEADER_BYTES));
    assert.ok(isLuks(bytes) && !isLuks(Buffer.alloc(592)));
  });

  it('says what is not supported', () => {
    for (const [change, message] of [
      [(b: Buffer) => b.fill(0, 0, 6), /has no LUKS header/],
      [(b: Buffer) => b.writeUInt16BE(2, 6), /version 2 is not supported/],
      [(b: Buffer) => b.write('serpent\0', 8), /cipher serpent-xts-plain64 is not supported/],
      [(b: Buffer) => b.write('cbc-essiv:sha256\0', 40), /cipher aes-cbc-essiv:sha256 is not/],
      [(b: Buffer) => b.write('a\x1b[2J\n\0', 40), /cipher aes-a\?\[2J\? is not/],
      [(b: Buffer) => b.fill('x', 72, 104), /hash x{32} is not supported/],
      [(b: Buffer) => b.writeUInt32BE(48, 108), /48 bytes is not supported/],
    ] as const)
      assert.throws(changed(change), code('IMAGE_INVALID', message));
  });

  it('is refused if it is hostile', () => {
    const slot = (index: number, field: number) => 208 + index * 48 + field;
    const activate = (b: Buffer, index: number, sector: number) => {
      b.copy(b, slot(index, 0), slot(0, 0), slot(1, 0));
      b.writeUInt32BE(sector, slot(index, 40));
    };
    for (const [change, message] of [
      [(b: Buffer) => b.writeUInt32BE(imageSectors + 1, 104), /data cannot begin at sector 4049 of 4048/],
      [(b: Buffer) => b.writeUInt32BE(0, 104), /data cannot begin at sector 0/],
      [(b: Buffer) => b.writeUInt32BE(0, 164), /digest has no iterations/],
      [(b: Buffer) => b.writeUInt32BE(0, slot(0, 4)), /slot 0 has no iterations/],
      [(b: Buffer) => b.writeUInt32BE(2 ** 32 - 1, 164), /iterations to try its key slots are more than/],
      [(b: Buffer) => b.writeUInt32BE(LUKS_ITERATIONS_MAX, slot(0, 4)), /more than/],
      [(b: Buffer) => b.writeUInt32BE(1, slot(0, 40)), /slot 0 is not between header and data/],
      [(b: Buffer) => b.writeUInt32BE(2 ** 32 - 1, slot(0, 40)), /slot 0 is not between header and data/],
      [(b: Buffer) => b.writeUInt32BE(2 ** 32 - 1, slot(0, 44)), /4294967295 stripes, not 4000/],
      [(b: Buffer) => b.writeUInt32BE(7, slot(5, 0)), /slot 5 is neither/],
      [(b: Buffer) => b.writeUInt32BE(0xdead, slot(0, 0)), /no key slot is in use/],
      [(b: Buffer) => activate(b, 3, header.slots[0]!.sector + 499), /slots 0 and 3 overlap/],
    ] as const)
      assert.throws(changed(change), code('IMAGE_INVALID', message));
    assert.throws(() => parseLuks1(bytes.subarray(0, 591), imageSectors), code('IMAGE_INVALID', /has no LUKS header/));
  });

  it('gives one clear error, or a header within bounds, whatever bytes it has', () => {
    const edit = fc.tuple(fc.nat(LUKS_HEADER_BYTES - 4), fc.nat(2 ** 32 - 1));
    check(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let read: LuksHeader;
        try {
          read = changed((b) => edits.forEach(([at, word]) => void b.writeUInt32BE(word, at)))();
        } catch (error) {
          assert.ok(code('IMAGE_INVALID', /LUKS header/)(error), String(error));
          return;
        }
        const used = read.slots.filter(({ active }) => active);
        assert.ok(used.length > 0 && read.payloadSector <= imageSectors);
        for (const { sector, iterations } of used) {
          assert.ok(sector >= 2 && sector + (read.keyBytes * LUKS_STRIPES) / 512 <= read.payloadSector);
          assert.ok(iterations > 0 && iterations + read.digestIterations <= LUKS_ITERATIONS_MAX);
        }
      }),
      2000,
    );
  });

  it('keeps the master key to itself: what of it is on disk is not the key, and each image has another', () => {
    const read = (image: Buffer) => (offset: number, length: number) =>
      Buffer.from(image.subarray(offset, offset + length));
    const { key } = openLuks1(header, read(bytes), [PASSPHRASE]);
    assert.equal(bytes.indexOf(key.subarray(0, 16)), -1);
    const other = makeLuks1({ passphrase: PASSPHRASE, iterations: 1000 });
    assert.notDeepEqual(openLuks1(other.header, read(other.bytes), [PASSPHRASE]).key, key);
    assert.throws(
      () => openLuks1(header, read(bytes), [Buffer.from('wrong'), Buffer.from('false')]),
      code('KEY_INVALID', /opens none/),
    );
  });

  it('makes as many iterations as take the time asked for', () => {
    const { header: quick } = makeLuks1({ passphrase: PASSPHRASE, openMs: 0 });
    assert.deepEqual([quick.slots[0]!.iterations, quick.digestIterations], [1000, 1000]);
    const { header: longer } = makeLuks1({ passphrase: PASSPHRASE, openMs: 100 });
    assert.ok(longer.slots[0]!.iterations > 1000);
    assert.throws(() => makeLuks1({ passphrase: Buffer.alloc(0) }), code('KEY_INVALID', /1 to/));
  });
});
