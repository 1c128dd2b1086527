import { SidecoreError } from '../errors.js';
import { MESSAGE_FDS_MAX } from '../limits.js';
import { check, close, declare, Errno, errno, errorText } from './libc.js';
import { mapAnonymous, PAGE_BYTES } from './memory-map.js';
import { viewBytes } from './memory-view.js';

const socketCall = declare('int socket(int domain, int type, int protocol)');
const bindCall = declare('int bind(int fd, const void *address, unsigned int length)');
const listenCall = declare('int listen(int fd, int backlog)');
const connectCall = declare('int connect(int fd, const void *address, unsigned int length)');
const accept4 = declare('int accept4(int fd, void *address, void *length, int flags)');
const sendmsg = declare('intptr_t sendmsg(int fd, intptr_t message, int flags)');
const recvmsg = declare('intptr_t recvmsg(int fd, intptr_t message, int flags)');
const getsockopt = declare('int getsockopt(int fd, int level, int option, void *value, void *length)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_PEERCRED = 17;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Longest path of a Unix socket, bytes: sun_path less its final zero. */
export const SOCKET_PATH_BYTES_MAX = 107;

function addressOf(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length > SOCKET_PATH_BYTES_MAX) {
    throw new SidecoreError(
      'SOCKET_INVALID',
      `socket path is ${bytes.length} bytes long, Linux allows ${SOCKET_PATH_BYTES_MAX}: ${path}`,
      'Choose a shorter path (`run_dir:` or the disk’s `socket:`).',
    );
  }
  const address = Buffer.alloc(2 + SOCKET_PATH_BYTES_MAX + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  return address;
}

function newSocket(): number {
  return check(socketCall(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket');
}

/** A listening socket at a path that must not exist. */
export function listenUnix(path: string): number {
  const address = addressOf(path);
  const fd = newSocket();
  if (bindCall(fd, address, address.length) === 0 && listenCall(fd, 8) === 0) return fd;
  const error = errno();
  close(fd);
  const code = error === Errno.EACCES || error === Errno.EPERM ? 'SOCKET_PERMISSION' : 'SOCKET_INVALID';
  throw new SidecoreError(code, `cannot listen on ${path}: ${errorText(error)}`, '', { cause: error });
}

/** A connected socket, or the error number (negative) if nobody listens there. */
export function connectUnix(path: string): number {
  const address = addressOf(path);
  const fd = newSocket();
  if (connectCall(fd, address, address.length) === 0) return fd;
  const error = errno();
  close(fd);
  return -error;
}

/** Takes the next waiting connection; negative if there is none. */
export function acceptUnix(fd: number): number {
  return accept4(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/** Process id of the other end; zero if it is not known. */
export function peerPid(fd: number): number {
  const credentials = new Int32Array(3);
  const length = new Uint32Array([12]);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) === 0 ? credentials[0]! : 0;
}

/** struct msghdr, iovec and cmsghdr on 64-bit Linux, byte offsets in one scratch page. */
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
const IOVEC = 64;
const CMSG = 128;
const CMSG_HEADER_BYTES = 16;
const DATA = 512;

/** Most bytes in one send or receive. */
const CHUNK_BYTES_MAX = PAGE_BYTES * 2 - DATA;

const scratch = mapAnonymous(PAGE_BYTES * 2);
const page = viewBytes(scratch.address, scratch.length);

function prepare(byteCount: number, controlBytes: number): void {
  page.fill(0, 0, IOVEC);
  page.writeBigUInt64LE(BigInt(scratch.address + IOVEC), MSG_IOV);
  page.writeBigUInt64LE(1n, MSG_IOVLEN);
  page.writeBigUInt64LE(BigInt(scratch.address + DATA), IOVEC);
  page.writeBigUInt64LE(BigInt(byteCount), IOVEC + 8);
  if (controlBytes === 0) return;
  page.writeBigUInt64LE(BigInt(scratch.address + CMSG), MSG_CONTROL);
  page.writeBigUInt64LE(BigInt(controlBytes), MSG_CONTROLLEN);
}

/** What one receive gave. */
export interface Received {
  /** Bytes; empty at the end of the stream, undefined if there is nothing to read now. */
  readonly bytes: Buffer | undefined;
  /** Descriptors that came along; the caller owns them. */
  readonly fds: number[];
  /** More descriptors came than any message may carry; the rest is lost. */
  readonly fdsTruncated: boolean;
}

/** Receives at most `byteCount` bytes and the descriptors that came with them, without blocking. */
export function receiveWithFds(fd: number, byteCount: number): Received {
  const room = CMSG_HEADER_BYTES + 4 * MESSAGE_FDS_MAX;
  prepare(Math.min(byteCount, CHUNK_BYTES_MAX), room);
  const count: number = recvmsg(fd, scratch.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0) {
    const error = errno();
    const again = error === Errno.EAGAIN || error === Errno.EINTR;
    return { bytes: again ? undefined : Buffer.alloc(0), fds: [], fdsTruncated: false };
  }
  const fds: number[] = [];
  const controlBytes = Number(page.readBigUInt64LE(MSG_CONTROLLEN));
  if (controlBytes >= CMSG_HEADER_BYTES && page.readInt32LE(CMSG + 12) === SCM_RIGHTS) {
    const length = Number(page.readBigUInt64LE(CMSG));
    for (let at = CMSG_HEADER_BYTES; at + 4 <= length; at += 4) fds.push(page.readInt32LE(CMSG + at));
  }
  const fdsTruncated = (page.readInt32LE(MSG_FLAGS) & MSG_CTRUNC) !== 0;
  return { bytes: Buffer.from(page.subarray(DATA, DATA + count)), fds, fdsTruncated };
}

/**
 * Sends bytes, with descriptors on the first of them, without blocking. Returns the number of bytes taken: zero if the
 * socket's buffer is full, negative (the error number) if the other end is gone.
 */
export function sendWithFds(fd: number, bytes: Uint8Array, fds: readonly number[]): number {
  const byteCount = Math.min(bytes.length, CHUNK_BYTES_MAX);
  const cmsgBytes = CMSG_HEADER_BYTES + 4 * fds.length;
  prepare(byteCount, fds.length === 0 ? 0 : (cmsgBytes + 7) & ~7);
  page.set(bytes.subarray(0, byteCount), DATA);
  if (fds.length > 0) {
    page.writeBigUInt64LE(BigInt(cmsgBytes), CMSG);
    page.writeInt32LE(SOL_SOCKET, CMSG + 8);
    page.writeInt32LE(SCM_RIGHTS, CMSG + 12);
    for (let i = 0; i < fds.length; i++) page.writeInt32LE(fds[i]!, CMSG + CMSG_HEADER_BYTES + 4 * i);
  }
  const count: number = sendmsg(fd, scratch.address, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count >= 0) return count;
  const error = errno();
  return error === Errno.EAGAIN || error === Errno.EINTR ? 0 : -error;
}
