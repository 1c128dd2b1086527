/**
 * Ways to encrypt sectors of 512 bytes with AES-256-XTS from JavaScript, and parts of some that are not taken. By itself:
 * node dist/bench/xts-ways.js
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import koffi from 'koffi';
import { openXts, xtsArea } from '../src/filters/block/encrypt/xts.js';
import { viewWords32 } from '../src/host/memory-view.js';
import { addressOf, openSsl } from '../src/host/openssl.js';
import { median } from './report.js';

const SECTOR_BYTES = 512;
const ROUNDS = 7;
const ROUND_NS = 100e6;
/** 4 KiB, and 64 KiB. */
const COUNTS = [8, 128];

const library = openSsl();
if (library === undefined) throw new Error('this Node hides the symbols of its OpenSSL');
const shared = (bytes: number) => Buffer.from(new SharedArrayBuffer(bytes));
const key = randomBytes(64);
const data = shared(128 * SECTOR_BYTES);
const other = shared(128 * SECTOR_BYTES);
data.set(randomBytes(data.length));
const [from, to] = [addressOf(data), addressOf(other)];
const iv = shared(32);
const ivWords = new Uint32Array(iv.buffer, 0, 4);
const ivAddress = addressOf(iv);
const longs = new BigUint64Array(data.buffer);
const otherLongs = new BigUint64Array(other.buffer);

const process_ = koffi.load(null);
const initByAddress = process_.func(
  'int EVP_CipherInit_ex(intptr_t context, intptr_t cipher, intptr_t engine, intptr_t key, intptr_t iv, int encrypt)',
);
const update = process_.func(
  'int EVP_CipherUpdate(intptr_t context, intptr_t out, intptr_t size, intptr_t in, int bytes)',
);
const context = library.newContext();
library.init(context, library.aes256Xts(), 0, key, new Uint8Array(16), 1);
const tweak = viewWords32(library.ivOf(context), 16);
const ecb = library.newContext();
library.init(ecb, process_.func('intptr_t EVP_aes_256_ecb()')(), 0, key.subarray(0, 32), null, 1);
const { cipher } = library;
const xts = openXts(key);
const area = xtsArea(data);

const WAYS: Record<string, (count: number, sector: number) => void> = {
  'node:crypto, an object a sector'(count, sector) {
    for (let i = 0; i < count; i++) {
      ivWords[0] = sector + i;
      const one = data.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES);
      other.set(createCipheriv('aes-256-xts', key, iv.subarray(0, 16)).update(one), i * SECTOR_BYTES);
    }
  },
  'OpenSSL, EVP_CipherInit_ex and EVP_CipherUpdate a sector'(count, sector) {
    for (let i = 0; i < count; i++) {
      ivWords[0] = sector + i;
      initByAddress(context, 0, 0, 0, ivAddress, -1);
      update(context, to + i * SECTOR_BYTES, ivAddress + 16, from + i * SECTOR_BYTES, SECTOR_BYTES);
    }
  },
  'OpenSSL, tweak put in its place and EVP_Cipher a sector, addresses calculated'(count, sector) {
    for (let i = 0; i < count; i++) {
      tweak[0] = sector + i;
      cipher(context, to + i * SECTOR_BYTES, from + i * SECTOR_BYTES, SECTOR_BYTES);
    }
  },
  'the same, addresses from a table, in place: taken'(count, sector) {
    xts.encrypt(area, 0, count, sector);
  },
  'part of the ECB way: one call for all sectors, no tweaks'(count) {
    cipher(ecb, to, from, count * SECTOR_BYTES);
  },
  'part of the ECB way: one XOR pass of two, 64 bits at a time'(count) {
    const end = (count * SECTOR_BYTES) / 8;
    for (let i = 0; i < end; i++) otherLongs[i] = otherLongs[i]! ^ longs[i]!;
  },
  'bound: one XTS call for all sectors, which would be wrong'(count) {
    cipher(context, to, from, count * SECTOR_BYTES);
  },
  'beside: a copy'(count) {
    data.copy(other, 0, 0, count * SECTOR_BYTES);
  },
};

function run(way: (count: number, sector: number) => void, count: number, times: number): number {
  const started = process.hrtime.bigint();
  for (let i = 0; i < times; i++) way(count, i);
  return Number(process.hrtime.bigint() - started) / times;
}

process.stdout.write(`${process.version}, ${library.version}; ns, median (least to most) of ${ROUNDS}\n`);
for (const [name, way] of Object.entries(WAYS)) {
  const cells = COUNTS.map((count) => {
    run(way, count, 2000);
    const times = Math.max(10, Math.floor(ROUND_NS / ROUNDS / run(way, count, 200)));
    const rounds = Array.from({ length: ROUNDS }, () => run(way, count, times));
    const text = (ns: number) => ns.toFixed(0);
    return `${text(median(rounds))} (${text(Math.min(...rounds))} to ${text(Math.max(...rounds))})`;
  });
  process.stdout.write(`| ${name} | ${cells.join(' | ')} |\n`);
}
