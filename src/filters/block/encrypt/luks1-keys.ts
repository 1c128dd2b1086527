import { pbkdf2Sync, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { SECTOR_BYTES } from '../../../block/features.js';
import { SidecoreError } from '../../../errors.js';
import { LUKS_ITERATIONS_MAX, LUKS_PASSPHRASE_BYTES_MAX } from '../../../limits.js';
import { afMerge, afSplit } from './af-splitter.js';
import {
  formatLuks1,
  LUKS_ALIGN_SECTORS,
  LUKS_DIGEST_BYTES,
  LUKS_SALT_BYTES,
  LUKS_SLOTS,
  LUKS_STRIPES,
  type LuksHash,
  type LuksHeader,
  type LuksSlot,
  materialSectors,
} from './luks1.js';
import { openXts, xtsArea } from './xts.js';

/** Gives bytes of the image, from a byte offset on. */
export type ReadImage = (offset: number, bytes: number) => Buffer;

/** As few iterations as QEMU and cryptsetup make, whatever the time: RFC 2898 4.2 */
const ITERATIONS_MIN = 1000;
/** Iterations in one run of a calibration at first. It doubles until a run takes long enough to tell. */
const CALIBRATION_ITERATIONS = 2 ** 15;
const CALIBRATION_MS_MIN = 20;

/** A master key, which slot has it, and how long that took, ms. */
export interface OpenedLuks {
  readonly key: Buffer;
  readonly slot: number;
  readonly ms: number;
}

/**
 * Has the master key from whichever key slot in use one of the passphrases opens. It takes as long as the iterations of these slots ask for:
 * on the main thread, when the disk is opened.
 * @throws SidecoreError KEY_INVALID if no slot is opened by it
 */
export function openLuks1(header: LuksHeader, read: ReadImage, passphrases: readonly Buffer[]): OpenedLuks {
  const used = header.slots.filter(({ active }) => active);
  const places = used.map((slot) => header.slots.indexOf(slot)).join(', ');
  const started = performance.now();
  for (const passphrase of passphrases) {
    for (const slot of used) {
      const candidate = keyOfSlot(header, slot, read, passphrase);
      if (!timingSafeEqual(digestOf(header, candidate), header.digest)) {
        candidate.fill(0);
        continue;
      }
      const index = header.slots.indexOf(slot);
      return { key: candidate, slot: index, ms: Math.round(performance.now() - started) };
    }
  }
  throw new SidecoreError('KEY_INVALID', `the passphrase opens none of the key slots in use (${places || 'none'})`);
}

function keyOfSlot({ hash, keyBytes }: LuksHeader, slot: LuksSlot, read: ReadImage, passphrase: Buffer): Buffer {
  const material = sectorsOf(read(slot.sector * SECTOR_BYTES, materialSectors(keyBytes) * SECTOR_BYTES));
  const key = pbkdf2Sync(passphrase, slot.salt, slot.iterations, keyBytes, hash);
  inSectors(key, (xts) => xts.decrypt(xtsArea(material), 0, material.length / SECTOR_BYTES, 0));
  const candidate = afMerge(material.subarray(0, keyBytes * LUKS_STRIPES), keyBytes, LUKS_STRIPES, hash);
  material.fill(0);
  key.fill(0);
  return candidate;
}

const digestOf = (header: Pick<LuksHeader, 'hash' | 'digestSalt' | 'digestIterations'>, key: Buffer) =>
  pbkdf2Sync(key, header.digestSalt, header.digestIterations, LUKS_DIGEST_BYTES, header.hash);

/** Memory that stays where it is. */
function sectorsOf(bytes: Uint8Array): Buffer {
  const whole = Buffer.from(new SharedArrayBuffer(Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES));
  whole.set(bytes);
  return whole;
}

function inSectors(key: Buffer, run: (xts: ReturnType<typeof openXts>) => void): void {
  const xts = openXts(key);
  try {
    run(xts);
  } finally {
    xts.close();
  }
}

export interface LuksMaking {
  readonly passphrase: Buffer;
  readonly hash?: LuksHash;
  /** Bytes of the master key: 64 for AES-256-XTS, or 32. */
  readonly keyBytes?: 32 | 64;
  /** How long it shall take to open it on a machine like this one, ms. Or how many iterations, for tests. */
  readonly openMs?: number;
  readonly iterations?: number;
}

/**
 * Makes a header with a new master key in its first slot, and everything up to the data: `bytes` is written to the image's
 * beginning, and the data follow at `header.payloadSector`. Slots and data lie where QEMU puts them.
 */
export function makeLuks1(making: LuksMaking): { readonly header: LuksHeader; readonly bytes: Buffer } {
  const { passphrase, hash = 'sha256', keyBytes = 64, openMs = 2000 } = making;
  if (passphrase.length === 0 || passphrase.length > LUKS_PASSPHRASE_BYTES_MAX)
    throw new SidecoreError('KEY_INVALID', `a passphrase has 1 to ${LUKS_PASSPHRASE_BYTES_MAX} bytes`);
  const iterations = making.iterations ?? iterationsIn(openMs, hash, keyBytes);
  const slotSectors = Math.ceil(materialSectors(keyBytes) / LUKS_ALIGN_SECTORS) * LUKS_ALIGN_SECTORS;
  const master = randomBytes(keyBytes);
  const digestSalt = randomBytes(LUKS_SALT_BYTES);
  // An eighth: the digest of 20 bytes is one of the four or so blocks of a key. As QEMU has it.
  const digestIterations = Math.max(ITERATIONS_MIN, Math.floor(iterations / 8));
  const header: LuksHeader = {
    hash,
    payloadSector: LUKS_ALIGN_SECTORS + LUKS_SLOTS * slotSectors,
    keyBytes,
    digest: digestOf({ hash, digestSalt, digestIterations }, master),
    digestSalt,
    digestIterations,
    uuid: randomUUID(),
    slots: Array.from({ length: LUKS_SLOTS }, (_, i) => ({
      active: i === 0,
      iterations: i === 0 ? iterations : 0,
      salt: i === 0 ? randomBytes(LUKS_SALT_BYTES) : Buffer.alloc(LUKS_SALT_BYTES),
      sector: LUKS_ALIGN_SECTORS + i * slotSectors,
    })),
  };
  const bytes = Buffer.alloc(header.payloadSector * SECTOR_BYTES);
  formatLuks1(header).copy(bytes);
  const [slot] = header.slots as [LuksSlot];
  const material = sectorsOf(afSplit(master, LUKS_STRIPES, hash));
  const key = pbkdf2Sync(passphrase, slot.salt, iterations, keyBytes, hash);
  inSectors(key, (xts) => xts.encrypt(xtsArea(material), 0, material.length / SECTOR_BYTES, 0));
  material.copy(bytes, slot.sector * SECTOR_BYTES);
  key.fill(0);
  master.fill(0);
  return { header, bytes };
}

/** Iterations of PBKDF2 that take so long here. */
function iterationsIn(ms: number, hash: string, keyBytes: number): number {
  for (let iterations = CALIBRATION_ITERATIONS; ; iterations *= 2) {
    const started = performance.now();
    pbkdf2Sync('calibration', 'salt', iterations, keyBytes, hash);
    const took = performance.now() - started;
    if (took < CALIBRATION_MS_MIN) continue;
    const wanted = Math.floor((iterations * ms) / took);
    // All eight slots may come to be used.
    return Math.min(Math.max(wanted, ITERATIONS_MIN), Math.floor(LUKS_ITERATIONS_MAX / (2 * LUKS_SLOTS)));
  }
}
