import { SECTOR_BYTES } from '../../../block/features.js';
import type { FilterRequest } from '../../../filter/contract.js';

/** The range of a request that has its data at a position: its first sector, its length, and where in the data it starts. */
export function rangeAt(request: FilterRequest, position: number): typeof found {
  let start = 0;
  for (let i = 0; ; i++) {
    const sectors = request.rangeSectors(i);
    const end = start + sectors * SECTOR_BYTES;
    if (position < end) {
      found.sector = request.rangeSector(i);
      found.sectors = sectors;
      found.start = start;
      return found;
    }
    start = end;
  }
}

/** What `rangeAt` fills. */
const found = { sector: 0, sectors: 0, start: 0 };
