/** What filters import as `sidecore/filter`. Nothing here touches the host, so that it is there on any thread. */
export { RequestType, SECTOR_BYTES, Status } from '../block/features.js';
export { EtherType } from '../net/ethernet.js';
export { IpProtocol, LayoutFault } from '../net/frame-layout.js';
export { NO_VLAN } from '../net/vlan.js';
export * from './contract.js';
export * from './frame-contract.js';
export { TcpFlag } from './frame-protocols.js';
export type { Histogram } from './histogram.js';
