import { RequestType, SECTOR_BYTES } from '../../../block/features.js';
import type { FilterRequest } from '../../../filter/index.js';
import type { ClusterMap } from './cluster-map.js';
import type { Shape } from './layout.js';

/** Where requests are on a disk of clusters: their data, or each of their ranges. Sectors, and clusters; ends are behind the last one. */
export class RequestClusters {
  readonly sectors: number;

  constructor({ clusterBytes }: Shape) {
    this.sectors = clusterBytes / SECTOR_BYTES;
  }

  /** The cluster that a sector is in. */
  at(sector: number): number {
    return Math.floor(sector / this.sectors);
  }

  /** The end of clusters, by the end of sectors. */
  until(sector: number): number {
    return Math.ceil(sector / this.sectors);
  }

  /** How many ranges it has; data are one. */
  count(request: FilterRequest): number {
    return hasData(request) ? 1 : request.rangeCount;
  }

  begin(request: FilterRequest, range: number): number {
    return hasData(request) ? request.sector : request.rangeSector(range);
  }

  end(request: FilterRequest, range: number): number {
    return hasData(request)
      ? request.sector + request.bytes / SECTOR_BYTES
      : request.rangeSector(range) + request.rangeSectors(range);
  }

  /** It is of no sector, and so of no cluster, wherever it is. */
  isEmpty(request: FilterRequest, range: number): boolean {
    return this.begin(request, range) === this.end(request, range);
  }

  /** Begin and end of all that it is about, and what is between. */
  first(request: FilterRequest): number {
    let first = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.count(request); i++) first = Math.min(first, this.begin(request, i));
    return first;
  }

  last(request: FilterRequest): number {
    let last = 0;
    for (let i = 0; i < this.count(request); i++) last = Math.max(last, this.end(request, i));
    return last;
  }

  /** A store has all clusters that it is about. */
  areAllIn(map: ClusterMap, request: FilterRequest): boolean {
    for (let i = 0; i < this.count(request); i++)
      if (!map.hasAll(this.at(this.begin(request, i)), this.until(this.end(request, i)))) return false;
    return true;
  }
}

const hasData = ({ type }: FilterRequest): boolean => type === RequestType.IN || type === RequestType.OUT;
