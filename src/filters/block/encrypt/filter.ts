import { SECTOR_BYTES } from '../../../block/features.js';
import { assert } from '../../../errors.js';
import { defineBlockFilter, type FilterHelper } from '../../../filter/index.js';
import { readPassphrase } from './key.js';
import { openImage, readHeader } from './open-image.js';
import { Job, type Prepared, QueueCipher } from './pieces.js';
import { openXts, xtsArea } from './xts.js';

/** Requests from here on go to the helper, bytes. `docs/encryption.md` says what was measured. */
const OFFLOAD_BYTES = 2 ** 20;

/**
 * Encrypts what is stored, AES-XTS with a LUKS1 header in front, as QEMU's `luks` driver and cryptsetup have it. The last of a disk's
 * filters: what it gives to the back end is no longer anybody's data.
 */
export const encrypt = defineBlockFilter({
  name: 'encrypt',
  options: (z) =>
    z
      .strictObject({
        key_file: z.string().min(1, 'is empty').optional(),
        key_env: z.string().min(1, 'is empty').optional(),
        discard: z.boolean().default(false),
        offload_bytes: z.int().min(SECTOR_BYTES).default(OFFLOAD_BYTES),
      })
      .refine(({ key_file, key_env }) => (key_file === undefined) !== (key_env === undefined), {
        message: 'either key_file or key_env says where the key is',
      }),
  counters: ['bytes_encrypted', 'bytes_decrypted', 'pieces_offloaded', 'buffer_waits', 'errors'],
  defers: true,
  failsClosed: true,
  last: true,
  check({ options, base, below, image, log }) {
    const passphrase = readPassphrase(options, base, log);
    try {
      if (below === undefined || image === undefined) return undefined;
      const header = readHeader(image, below.sizeBytes);
      return { header, ...openImage(image, header, passphrase) };
    } finally {
      passphrase.fill(0);
    }
  },
  manage({ found, log }) {
    assert(found !== undefined, 'it is the last');
    const { header, key, slot, ms } = found;
    const xts = openXts(key);
    log(`opened by key slot ${slot} in ${ms} ms, ${header.uuid}; AES-XTS by ${xts.way}`);
    xts.close();
    const { payloadSector, uuid, hash, keyBytes } = header;
    const prepared: Prepared = { key: Uint8Array.from(key), payloadSector };
    key.fill(0);
    const shown = { uuid, cipher: `aes-${keyBytes * 4}-xts-plain64`, hash, key_slot: slot, data_sector: payloadSector };
    return { prepared, status: () => shown };
  },
  offers: (below, { discard }, { payloadSector }) => ({
    sizeBytes: below.sizeBytes - payloadSector * SECTOR_BYTES,
    discard: below.discard && discard,
    secureErase: false,
  }),
  helper({ prepared }): FilterHelper {
    const xts = openXts(prepared.key);
    return {
      handle({ code, bytes, address, a: sector, b: sectors }) {
        const area = xtsArea(bytes.subarray(0, sectors * SECTOR_BYTES), address);
        if (code === Job.ENCRYPT) xts.encrypt(area, 0, sectors, sector);
        else xts.decrypt(area, 0, sectors, sector);
        return 0;
      },
      close: () => xts.close(),
    };
  },
  create: (context) => new QueueCipher(context),
});
