import { SECTOR_BYTES } from '../../../block/features.js';
import { assert, SidecoreError } from '../../../errors.js';
import { DISK_BYTES_MAX, LUKS_ITERATIONS_MAX, LUKS_PAYLOAD_SECTOR_MAX } from '../../../limits.js';

/** Where the fields of the header are, bytes; all numbers are big-endian. LUKS1 On-Disk Format 1.2.3, 3.1 */
const Header = {
  MAGIC: 0,
  VERSION: 6,
  CIPHER_NAME: 8,
  CIPHER_MODE: 40,
  HASH: 72,
  PAYLOAD_OFFSET: 104,
  KEY_BYTES: 108,
  DIGEST: 112,
  DIGEST_SALT: 132,
  DIGEST_ITERATIONS: 164,
  UUID: 168,
  SLOTS: 208,
} as const;

/** Fields of a key slot. The same, 3.2 */
const Slot = { STATE: 0, ITERATIONS: 4, SALT: 8, MATERIAL_OFFSET: 40, STRIPES: 44, BYTES: 48 } as const;

const MAGIC = Buffer.from('LUKS\xba\xbe', 'latin1');
const TEXT_BYTES = 32;
const UUID_BYTES = 40;
const SLOT_ACTIVE = 0x00ac71f3;
const SLOT_DISABLED = 0x0000dead;

/** Bytes of the header; key material follows. */
export const LUKS_HEADER_BYTES = 592;
export const LUKS_SLOTS = 8;
export const LUKS_SALT_BYTES = 32;
export const LUKS_DIGEST_BYTES = 20;
/** Stripes that the format lays down. */
export const LUKS_STRIPES = 4000;
/** Key slots begin at, and take up multiples of, so many sectors: as cryptsetup and QEMU have it. */
export const LUKS_ALIGN_SECTORS = 8;

export const LUKS_HASHES = ['sha1', 'sha256', 'sha512'] as const;
export type LuksHash = (typeof LUKS_HASHES)[number];

export interface LuksSlot {
  readonly active: boolean;
  readonly iterations: number;
  readonly salt: Buffer;
  /** First sector of its key material. */
  readonly sector: number;
}

/** A header whose fields have all been checked. */
export interface LuksHeader {
  readonly hash: LuksHash;
  /** First sector of the data. */
  readonly payloadSector: number;
  /** Bytes of the master key: 32 for AES-128-XTS, 64 for AES-256-XTS. */
  readonly keyBytes: 32 | 64;
  readonly digest: Buffer;
  readonly digestSalt: Buffer;
  readonly digestIterations: number;
  readonly uuid: string;
  readonly slots: readonly LuksSlot[];
}

/** Sectors that a slot's key material fills. */
export const materialSectors = (keyBytes: number): number => Math.ceil((keyBytes * LUKS_STRIPES) / SECTOR_BYTES);

const invalid = (what: string, remedy = '') => new SidecoreError('IMAGE_INVALID', `LUKS header: ${what}`, remedy);

/** Whether an image begins like one of LUKS, of whichever version. */
export const isLuks = (bytes: Uint8Array): boolean => MAGIC.equals(bytes.subarray(0, MAGIC.length));

/**
 * Reads and checks a header.
 * @param bytes the image's first `LUKS_HEADER_BYTES` or more
 * @param imageSectors sectors of the whole image: everything that the header names lies within
 * @throws SidecoreError IMAGE_INVALID: what is not as it has to be, or not supported
 */
export function parseLuks1(bytes: Buffer, imageSectors: number): LuksHeader {
  if (bytes.length < LUKS_HEADER_BYTES || !isLuks(bytes))
    throw new SidecoreError(
      'IMAGE_INVALID',
      'the image has no LUKS header',
      'Make one with `sidecore luks create`, or qemu-img.',
    );
  const version = bytes.readUInt16BE(Header.VERSION);
  if (version !== 1)
    throw invalid(`version ${version} is not supported`, 'LUKS1 is: `cryptsetup luksFormat --type luks1`.');
  const cipher = `${text(bytes, Header.CIPHER_NAME, TEXT_BYTES)}-${text(bytes, Header.CIPHER_MODE, TEXT_BYTES)}`;
  if (cipher !== 'aes-xts-plain64') throw invalid(`cipher ${cipher} is not supported`, 'aes-xts-plain64 is.');
  const keyBytes = bytes.readUInt32BE(Header.KEY_BYTES);
  if (keyBytes !== 32 && keyBytes !== 64)
    throw invalid(`a key of ${keyBytes} bytes is not supported`, 'AES-XTS takes 32 or 64.');
  const named = text(bytes, Header.HASH, TEXT_BYTES);
  const hash = LUKS_HASHES.find((name) => name === named);
  if (hash === undefined) throw invalid(`hash ${named} is not supported`, `These are: ${LUKS_HASHES.join(', ')}.`);
  const payloadSector = bytes.readUInt32BE(Header.PAYLOAD_OFFSET);
  if (payloadSector < LUKS_ALIGN_SECTORS || payloadSector > Math.min(imageSectors, LUKS_PAYLOAD_SECTOR_MAX))
    throw invalid(`the data cannot begin at sector ${payloadSector} of ${imageSectors}`);
  const header: LuksHeader = {
    hash,
    payloadSector,
    keyBytes,
    digest: cut(bytes, Header.DIGEST, LUKS_DIGEST_BYTES),
    digestSalt: cut(bytes, Header.DIGEST_SALT, LUKS_SALT_BYTES),
    digestIterations: bytes.readUInt32BE(Header.DIGEST_ITERATIONS),
    uuid: text(bytes, Header.UUID, UUID_BYTES),
    slots: Array.from({ length: LUKS_SLOTS }, (_, i) => parseSlot(bytes, i)),
  };
  checkSlots(header);
  return header;
}

function parseSlot(bytes: Buffer, index: number): LuksSlot {
  const at = Header.SLOTS + index * Slot.BYTES;
  const state = bytes.readUInt32BE(at + Slot.STATE);
  if (state !== SLOT_ACTIVE && state !== SLOT_DISABLED) throw invalid(`key slot ${index} is neither in use nor free`);
  const stripes = bytes.readUInt32BE(at + Slot.STRIPES);
  const active = state === SLOT_ACTIVE;
  if (active && stripes !== LUKS_STRIPES)
    throw invalid(`key slot ${index} has ${stripes} stripes, not ${LUKS_STRIPES}`);
  return {
    active,
    iterations: bytes.readUInt32BE(at + Slot.ITERATIONS),
    salt: cut(bytes, at + Slot.SALT, LUKS_SALT_BYTES),
    sector: bytes.readUInt32BE(at + Slot.MATERIAL_OFFSET),
  };
}

/** Slots in use lie between header and data, and apart; all the work to try them is bounded. */
function checkSlots({ slots, keyBytes, payloadSector, digestIterations }: LuksHeader): void {
  const sectors = materialSectors(keyBytes);
  const used = slots.map((slot, index) => ({ ...slot, index })).filter(({ active }) => active);
  if (used.length === 0) throw invalid('no key slot is in use, so no passphrase opens it');
  let iterations = 0;
  for (const slot of used) {
    if (slot.sector * SECTOR_BYTES < LUKS_HEADER_BYTES || slot.sector + sectors > payloadSector)
      throw invalid(`key slot ${slot.index} is not between header and data`);
    const other = used.find(({ index, sector }) => index < slot.index && Math.abs(sector - slot.sector) < sectors);
    if (other !== undefined) throw invalid(`key slots ${other.index} and ${slot.index} overlap`);
    if (slot.iterations < 1) throw invalid(`key slot ${slot.index} has no iterations`);
    iterations += slot.iterations + digestIterations;
  }
  if (digestIterations < 1) throw invalid('the digest has no iterations');
  if (iterations > LUKS_ITERATIONS_MAX)
    throw invalid(`${iterations} iterations to try its key slots are more than ${LUKS_ITERATIONS_MAX}`);
}

/** The header's bytes. Free slots get a place too: QEMU and cryptsetup want to know where they may put a further key. */
export function formatLuks1(header: LuksHeader): Buffer {
  assert(header.slots.length === LUKS_SLOTS, 'eight slots');
  assert(header.payloadSector * SECTOR_BYTES < DISK_BYTES_MAX, 'a place for the data');
  const bytes = Buffer.alloc(LUKS_HEADER_BYTES);
  MAGIC.copy(bytes, Header.MAGIC);
  bytes.writeUInt16BE(1, Header.VERSION);
  bytes.write('aes', Header.CIPHER_NAME, 'latin1');
  bytes.write('xts-plain64', Header.CIPHER_MODE, 'latin1');
  bytes.write(header.hash, Header.HASH, 'latin1');
  bytes.writeUInt32BE(header.payloadSector, Header.PAYLOAD_OFFSET);
  bytes.writeUInt32BE(header.keyBytes, Header.KEY_BYTES);
  header.digest.copy(bytes, Header.DIGEST, 0, LUKS_DIGEST_BYTES);
  header.digestSalt.copy(bytes, Header.DIGEST_SALT, 0, LUKS_SALT_BYTES);
  bytes.writeUInt32BE(header.digestIterations, Header.DIGEST_ITERATIONS);
  bytes.write(header.uuid.slice(0, UUID_BYTES - 1), Header.UUID, 'latin1');
  header.slots.forEach((slot, i) => {
    const at = Header.SLOTS + i * Slot.BYTES;
    bytes.writeUInt32BE(slot.active ? SLOT_ACTIVE : SLOT_DISABLED, at + Slot.STATE);
    bytes.writeUInt32BE(slot.iterations, at + Slot.ITERATIONS);
    slot.salt.copy(bytes, at + Slot.SALT, 0, LUKS_SALT_BYTES);
    bytes.writeUInt32BE(slot.sector, at + Slot.MATERIAL_OFFSET);
    bytes.writeUInt32BE(LUKS_STRIPES, at + Slot.STRIPES);
  });
  return bytes;
}

const cut = (bytes: Buffer, at: number, length: number) => Buffer.from(bytes.subarray(at, at + length));

/** A text up to its zero byte. Only what is printable: it comes to be shown. */
function text(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? length : end).replace(/[^\x20-\x7e]/g, '?');
}
