import { setTimeout as sleep } from 'node:timers/promises';
import { SidecoreError } from '../errors.js';
import { connectUnix } from '../host/unix-socket.js';
import { decode, encode, type RegionMessage } from '../vhost-user/codec.js';
import { Connection } from '../vhost-user/connection.js';
import { Flag, type MessageName, messageRow, PROTOCOL_FEATURES } from '../vhost-user/messages.js';
import { RING_FEATURES } from '../virtio/features.js';

/** Protocol features that this front end makes use of. */
const WANTED =
  PROTOCOL_FEATURES.MQ | PROTOCOL_FEATURES.REPLY_ACK | PROTOCOL_FEATURES.CONFIG | PROTOCOL_FEATURES.CONFIGURE_MEM_SLOTS;

/** The client's end of a vhost-user socket: what a VMM does, without the VM. */
export class FrontEnd {
  readonly connection: Connection;
  /** Negotiated by `negotiate`. */
  features = 0n;
  protocolFeatures = 0n;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  /** Connects, waiting up to `timeoutMs` for the socket to be there. */
  static async connect(path: string, timeoutMs = 5000): Promise<FrontEnd> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const fd = connectUnix(path);
      if (fd >= 0) return new FrontEnd(new Connection(fd));
      if (Date.now() > deadline) throw new SidecoreError('PEER_CLOSED', `nobody listens on ${path}`);
      await sleep(20);
    }
  }

  /** Sends a message; waits for its answer if it has one, or for its acknowledgement where that was negotiated. */
  async send(name: MessageName, payload: Buffer = Buffer.alloc(0), fds: readonly number[] = []): Promise<Buffer> {
    const row = messageRow(name);
    const acknowledged = row.reply === undefined && (this.protocolFeatures & PROTOCOL_FEATURES.REPLY_ACK) !== 0n;
    await this.connection.send(row.id, acknowledged ? Flag.NEED_REPLY : 0, payload, fds);
    if (row.reply === undefined && !acknowledged) return Buffer.alloc(0);
    const answer = await this.connection.receive();
    if (answer === undefined) throw new SidecoreError('PEER_CLOSED', `the back end closed the connection at ${name}`);
    if (answer.id !== row.id || (answer.flags & Flag.REPLY) === 0) {
      throw new SidecoreError('MESSAGE_INVALID', `the back end answered ${name} with message ${answer.id}`);
    }
    if (acknowledged && decode.u64(answer.payload) !== 0n) {
      throw new SidecoreError('MESSAGE_INVALID', `the back end refused ${name}`);
    }
    return answer.payload;
  }

  /** Takes ownership and settles both kinds of features: those of `wanted` that are offered. */
  async negotiate(wanted: bigint): Promise<void> {
    await this.send('SET_OWNER');
    const offered = decode.u64(await this.send('GET_FEATURES'));
    if ((offered & RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES) !== 0n) {
      const protocol = decode.u64(await this.send('GET_PROTOCOL_FEATURES')) & WANTED;
      await this.send('SET_PROTOCOL_FEATURES', encode.u64(protocol));
      this.protocolFeatures = protocol;
    }
    this.features = offered & (wanted | RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES);
    await this.send('SET_FEATURES', encode.u64(this.features));
  }

  async shareMemory(regions: readonly RegionMessage[], fds: readonly number[]): Promise<void> {
    await this.send('SET_MEM_TABLE', encode.memoryTable(regions), fds);
  }

  /** Sets a ring up and enables it. Addresses are user addresses. */
  async startRing(ring: {
    index: number;
    size: number;
    base?: number;
    descriptors: number;
    available: number;
    used: number;
    kickFd: number;
    callFd: number;
  }): Promise<void> {
    const { index, size, base = 0, descriptors, available, used, kickFd, callFd } = ring;
    await this.send('SET_VRING_NUM', encode.vringState({ index, num: size }));
    await this.send('SET_VRING_BASE', encode.vringState({ index, num: base }));
    const address = {
      index,
      flags: 0,
      descriptors: BigInt(descriptors),
      available: BigInt(available),
      used: BigInt(used),
      log: 0n,
    };
    await this.send('SET_VRING_ADDR', encode.vringAddress(address));
    await this.send('SET_VRING_CALL', encode.vringFd({ index, noFd: callFd < 0 }), callFd < 0 ? [] : [callFd]);
    await this.send('SET_VRING_KICK', encode.vringFd({ index, noFd: kickFd < 0 }), kickFd < 0 ? [] : [kickFd]);
    if ((this.features & RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES) !== 0n) {
      await this.send('SET_VRING_ENABLE', encode.vringState({ index, num: 1 }));
    }
  }

  /** Stops a ring; returns the index of the next chain that the device would take. */
  async stopRing(index: number): Promise<number> {
    return decode.vringState(await this.send('GET_VRING_BASE', encode.vringState({ index, num: 0 }))).num;
  }

  /** Reads device configuration. */
  async readConfig(offset: number, length: number): Promise<Buffer> {
    const payload = encode.config({ offset, flags: 0, bytes: Buffer.alloc(length) });
    return decode.config(await this.send('GET_CONFIG', payload)).bytes;
  }

  close(): void {
    this.connection.close();
  }
}
