import { createCipheriv, createDecipheriv } from 'node:crypto';
import { SECTOR_BYTES } from '../../../block/features.js';
import { assert, SidecoreError } from '../../../errors.js';
import { viewWords32 } from '../../../host/memory-view.js';
import { addressOf, type OpenSsl, openSsl } from '../../../host/openssl.js';

/** Bytes of a tweak: one block of AES. IEEE 1619-2007, 5.1 */
const TWEAK_BYTES = 16;
const TWO_TO_32 = 2 ** 32;

/** How the sectors of a stretch of memory are reached: made once, for a buffer that is used again and again. */
export interface XtsArea {
  readonly bytes: Buffer;
  /**
   * Address of each sector. No array of doubles: the numbers in it are objects, so a call by one of them makes none. That
   * is what its first element is for, which is no number.
   */
  readonly addresses: readonly (number | undefined)[];
}

/** Looks at whole sectors from the beginning of `bytes`, whose memory stays where it is: shared or mapped. */
export function xtsArea(bytes: Buffer, base = addressOf(bytes)): XtsArea {
  const addresses: (number | undefined)[] = [undefined];
  for (let at = 0; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) addresses.push(base + at);
  return { bytes, addresses };
}

/**
 * AES-XTS of whole sectors of 512 bytes, in place. The tweak of each is its number, 64 bits little-endian, then zeros: what
 * dm-crypt calls `plain64`. Fast ways keep what they need: nothing is allocated per call.
 */
export interface Xts {
  /** Which way it goes, for the log. */
  readonly way: string;
  /** Sectors `[first, first + count)` of an area, of which the first is sector number `sector`, below 2^53. */
  encrypt(area: XtsArea, first: number, count: number, sector: number): void;
  decrypt(area: XtsArea, first: number, count: number, sector: number): void;
  /** Lets go of the keys. It must not be used after. */
  close(): void;
}

/**
 * The fastest way that works here. The key is that of the data and then that of the tweaks: 32 bytes for AES-128, or 64 for AES-256.
 * Every way is tried on two sectors against `node:crypto` before it is taken.
 */
export function openXts(key: Uint8Array): Xts {
  assert(key.length === 32 || key.length === 64, 'a key of 256 or 512 bits');
  if (sameHalves(key)) throw new SidecoreError('KEY_INVALID', 'both halves of the master key are the same');
  const library = openSsl();
  if (library !== undefined) {
    const fast = OpenSslXts.open(library, key);
    if (fast !== undefined && agrees(fast, key)) return fast;
    fast?.close();
  }
  return new SlowXts(key);
}

/** OpenSSL refuses such keys too. IEEE 1619-2018, and FIPS 140 implementation guidance C.I */
function sameHalves(key: Uint8Array): boolean {
  const half = key.length / 2;
  let difference = 0;
  for (let i = 0; i < half; i++) difference |= key[i]! ^ key[half + i]!;
  return difference === 0;
}

/** One direction of `OpenSslXts`: a context, and where the next tweak is put. */
interface Direction {
  /** Its address, kept as those of sectors are: a property that is a double would be a new object for each call. */
  readonly context: readonly [undefined, number];
  readonly tweak: Uint32Array;
}

/** One call of OpenSSL a sector, by address: the tweak is written to where the context keeps it. */
class OpenSslXts implements Xts {
  readonly way: string;
  readonly library: OpenSsl;
  readonly encryption: Direction;
  readonly decryption: Direction;
  #open = true;

  private constructor(library: OpenSsl, encryption: Direction, decryption: Direction) {
    this.way = `${library.version}, one call a sector`;
    this.library = library;
    this.encryption = encryption;
    this.decryption = decryption;
  }

  /** Undefined if this OpenSSL cannot do it. */
  static open(library: OpenSsl, key: Uint8Array): OpenSslXts | undefined {
    const encryption = openDirection(library, key, 1);
    const decryption = openDirection(library, key, 0);
    if (encryption !== undefined && decryption !== undefined) return new OpenSslXts(library, encryption, decryption);
    if (encryption !== undefined) library.freeContext(encryption.context[1]);
    if (decryption !== undefined) library.freeContext(decryption.context[1]);
    return undefined;
  }

  encrypt(area: XtsArea, first: number, count: number, sector: number): void {
    assert(this.#open, 'keys');
    run(this.library, this.encryption, area.addresses, first, count, sector);
  }

  decrypt(area: XtsArea, first: number, count: number, sector: number): void {
    assert(this.#open, 'keys');
    run(this.library, this.decryption, area.addresses, first, count, sector);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.library.freeContext(this.encryption.context[1]);
    this.library.freeContext(this.decryption.context[1]);
  }
}

function run(
  { cipher }: OpenSsl,
  direction: Direction,
  addresses: XtsArea['addresses'],
  first: number,
  count: number,
  sector: number,
): void {
  assert(first >= 0 && first + count < addresses.length, 'sectors of an area');
  const { tweak } = direction;
  const context = direction.context[1];
  let low = sector >>> 0;
  let high = Math.floor(sector / TWO_TO_32);
  for (let i = 1; i <= count; i++) {
    tweak[0] = low;
    tweak[1] = high;
    const address = addresses[first + i]!;
    if (cipher(context, address, address, SECTOR_BYTES) < 1) throw new Error('OpenSSL failed');
    low = (low + 1) >>> 0;
    if (low === 0) high++;
  }
}

function openDirection(library: OpenSsl, key: Uint8Array, encrypt: 0 | 1): Direction | undefined {
  const cipher = (key.length === 64 ? library.aes256Xts() : library.aes128Xts()) as number;
  const context = library.newContext() as number;
  if (context === 0) return undefined;
  const ready = library.init(context, cipher, 0, key, new Uint8Array(TWEAK_BYTES), encrypt) as number;
  const address = ready === 1 ? (library.ivOf(context) as number) : 0;
  // Words of it are written; a pointer to anything but a block in memory of the heap would be something else.
  if (address > 0 && address % 4 === 0)
    return { context: [undefined, context], tweak: viewWords32(address, TWEAK_BYTES) };
  library.freeContext(context);
  return undefined;
}

/** `node:crypto`, with a cipher object for each sector: about twenty times slower, and it allocates. */
class SlowXts implements Xts {
  readonly way = 'node:crypto, one object a sector (slow: this Node does not show its OpenSSL)';
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = Uint8Array.from(key);
  }

  encrypt({ bytes }: XtsArea, first: number, count: number, sector: number): void {
    for (let i = 0; i < count; i++) {
      const one = bytes.subarray((first + i) * SECTOR_BYTES, (first + i + 1) * SECTOR_BYTES);
      one.set(encryptSector(this.#key, sector + i, one));
    }
  }

  decrypt({ bytes }: XtsArea, first: number, count: number, sector: number): void {
    for (let i = 0; i < count; i++) {
      const one = bytes.subarray((first + i) * SECTOR_BYTES, (first + i + 1) * SECTOR_BYTES);
      const cipher = createDecipheriv(cipherName(this.#key), this.#key, tweakOf(sector + i));
      one.set(cipher.update(one));
    }
  }

  close(): void {
    this.#key.fill(0);
  }
}

const cipherName = (key: Uint8Array) => (key.length === 64 ? 'aes-256-xts' : 'aes-128-xts');

function tweakOf(sector: number): Buffer {
  const tweak = Buffer.alloc(TWEAK_BYTES);
  tweak.writeBigUInt64LE(BigInt(sector));
  return tweak;
}

/** One sector by `node:crypto`: what all ways are held against. */
export function encryptSector(key: Uint8Array, sector: number, plain: Uint8Array): Buffer {
  return createCipheriv(cipherName(key), key, tweakOf(sector)).update(plain);
}

/** Whether a way does what `node:crypto` does, where the lower half of a sector's number overflows. */
function agrees(xts: Xts, key: Uint8Array): boolean {
  const plain = Buffer.from(Array.from({ length: 2 * SECTOR_BYTES }, (_, i) => (i * 31 + (i >>> 3)) & 0xff));
  const area = xtsArea(Buffer.from(new SharedArrayBuffer(plain.length)));
  area.bytes.set(plain);
  const sector = TWO_TO_32 - 1;
  xts.encrypt(area, 0, 2, sector);
  const expected = [0, 1].map((i) =>
    encryptSector(key, sector + i, plain.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES)),
  );
  if (!area.bytes.equals(Buffer.concat(expected))) return false;
  xts.decrypt(area, 0, 2, sector);
  return area.bytes.equals(plain);
}

/** A way that does without OpenSSL's symbols; for tests. */
export const slowXts = (key: Uint8Array): Xts => new SlowXts(key);
