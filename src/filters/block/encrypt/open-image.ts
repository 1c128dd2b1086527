import { SECTOR_BYTES } from '../../../block/features.js';
import { candidates } from './key.js';
import { LUKS_HEADER_BYTES, type LuksHeader, parseLuks1 } from './luks1.js';
import { type OpenedLuks, openLuks1 } from './luks1-keys.js';

/** As much of an image as it takes to open it. */
export interface ImageReader {
  /** Fills `target` from `offset` on. */
  read(offset: number, target: Uint8Array): void;
}

/** Reads and checks an image's header. Throws IMAGE_INVALID if it has none, or one that is not supported. */
export function readHeader(image: ImageReader, imageBytes: number): LuksHeader {
  const bytes = Buffer.alloc(LUKS_HEADER_BYTES);
  if (imageBytes >= bytes.length) image.read(0, bytes);
  return parseLuks1(bytes, Math.floor(imageBytes / SECTOR_BYTES));
}

/** Has the master key of an image. Throws KEY_INVALID if the passphrase does not open it. */
export function openImage(image: ImageReader, header: LuksHeader, passphrase: Buffer): OpenedLuks {
  const read = (offset: number, length: number) => {
    const bytes = Buffer.alloc(length);
    image.read(offset, bytes);
    return bytes;
  };
  return openLuks1(header, read, candidates(passphrase));
}
