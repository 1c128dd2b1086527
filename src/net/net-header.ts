/** Byte offsets in struct virtio_net_hdr; all fields are little-endian. VIRTIO 1.3, 5.1.6 */
export const NetHeaderOffset = {
  FLAGS: 0,
  GSO_TYPE: 1,
  HDR_LEN: 2,
  GSO_SIZE: 4,
  CSUM_START: 6,
  CSUM_OFFSET: 8,
  NUM_BUFFERS: 10,
} as const;

/** Bits of `flags`. NEEDS_CSUM belongs to both directions, the others to what a guest receives. VIRTIO 1.3, 5.1.6 */
export const NetHeaderFlag = { NEEDS_CSUM: 1, DATA_VALID: 2, RSC_INFO: 4 } as const;

/** Values of `gso_type` without its ECN bit. UDP is fragmentation (UFO), UDP_L4 segmentation (USO). VIRTIO 1.3, 5.1.6 */
export const GsoType = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5 } as const;
/** Bit of `gso_type`: the frame is TCP and says that congestion was met (CWR). VIRTIO 1.3, 5.1.6 */
export const GSO_ECN = 0x80;

/**
 * What precedes a frame in a ring: the work that its sender leaves to whoever passes it on. struct virtio_net_hdr with
 * num_buffers. VIRTIO 1.3, 5.1.6
 *
 * Made once and filled anew for each frame. Read from a guest it holds whatever the guest likes, until `checkOffload` found
 * nothing wrong.
 */
export class NetHeader {
  flags = 0;
  gsoType = 0;
  /** Bytes of all headers of the frame, from its first byte. */
  hdrLen = 0;
  /** Bytes of payload in each segment. */
  gsoSize = 0;
  /** Where the sum begins, bytes from the start of the frame; where it goes, bytes from there. */
  csumStart = 0;
  csumOffset = 0;
  /** Buffers that the frame was spread over, on its way to a guest. */
  numBuffers = 0;

  /** Nothing to be done: the frame is as it shall be. */
  clear(): void {
    this.flags = 0;
    this.gsoType = 0;
    this.hdrLen = 0;
    this.gsoSize = 0;
    this.csumStart = 0;
    this.csumOffset = 0;
    this.numBuffers = 0;
  }

  copyFrom(other: NetHeader): void {
    this.flags = other.flags;
    this.gsoType = other.gsoType;
    this.hdrLen = other.hdrLen;
    this.gsoSize = other.gsoSize;
    this.csumStart = other.csumStart;
    this.csumOffset = other.csumOffset;
    this.numBuffers = other.numBuffers;
  }

  /** Follows a VLAN tag put in (4) or taken out (-4) of a frame whose header was checked. */
  moveBy(bytes: number): void {
    if ((this.flags & NetHeaderFlag.NEEDS_CSUM) === 0) return;
    this.csumStart += bytes;
    if (this.gsoType !== GsoType.NONE) this.hdrLen += bytes;
  }
}

/** Whether anything is left to be done: all else in the header means nothing then. */
export const asksForOffload = ({ flags, gsoType }: NetHeader): boolean =>
  ((flags & NetHeaderFlag.NEEDS_CSUM) | gsoType) !== 0;

/** Reads 12 bytes, each of them once. `bytes` may be a guest's memory. */
export function readNetHeader(bytes: Buffer, offset: number, into: NetHeader): void {
  into.flags = bytes[offset + NetHeaderOffset.FLAGS]!;
  into.gsoType = bytes[offset + NetHeaderOffset.GSO_TYPE]!;
  into.hdrLen = readLe16(bytes, offset + NetHeaderOffset.HDR_LEN);
  into.gsoSize = readLe16(bytes, offset + NetHeaderOffset.GSO_SIZE);
  into.csumStart = readLe16(bytes, offset + NetHeaderOffset.CSUM_START);
  into.csumOffset = readLe16(bytes, offset + NetHeaderOffset.CSUM_OFFSET);
  into.numBuffers = readLe16(bytes, offset + NetHeaderOffset.NUM_BUFFERS);
}

/** Writes 12 bytes. */
export function writeNetHeader(bytes: Buffer, offset: number, header: NetHeader): void {
  bytes[offset + NetHeaderOffset.FLAGS] = header.flags;
  bytes[offset + NetHeaderOffset.GSO_TYPE] = header.gsoType;
  writeLe16(bytes, offset + NetHeaderOffset.HDR_LEN, header.hdrLen);
  writeLe16(bytes, offset + NetHeaderOffset.GSO_SIZE, header.gsoSize);
  writeLe16(bytes, offset + NetHeaderOffset.CSUM_START, header.csumStart);
  writeLe16(bytes, offset + NetHeaderOffset.CSUM_OFFSET, header.csumOffset);
  writeLe16(bytes, offset + NetHeaderOffset.NUM_BUFFERS, header.numBuffers);
}

const readLe16 = (bytes: Buffer, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);

function writeLe16(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
