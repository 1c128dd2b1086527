/** What filters import as `sidecore/filter`. Nothing here touches the host, so that it is there on any thread. */
export { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
export * from './contract.js';
export type { Histogram } from './histogram.js';
