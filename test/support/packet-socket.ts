import { check, close, declare, Errno, errno, errorText } from '../../src/host/libc.js';
import { deviceIndex } from '../../src/host/net-device.js';

const socketCall = declare('int socket(int domain, int type, int protocol)');
const bindCall = declare('int bind(int fd, const void *address, unsigned int length)');
const setsockopt = declare('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)');
const sendCall = declare('intptr_t send(int fd, const void *data, size_t length, int flags)');
const recvCall = declare('intptr_t recv(int fd, void *data, size_t length, int flags)');

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL = 3;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const RECEIVE_BYTES = 2 ** 26;

/**
 * The host's end of a network device, below its IP: sends any frame out by it, and receives any that comes in. Each frame has a
 * struct virtio_net_hdr of ten bytes before it. packet(7)
 */
export class PacketSocket {
  static readonly HEADER_BYTES = 10;
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(2 ** 17);

  constructor(device: string) {
    this.#fd = check(socketCall(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket');
    const one = Int32Array.of(1);
    check(setsockopt(this.#fd, SOL_PACKET, PACKET_VNET_HDR, one, 4), 'PACKET_VNET_HDR');
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
    const length: number = recvCall(this.#fd, this.#buffer, this.#buffer.length, 0);
    if (length < 0) return undefined;
    const bytes = Buffer.from(this.#buffer.subarray(0, length));
    return { header: bytes.subarray(0, PacketSocket.HEADER_BYTES), frame: bytes.subarray(PacketSocket.HEADER_BYTES) };
  }

  close(): void {
    close(this.#fd);
  }
}

const ENOBUFS = 105;
