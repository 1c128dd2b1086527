import { isUtf8 } from 'node:buffer';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { bytesOf } from '../block/backends/file/probe.js';
import { SECTOR_BYTES } from '../block/features.js';
import { readSize } from '../daemon/config.js';
import { messageOf, SidecoreError } from '../errors.js';
import { type KeySource, readPassphrase } from '../filters/block/encrypt/key.js';
import { LUKS_HASHES, type LuksHash, type LuksHeader } from '../filters/block/encrypt/luks1.js';
import { makeLuks1 } from '../filters/block/encrypt/luks1-keys.js';
import { type ImageReader, openImage, readHeader } from '../filters/block/encrypt/open-image.js';
import { sizeText } from './table.js';

interface KeyOptions {
  readonly keyFile?: string;
  readonly keyEnv?: string;
}

interface CreateOptions extends KeyOptions {
  readonly size: number;
  readonly hash: LuksHash;
  readonly openMs: number;
  readonly json?: boolean;
}

/** Only the owner may read an image; what is in it is encrypted, but not which of its sectors were written. */
const IMAGE_MODE = 0o600;

/** QEMU's `secret` objects are text. */
const NOT_UTF8 =
  'the key is not valid UTF-8: sidecore and cryptsetup open this image, qemu-img and QEMU refuse the key. ' +
  'For an image that they open too, take a key of text: head -c 32 /dev/urandom | base64 > FILE';

const keyFile = () => new Option('--key-file <file>', 'the passphrase: all bytes of the file');
const keyEnv = () =>
  new Option('--key-env <name>', 'the passphrase, from an environment variable').conflicts('keyFile');

const createCommand = new Command('create')
  .description('Make an empty encrypted image, a new file.')
  .argument('<image>', 'its path')
  .requiredOption('--size <size>', 'of the disk, without the header: "20GiB", "512MiB" or bytes', sizeOption)
  .addOption(keyFile())
  .addOption(keyEnv())
  .addOption(new Option('--hash <name>', 'for keys').choices(LUKS_HASHES).default('sha256'))
  .option('--open-ms <ms>', 'time that trying a passphrase shall take, ms', milliseconds, 2000)
  .option('--json', 'answer in JSON')
  .action((image: string, options: CreateOptions, command: Command) => {
    const warn = (text: string) => void process.stderr.write(`sidecore: ${text}\n`);
    const passphrase = readPassphrase(requiredKey(command, options), process.cwd(), warn);
    if (!isUtf8(passphrase)) warn(NOT_UTF8);
    const { header, bytes } = makeLuks1({ passphrase, hash: options.hash, openMs: options.openMs });
    passphrase.fill(0);
    writeImage(image, bytes, options.size);
    show(image, header, options.size, undefined, options.json);
  });

const infoCommand = new Command('info')
  .description('Show the header of an encrypted image. With a key, which key slot it opens.')
  .argument('<image>', 'its path')
  .addOption(keyFile())
  .addOption(keyEnv())
  .option('--json', 'answer in JSON')
  .action((image: string, options: KeyOptions & { json?: boolean }) => {
    const fd = open(image, 'r');
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile() && !stats.isBlockDevice())
        throw new SidecoreError('IMAGE_INVALID', 'it is neither a file nor a block device', 'Name an image.');
      const reader: ImageReader = { read: (offset, target) => void readSync(fd, target, 0, target.length, offset) };
      const size = bytesOf(stats);
      const header = readHeader(reader, size);
      const source = keySource(options);
      const isAsked = source.key_file !== undefined || source.key_env !== undefined;
      const slot = isAsked ? openImage(reader, header, readPassphrase(source, process.cwd())).slot : undefined;
      show(image, header, size - header.payloadSector * SECTOR_BYTES, slot, options.json);
    } catch (error) {
      throw error instanceof SidecoreError ? about(image, error) : error;
    } finally {
      closeSync(fd);
    }
  });

export const luksCommand = new Command('luks')
  .description('Make and show images for the filter `encrypt`: LUKS1, as qemu-img and cryptsetup have them.')
  .addCommand(createCommand)
  .addCommand(infoCommand);

/** Ends the command, as if it was called wrongly, if no key is named. */
function requiredKey(command: Command, options: KeyOptions): KeySource {
  if (options.keyFile === undefined && options.keyEnv === undefined)
    command.error("error: an image needs a key: name '--key-file <file>' or '--key-env <name>'");
  return keySource(options);
}

const keySource = ({ keyFile, keyEnv }: KeyOptions): KeySource => ({ key_file: keyFile, key_env: keyEnv });

const about = (image: string, { code, message, remedy }: SidecoreError) =>
  new SidecoreError(code, `${image}: ${message}`, remedy);

function open(path: string, flags: string): number {
  try {
    return openSync(path, flags, IMAGE_MODE);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new SidecoreError(
        'IMAGE_INVALID',
        `${path} is there already`,
        'An image is only made where there is none.',
      );
    if (code !== 'ENOENT' && code !== 'ENOTDIR')
      throw new SidecoreError('IMAGE_PERMISSION', `${path} cannot be opened (${code})`);
    const folder = dirname(path);
    if (existsSync(folder)) throw new SidecoreError('IMAGE_MISSING', `${path} does not exist`, 'Check the path.');
    const text = `${path} cannot be: folder ${folder} does not exist`;
    throw new SidecoreError('IMAGE_MISSING', text, 'Make the folder, or correct the path.');
  }
}

/** Writes the header, and leaves the data as a hole. Leaves no file behind if that fails. */
function writeImage(path: string, header: Buffer, sizeBytes: number): void {
  const fd = open(path, 'wx');
  try {
    for (let at = 0; at < header.length; ) at += writeSync(fd, header, at);
    ftruncateSync(fd, header.length + sizeBytes);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path);
    throw new SidecoreError('SYSTEM_CALL_FAILED', `${path}: ${messageOf(error)}`);
  } finally {
    closeSync(fd);
  }
}

function show(image: string, header: LuksHeader, sizeBytes: number, opens: number | undefined, json = false): void {
  const { uuid, hash, keyBytes, payloadSector, slots } = header;
  const used = slots.flatMap(({ active, iterations }, slot) => (active ? [{ slot, iterations }] : []));
  const cipher = `aes-${keyBytes * 4}-xts-plain64`;
  const data_offset = payloadSector * SECTOR_BYTES;
  if (json) {
    const opened = opens === undefined ? {} : { key_slot: opens };
    const answer = { image: resolve(image), uuid, cipher, hash, size_bytes: sizeBytes, data_offset, key_slots: used };
    process.stdout.write(`${JSON.stringify({ ...answer, ...opened })}\n`);
    return;
  }
  const lines = [
    `${image}: LUKS1, ${cipher}, ${hash}, ${uuid}`,
    `  disk: ${sizeText(sizeBytes)}, behind ${sizeText(data_offset)} of header and keys`,
    ...used.map(
      ({ slot, iterations }) =>
        `  key slot ${slot}: ${iterations} iterations${slot === opens ? ', opened by the key' : ''}`,
    ),
    ...(used.length === 0 ? ['  no key slot is in use: nothing opens it'] : []),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function sizeOption(text: string): number {
  const { bytes, fault } = readSize(text);
  if (fault !== undefined) throw new InvalidArgumentError(fault);
  if (bytes % SECTOR_BYTES !== 0) throw new InvalidArgumentError(`It is no multiple of ${SECTOR_BYTES} bytes.`);
  return bytes;
}

function milliseconds(text: string): number {
  const ms = Number(text);
  if (!(ms >= 0 && ms <= 60_000)) throw new InvalidArgumentError('Write ms, from 0 to 60000.');
  return ms;
}
