import { check, close, declare, Errno, errno, errorText } from '../../src/host/libc.js';
import { mapAnonymous, unmap } from '../../src/host/memory-map.js';
import { viewBytes } from '../../src/host/memory-view.js';
import { deviceIndex } from '../../src/host/net-device.js';

const socketCall = declare('int socket(int domain, int type, int protocol)');
const bindCall = declare('int bind(int fd, const void *address, unsigned int length)');
const setsockopt = declare('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)');
const sendCall = declare('intptr_t send(int fd, const void *data, size_t length, int flags)');
const recvmsg = declare('intptr_t recvmsg(int fd, intptr_t message, int flags)');

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL = 3;
const SOL_PACKET = 263;
const PACKET_AUXDATA = 8;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const RECEIVE_BYTES = 2 ** 26;
const TP_STATUS_VLAN_VALID = 1 << 4;
const ENOBUFS = 105;

/** What recvmsg is given, byte offsets: struct msghdr, one iovec, control data (a cmsghdr and struct tpacket_auxdata), the frame. */
const AT_IOVEC = 64;
const AT_CONTROL = 128;
const CMSG_HEADER_BYTES = 16;
const AT_DATA = 256;
const DATA_BYTES = 2 ** 17;

/**
 * The host's end of a network device, below its IP: sends any frame out by it, and receives any that comes in. Each frame has a
 * struct virtio_net_hdr of ten bytes before it. packet(7)
 */
export class PacketSocket {
  static readonly HEADER_BYTES = 10;
  readonly #fd: number;
  readonly #map = mapAnonymous(AT_DATA + DATA_BYTES);
  readonly #bytes = viewBytes(this.#map.address, this.#map.length);

  constructor(device: string) {
    this.#fd = check(socketCall(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket');
    const one = Int32Array.of(1);
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_VNET_HDR, one, 4), 'PACKET_VNET_HDR');
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_AUXDATA, one, 4), 'PACKET_AUXDATA');
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, one, 4), 'PACKET_IGNORE_OUTGOING');
    check(setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, Int32Array.of(RECEIVE_BYTES), 4), 'SO_RCVBUFFORCE');
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16BE(ETH_P_ALL, 2);
    address.writeInt32LE(deviceIndex(device), 4);
    check(bindCall(this.#fd, address, address.length), 'bind');
  }

  /** Sends a frame; the header before it asks for nothing unless one is given. False if the device's queue is full. */
  send(frame: Uint8Array, header: Uint8Array = new Uint8Array(PacketSocket.HEADER_BYTES)): boolean {
    const bytes = Buffer.concat([header, frame]);
    if (sendCall(this.#fd, bytes, bytes.length, 0) === bytes.length) return true;
    const error = errno();
    if (error === Errno.EAGAIN || error === ENOBUFS) return false;
    throw new Error(`send: ${errorText(error)}`);
  }

  /** The next frame that came, with its header; undefined if there is none now. */
  receive(): { readonly header: Buffer; readonly frame: Buffer } | undefined {
    const bytes = this.#bytes;
    const { address } = this.#map;
    bytes.fill(0, 0, AT_DATA);
    bytes.writeBigUInt64LE(BigInt(address + AT_IOVEC), 16);
    bytes.writeBigUInt64LE(1n, 24);
    bytes.writeBigUInt64LE(BigInt(address + AT_CONTROL), 32);
    bytes.writeBigUInt64LE(BigInt(AT_DATA - AT_CONTROL), 40);
    bytes.writeBigUInt64LE(BigInt(address + AT_DATA), AT_IOVEC);
    bytes.writeBigUInt64LE(BigInt(DATA_BYTES), AT_IOVEC + 8);
    const length: number = recvmsg(this.#fd, address, 0);
    if (length < 0) return undefined;
    const data = Buffer.from(bytes.subarray(AT_DATA, AT_DATA + length));
    const header = data.subarray(0, PacketSocket.HEADER_BYTES);
    const frame = data.subarray(PacketSocket.HEADER_BYTES);
    const auxiliary = AT_CONTROL + CMSG_HEADER_BYTES;
    if ((bytes.readUInt32LE(auxiliary) & TP_STATUS_VLAN_VALID) === 0) return { header, frame };
    // The kernel has taken the tag out, and says here what it was.
    const tag = Buffer.alloc(4);
    tag.writeUInt16BE(bytes.readUInt16LE(auxiliary + 18), 0);
    tag.writeUInt16BE(bytes.readUInt16LE(auxiliary + 16), 2);
    return { header, frame: Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]) };
  }

  close(): void {
    close(this.#fd);
    unmap(this.#map);
  }
}
