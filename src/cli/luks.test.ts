import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { repositoryRoot, scratchDirectory } from '../../test/support/daemon.js';

const MAIN = join(repositoryRoot, 'dist/src/cli/main.js');
const noQemu = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'there is no qemu-img';

function sidecore(env: NodeJS.ProcessEnv, ...args: string[]) {
  const options = { encoding: 'utf8', env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'luks', ...args], options);
  return { status, stdout, stderr };
}

describe('sidecore luks', () => {
  it('makes an image that only its owner reads, shows it, and says which slot a key opens', {
    skip: noQemu,
  }, (test) => {
    const folder = scratchDirectory(test);
    const image = join(folder, 'image');
    const key = join(folder, 'key');
    writeFileSync(key, 'secret', { mode: 0o600 });
    const made = sidecore({}, 'create', image, '--size', '3MiB', '--key-file', key, '--open-ms', '1', '--json');
    assert.equal(made.status, 0, made.stderr);
    assert.equal(made.stderr, '');
    const { uuid, key_slots, ...others } = JSON.parse(made.stdout);
    assert.deepEqual(others, {
      image,
      cipher: 'aes-256-xts-plain64',
      hash: 'sha256',
      size_bytes: 3 * 2 ** 20,
      data_offset: 4040 * 512,
    });
    assert.deepEqual([statSync(image).mode & 0o777, statSync(image).size], [0o600, 4040 * 512 + 3 * 2 ** 20]);
    const shown = sidecore({ LUKS_KEY: 'secret' }, 'info', image, '--key-env', 'LUKS_KEY', '--json');
    assert.deepEqual(JSON.parse(shown.stdout), { ...JSON.parse(made.stdout), key_slot: 0 });
    const text = sidecore({}, 'info', image).stdout;
    assert.match(
      text,
      new RegExp(`LUKS1, aes-256-xts-plain64, sha256, ${uuid}\n  disk: 3 MiB, behind 2.0 MiB of header`),
    );
    assert.equal(key_slots.length, 1);
    const secret = ['--object', `secret,id=s,file=${key}`];
    const info = spawnSync(
      'qemu-img',
      ['info', ...secret, '--output=json', '--image-opts', `driver=luks,key-secret=s,file.filename=${image}`],
      { encoding: 'utf8' },
    );
    assert.equal(JSON.parse(info.stdout)['virtual-size'], 3 * 2 ** 20);
  });

  it('takes a key as it is, and a line break at its end for none if that is what opens', (test) => {
    const folder = scratchDirectory(test);
    const image = join(folder, 'image');
    const written = (text: string) => {
      const path = join(folder, `key-${text.length}`);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const create = (path: string, key: string) =>
      sidecore({}, 'create', path, '--size', '1MiB', '--key-file', written(key), '--open-ms', '1').status;
    const opens = (path: string, key: string) => sidecore({}, 'info', path, '--key-file', written(key)).status === 0;
    assert.equal(create(image, 'word'), 0);
    assert.deepEqual(
      ['word', 'word\n', 'word\n\n', 'wor'].map((key) => opens(image, key)),
      [true, true, false, false],
    );
    const withBreak = join(folder, 'with-break');
    assert.equal(create(withBreak, 'word\n'), 0);
    assert.deepEqual(
      ['word', 'word\n', 'word\n\n'].map((key) => opens(withBreak, key)),
      [false, true, true],
    );
  });

  it('warns of a key that QEMU cannot take, and of no other', { skip: noQemu }, (test) => {
    const folder = scratchDirectory(test);
    for (const [name, key, isText] of [
      ['bytes', Buffer.from([0xff, 0xfe, 1, 2]), false],
      ['text', Buffer.from(Buffer.from([0xff, 0xfe, 1, 2]).toString('base64')), true],
    ] as const) {
      const [image, file] = [join(folder, name), join(folder, `${name}.key`)];
      writeFileSync(file, key, { mode: 0o600 });
      const made = sidecore({}, 'create', image, '--size', '1MiB', '--key-file', file, '--open-ms', '1');
      assert.equal(made.status, 0, made.stderr);
      assert.equal(/the key is not valid UTF-8.*\| base64 > FILE/.test(made.stderr), !isText, made.stderr);
      const secret = ['--object', `secret,id=s,file=${file}`];
      const options = ['--image-opts', `driver=luks,key-secret=s,file.filename=${image}`];
      // What we say of QEMU is so.
      const { status } = spawnSync('qemu-io', [...secret, ...options, '-c', 'read 0 512']);
      assert.equal(status === 0, isText);
    }
  });

  it('says what is wrong, leaves what is there alone, and never says the key', (test) => {
    const folder = scratchDirectory(test);
    const image = join(folder, 'image');
    const key = join(folder, 'key');
    writeFileSync(key, 'very-secret', { mode: 0o644 });
    const create = (...args: string[]) => sidecore({}, 'create', image, '--size', '1MiB', '--open-ms', '1', ...args);
    const without = create();
    assert.equal(without.status, 2);
    assert.match(without.stderr, /an image needs a key: name '--key-file <file>' or '--key-env <name>'/);
    for (const [result, message] of [
      [create('--key-file', join(folder, 'none')), /the key file .*none cannot be read \(ENOENT\) \[KEY_INVALID\]/],
      [create('--key-env', 'NO_SUCH'), /there is no environment variable NO_SUCH with the key \[KEY_INVALID\]/],
      [sidecore({ EMPTY: '' }, 'info', image), /does not exist \[IMAGE_MISSING\]/],
    ] as const) {
      assert.equal(result.status, 1);
      assert.match(result.stderr, message);
    }
    assert.ok(!existsSync(image));
    const made = create('--key-file', key);
    assert.equal(made.status, 0);
    assert.match(made.stderr, /key: the key can be read by others than its owner \(chmod 600\)/);
    const before = readFileSync(image);
    const again = create('--key-file', key);
    assert.match(again.stderr, /is there already \[IMAGE_INVALID\]/);
    assert.ok(readFileSync(image).equals(before));
    const wrong = sidecore({ OTHER: 'not-it' }, 'info', image, '--key-env', 'OTHER');
    assert.match(wrong.stderr, /image: the passphrase opens none of the key slots in use \(0\) \[KEY_INVALID\]/);
    truncateSync(image, 100_000);
    const short = sidecore({}, 'info', image, '--key-file', key);
    assert.match(short.stderr, /LUKS header: the data cannot begin at sector 4040 of 195 \[IMAGE_INVALID\]/);
    for (const { stdout, stderr } of [made, again, wrong, short])
      assert.doesNotMatch(stdout + stderr, /very-secret|not-it/);
  });
});
