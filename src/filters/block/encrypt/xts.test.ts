import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { check } from '../../../../test/support/seed.js';
import { SidecoreError } from '../../../errors.js';
import { openSsl } from '../../../host/openssl.js';
import { encryptSector, openXts, slowXts, type Xts, xtsArea } from './xts.js';

/** IEEE 1619-2007, annex B: those with data units of 512 bytes. */
const VECTORS = [
  {
    name: 'vector 4, AES-128',
    key: '2718281828459045235360287471352631415926535897932384626433832795',
    sector: 0,
    ciphertext: [
      '27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89cc78cf7f5e543445f8333d8fa7f5600000527',
      '9fa5d8b5e4ad40e736ddb4d35412328063fd2aab53e5ea1e0a9f332500a5df9487d07a5c92cc512c8866c7e860ce93fdf166',
      'a24912b422976146ae20ce846bb7dc9ba94a767aaef20c0d61ad02655ea92dc4c4e41a8952c651d33174be51a10c421110e6',
      'd81588ede82103a252d8a750e8768defffed9122810aaeb99f9172af82b604dc4b8e51bcb08235a6f4341332e4ca60482a4b',
      'a1a03b3e65008fc5da76b70bf1690db4eae29c5f1badd03c5ccf2a55d705ddcd86d449511ceb7ec30bf12b1fa35b913f9f74',
      '7a8afd1b130e94bff94effd01a91735ca1726acd0b197c4e5b03393697e126826fb6bbde8ecc1e08298516e2c9ed03ff3c1b',
      '7860f6de76d4cecd94c8119855ef5297ca67e9f3e7ff72b1e99785ca0a7e7720c5b36dc6d72cac9574c8cbbc2f801e23e56f',
      'd344b07f22154beba0f08ce8891e643ed995c94d9a69c9f1b5f499027a78572aeebd74d20cc39881c213ee770b1010e4bea7',
      '18846977ae119f7a023ab58cca0ad752afe656bb3c17256a9f6e9bf19fdd5a38fc82bbe872c5539edb609ef4f79c203ebb14',
      '0f2e583cb2ad15b4aa5b655016a8449277dbd477ef2c8d6c017db738b18deb4a427d1923ce3ff262735779a418f20a282df9',
      '20147beabe421ee5319d0568',
    ].join(''),
  },
  {
    name: 'vector 10, AES-256',
    key: [
      '2718281828459045235360287471352662497757247093699959574966967627',
      '3141592653589793238462643383279502884197169399375105820974944592',
    ].join(''),
    sector: 0xff,
    ciphertext: [
      '1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44680a',
      '86ac35adfc3345befecb4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0c5cd4d5f',
      'ff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500d',
      'c4cd120c0f7418dae3d0b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f93ec05c52e0493ef',
      '31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6',
      'ba02469a020a84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1505eb309326d68378f837459',
      '5c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1bec9de244fbe15992b11b77c040f12bd8f6a975a44a0f9',
      '0c29a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac6e333b93eb4aff0479da9a410e4450e0',
      'dd7ae4c6e2910900575da401fc07059f645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed43851ad7',
      '7f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa773dad38014bd2092fa755c824bb5e54c4f36ffd',
      'a9fcea70b9c6e693e148c151',
    ].join(''),
  },
];

const area = (bytes: Uint8Array) => {
  const shared = Buffer.from(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return xtsArea(shared);
};

for (const [way, open] of [
  ['the fastest way', openXts],
  ['the way without OpenSSL’s symbols', slowXts],
] as [string, (key: Uint8Array) => Xts][]) {
  describe(`AES-XTS, ${way}`, () => {
    for (const { name, key, sector, ciphertext } of VECTORS) {
      it(`IEEE 1619, ${name}`, () => {
        const plain = Buffer.from(Array.from({ length: 512 }, (_, i) => i & 0xff));
        const memory = area(plain);
        const xts = open(Buffer.from(key, 'hex'));
        xts.encrypt(memory, 0, 1, sector);
        assert.equal(memory.bytes.toString('hex'), ciphertext);
        xts.decrypt(memory, 0, 1, sector);
        assert.deepEqual(memory.bytes, plain);
        xts.close();
      });
    }

    it('encrypts each sector by its number, those asked for and no others, and has them back', () => {
      const keys = fc.constantFrom(32, 64).chain((length) => fc.uint8Array({ minLength: length, maxLength: length }));
      const sectors = fc.oneof(
        fc.nat(2 ** 20),
        fc.nat(8).map((back) => 2 ** 32 - back),
        fc.maxSafeNat(),
      );
      const stretch = fc.tuple(fc.nat(6), fc.nat(6));
      check(
        fc.property(keys, sectors, stretch, fc.nat(255), (key, sector, [first, count], seed) => {
          fc.pre(!Buffer.from(key.subarray(0, key.length / 2)).equals(key.subarray(key.length / 2)));
          fc.pre(sector + count <= Number.MAX_SAFE_INTEGER);
          const plain = Buffer.from(Array.from({ length: 12 * 512 }, (_, i) => (i * seed + (i >>> 5)) & 0xff));
          const memory = area(plain);
          const xts = open(key);
          xts.encrypt(memory, first, count, sector);
          const expected = Buffer.from(plain);
          for (let i = 0; i < count; i++) {
            const at = (first + i) * 512;
            encryptSector(key, sector + i, plain.subarray(at, at + 512)).copy(expected, at);
          }
          assert.deepEqual(memory.bytes, expected);
          xts.decrypt(memory, first, count, sector);
          assert.deepEqual(memory.bytes, plain);
          xts.close();
        }),
        100,
      );
    });
  });
}

describe('AES-XTS', () => {
  it('is OpenSSL’s own, by address, on the Node that runs this', () => {
    assert.ok(openSsl(), 'this Node hides the symbols of its OpenSSL');
    const xts = openXts(Buffer.from(Array.from({ length: 64 }, (_, i) => i)));
    assert.match(xts.way, /^OpenSSL 3/);
    xts.close();
    assert.throws(() => xts.encrypt(area(Buffer.alloc(512)), 0, 1, 0), /assertion failed/);
  });

  it('refuses a key whose halves are the same, and sectors outside of an area', () => {
    assert.throws(
      () => openXts(Buffer.alloc(64, 7)),
      (error: SidecoreError) => error instanceof SidecoreError && error.code === 'KEY_INVALID',
    );
    const xts = openXts(Buffer.from(Array.from({ length: 32 }, (_, i) => i)));
    for (const [first, count] of [
      [0, 3],
      [2, 1],
      [-1, 1],
    ] as const)
      assert.throws(() => xts.decrypt(area(Buffer.alloc(1024)), first, count, 0), /assertion failed/);
    xts.close();
  });
});
