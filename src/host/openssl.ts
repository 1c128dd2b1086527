import koffi from 'koffi';
import type { CFunction } from './libc.js';

/** Those functions of OpenSSL that are called by address, without a Buffer or an object between. Contexts are addresses. */
export interface OpenSsl {
  /** Version, as it calls itself. */
  readonly version: string;
  /** EVP_CIPHER_CTX_new(): address of a context, zero if there is no memory. */
  readonly newContext: CFunction;
  /** EVP_CIPHER_CTX_free(context): with the keys in it overwritten. */
  readonly freeContext: CFunction;
  /** EVP_aes_128_xts(), EVP_aes_256_xts(): address of a cipher. */
  readonly aes128Xts: CFunction;
  readonly aes256Xts: CFunction;
  /** EVP_CipherInit_ex(context, cipher, 0, key, iv, encrypt): 1 if it could be done. */
  readonly init: CFunction;
  /** EVP_CIPHER_CTX_iv_noconst(context): address of the initialization vector that the next call of `cipher` starts from. */
  readonly ivOf: CFunction;
  /** EVP_Cipher(context, out, in, bytes): how many bytes it gave, or less than one. */
  readonly cipher: CFunction;
}

let known: OpenSsl | false | undefined;

/**
 * The OpenSSL that this Node brings along, from the process's own symbols; undefined if it hides them. Another copy of it, such as
 * the system's `libcrypto.so.3`, is not loaded instead: where both have the same symbols, the one calls into the other.
 */
export function openSsl(): OpenSsl | undefined {
  known ??= load() ?? false;
  return known === false ? undefined : known;
}

function load(): OpenSsl | undefined {
  try {
    const process = koffi.load(null);
    return {
      version: process.func('const char *OpenSSL_version(int which)')(0) as string,
      newContext: process.func('intptr_t EVP_CIPHER_CTX_new()'),
      freeContext: process.func('void EVP_CIPHER_CTX_free(intptr_t context)'),
      aes128Xts: process.func('intptr_t EVP_aes_128_xts()'),
      aes256Xts: process.func('intptr_t EVP_aes_256_xts()'),
      init: process.func(
        'int EVP_CipherInit_ex(intptr_t context, intptr_t cipher, intptr_t engine, void *key, void *iv, int encrypt)',
      ),
      ivOf: process.func('intptr_t EVP_CIPHER_CTX_iv_noconst(intptr_t context)'),
      cipher: process.func('int EVP_Cipher(intptr_t context, intptr_t out, intptr_t in, unsigned int bytes)'),
    };
  } catch {
    return undefined;
  }
}

/** Address of a Buffer's first byte. It stays while the Buffer is used, if its memory is not V8's own: a SharedArrayBuffer, or mapped. */
export const addressOf = (bytes: Uint8Array): number => Number(koffi.address(bytes));
