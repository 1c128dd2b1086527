import { SidecoreError } from '../errors.js';
import { closeForeign } from '../host/closer.js';
import { EPOLLIN, EPOLLOUT } from '../host/epoll.js';
import { close } from '../host/libc.js';
import { reactor } from '../host/reactor.js';
import { receiveWithFds, sendWithFds } from '../host/unix-socket.js';
import { MESSAGE_FDS_MAX, MESSAGE_PAYLOAD_BYTES_MAX } from '../limits.js';
import { Flag, HEADER_BYTES } from './messages.js';

/** One message as it came. The receiver owns its descriptors. */
export interface Message {
  readonly id: number;
  readonly flags: number;
  readonly payload: Buffer;
  readonly fds: readonly number[];
}

/** One end of a vhost-user socket: whole messages with their descriptors, either way. */
export class Connection {
  readonly fd: number;
  #open = true;
  #closed = false;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number) {
    this.fd = fd;
  }

  /** The next message; undefined when the other end has closed. Throws for one that is cut short or oversized. */
  async receive(): Promise<Message | undefined> {
    const fds: number[] = [];
    try {
      const header = await this.#read(HEADER_BYTES, fds);
      if (header === undefined) return undefined;
      const size = header.readUInt32LE(8);
      if (size > MESSAGE_PAYLOAD_BYTES_MAX) {
        throw new SidecoreError(
          'MESSAGE_INVALID',
          `message says ${size} bytes, at most ${MESSAGE_PAYLOAD_BYTES_MAX} are read`,
        );
      }
      const payload = size === 0 ? Buffer.alloc(0) : await this.#read(size, fds);
      if (payload === undefined) throw new SidecoreError('MESSAGE_TRUNCATED', 'the connection ended inside a message');
      return { id: header.readUInt32LE(0), flags: header.readUInt32LE(4), payload, fds };
    } catch (error) {
      for (const fd of fds) closeForeign(fd);
      throw error;
    }
  }

  /** Sends one message whole. Throws if the other end is gone. */
  async send(id: number, flags: number, payload: Buffer, fds: readonly number[] = []): Promise<void> {
    const bytes = Buffer.concat([encodeHeader(id, flags, payload.length), payload]);
    for (let sent = 0; sent < bytes.length; ) {
      const count = this.#open ? sendWithFds(this.fd, bytes.subarray(sent), sent === 0 ? fds : []) : -1;
      if (count < 0) throw new SidecoreError('PEER_CLOSED', 'the other end has closed the connection');
      sent += count;
      if (count === 0) await reactor().wait(this.fd, EPOLLOUT);
    }
  }

  /** Sends a message without payload now or never; false if the other end does not read, or is gone. */
  trySend(id: number, flags: number): boolean {
    return this.#open && sendWithFds(this.fd, encodeHeader(id, flags, 0), []) === HEADER_BYTES;
  }

  /** Ends the conversation; a pending `receive` gives undefined. The socket stays open, so that the other end waits. */
  stop(): void {
    if (!this.#open) return;
    this.#open = false;
    reactor().cancel(this.fd);
  }

  /** @param closeFd - a close may wait for what the other end has sent and nobody has taken */
  close(closeFd = close): void {
    this.stop();
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.fd);
  }

  /** Reads exactly so many bytes; undefined at the end of the stream before the first. */
  async #read(byteCount: number, fds: number[]): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    for (let left = byteCount; left > 0; ) {
      if (!this.#open) return undefined;
      const { bytes, fds: more, fdsTruncated } = receiveWithFds(this.fd, left);
      fds.push(...more);
      if (fdsTruncated || fds.length > MESSAGE_FDS_MAX) {
        throw new SidecoreError('MESSAGE_FDS', `a message carries more than ${MESSAGE_FDS_MAX} file descriptors`);
      }
      if (bytes === undefined) {
        await reactor().wait(this.fd, EPOLLIN);
      } else if (bytes.length === 0) {
        if (left === byteCount && fds.length === 0) return undefined;
        throw new SidecoreError('MESSAGE_TRUNCATED', 'the connection ended inside a message');
      } else {
        chunks.push(bytes);
        left -= bytes.length;
      }
    }
    return Buffer.concat(chunks);
  }
}

function encodeHeader(id: number, flags: number, payloadBytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(id, 0);
  header.writeUInt32LE(flags | Flag.VERSION, 4);
  header.writeUInt32LE(payloadBytes, 8);
  return header;
}
