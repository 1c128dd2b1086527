/** Messages that no front end would send: mostly well-formed, with something wrong somewhere. From one seed, so they come again. */
import { openSync } from 'node:fs';
import { Epoll } from '../../src/host/epoll.js';
import { createEventFd } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { PAGE_BYTES } from '../../src/host/memory-map.js';
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import {
  Flag,
  HEADER_BYTES,
  MESSAGES,
  type MessageName,
  messageRow,
  type PayloadKind,
} from '../../src/vhost-user/messages.js';
import type { Random } from '../support/seed.js';
import { addSeals, eventFdOfAnotherKind, openMemory, pipe, Seal, socketPair } from './descriptors.js';
import { ALL_PROTOCOL_FEATURES } from './raw-front-end.js';
import { FEATURES, type TestGuest } from './test-guest.js';

/** One message as it goes to the socket: perhaps cut, perhaps with a size that lies. */
export interface RandomMessage {
  readonly bytes: Buffer;
  readonly fds: readonly number[];
  readonly text: string;
}

export function randomBytes(random: Random, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => random.below(256)));
}

function randomU64(random: Random): bigint {
  return (BigInt(random.word()) << 32n) | BigInt(random.word());
}

const NAMES = Object.keys(MESSAGES) as MessageName[];
const FDS_MAX = 20;
const SIZES = [0, 1, 2, 3, 8, 16, 64, 128, 256, 32768, 65535, 65536, 0xffffffff];

/** Descriptors of every kind, each owned by this pool; a message may carry any of them any number of times. */
class Descriptors {
  readonly memory: readonly number[];
  readonly eventFds: readonly number[];
  readonly others: readonly number[];

  constructor() {
    const sealed = openMemory(PAGE_BYTES, true);
    addSeals(sealed, Seal.SEAL | Seal.SHRINK | Seal.WRITE);
    this.memory = [openMemory(PAGE_BYTES, true), openMemory(0, true), openMemory(2 ** 20, false), sealed];
    this.eventFds = [createEventFd(), createEventFd(), eventFdOfAnotherKind()];
    const files = ['/dev/null', '/dev/zero', '/proc/self/exe', '/'].map((path) => openSync(path, 'r'));
    this.others = [...pipe(), ...socketPair(), new Epoll(1).fd, ...files];
  }

  close(): void {
    for (const fd of [...this.memory, ...this.eventFds, ...this.others]) close(fd);
  }
}

export class RandomMessages {
  readonly #random: Random;
  readonly #guest: TestGuest;
  readonly #fds = new Descriptors();

  constructor(random: Random, guest: TestGuest) {
    this.#random = random;
    this.#guest = guest;
  }

  close(): void {
    this.#fds.close();
  }

  next(): RandomMessage {
    const random = this.#random;
    const name = random.pick(NAMES);
    const row = messageRow(name);
    const regions = random.below(name === 'SET_MEM_TABLE' ? 10 : 1);
    let payload = random.chance(0.85)
      ? this.#payload(row.payload, name, regions)
      : randomBytes(random, random.below(100));
    if (random.chance(0.05)) payload = payload.subarray(0, random.below(payload.length + 1));
    if (random.chance(0.03)) payload = Buffer.concat([payload, randomBytes(random, random.below(200))]);
    const fds = random.chance(0.75) ? this.#fittingFds(name, regions) : this.#anyFds();
    const id = random.chance(0.97) ? row.id : random.pick([0, 6, 7, 19, 31, 35, 41, 44, 999, random.word()]);
    let flags = Flag.VERSION | (random.chance(0.85) ? Flag.NEED_REPLY : 0);
    if (random.chance(0.03)) flags = random.word();
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(id, 0);
    header.writeUInt32LE(flags >>> 0, 4);
    header.writeUInt32LE(
      random.chance(0.97) ? payload.length : random.pick([...SIZES, payload.length + 1, payload.length * 2]),
      8,
    );
    const whole = Buffer.concat([header, payload]);
    const bytes = random.chance(0.98) ? whole : whole.subarray(0, random.below(whole.length) + 1);
    return { bytes, fds, text: `${name} (${id}), flags ${flags}, ${bytes.length} bytes, ${fds.length} descriptors` };
  }

  #payload(kind: PayloadKind, name: MessageName, regions: number): Buffer {
    const random = this.#random;
    const index = random.chance(0.8) ? random.below(2) : random.pick([2, 255, 256, 0xffffffff]);
    switch (kind) {
      case 'none':
        return Buffer.alloc(0);
      case 'u64':
        return encode.u64(this.#u64(name));
      case 'vringFd':
        return encode.u64(
          BigInt(index) | (random.chance(0.3) ? 0x100n : 0n) | (random.chance(0.05) ? randomU64(random) : 0n),
        );
      case 'vringState':
        return encode.vringState({
          index,
          num: name === 'SET_VRING_ENABLE' ? random.below(3) : random.pick([...SIZES, random.word()]),
        });
      case 'vringAddress':
        return encode.vringAddress({
          index,
          flags: random.below(4),
          descriptors: this.#ringAddress(),
          used: this.#ringAddress(),
          available: this.#ringAddress(),
          log: randomU64(random),
        });
      case 'memoryTable':
        return encode.memoryTable(Array.from({ length: regions }, () => this.#region()));
      case 'memoryRegion':
        return encode.memoryRegion(this.#region());
      case 'config': {
        const message = encode.config({
          offset: random.pick([0, 32, 255, 256, random.word()]),
          flags: random.below(4),
          bytes: randomBytes(random, random.below(20)),
        });
        if (random.chance(0.3)) message.writeUInt32LE(random.pick(SIZES), 4);
        return message;
      }
    }
  }

  #u64(name: MessageName): bigint {
    const random = this.#random;
    if (random.chance(0.2)) return randomU64(random);
    if (name === 'SET_FEATURES') return FEATURES ^ (random.chance(0.3) ? 1n << BigInt(random.below(40)) : 0n);
    if (name === 'SET_PROTOCOL_FEATURES')
      return ALL_PROTOCOL_FEATURES & ~(random.chance(0.2) ? 1n << BigInt(random.below(20)) : 0n);
    return BigInt(random.below(16));
  }

  /** The user address of some place in guest memory, mostly aligned, so that garbage is served as a ring now and then. */
  #ringAddress(): bigint {
    const random = this.#random;
    if (random.chance(0.1)) return randomU64(random);
    const { ram } = this.#guest;
    return BigInt(ram.userAddress + random.below(ram.byteLength)) & (random.chance(0.95) ? ~15n : ~0n);
  }

  #region(): RegionMessage {
    const random = this.#random;
    const { ram, region } = this.#guest;
    if (random.chance(0.3)) return region;
    const start = random.below(ram.byteLength);
    const edge = () => (random.chance(0.05) ? randomU64(random) : 0n);
    return {
      guestAddress: BigInt(start) + edge(),
      size: BigInt(random.below(ram.byteLength - start) + 1) + edge(),
      userAddress: BigInt(ram.userAddress + start) + edge(),
      mmapOffset: BigInt(start) + edge(),
    };
  }

  #fittingFds(name: MessageName, regions: number): number[] {
    const random = this.#random;
    const { ram, queue } = this.#guest;
    const memory = () => (random.chance(0.9) ? ram.fd : random.pick(this.#fds.memory));
    switch (name) {
      case 'SET_MEM_TABLE':
        return Array.from({ length: regions }, memory);
      case 'ADD_MEM_REG':
        return [memory()];
      case 'SET_VRING_KICK':
      case 'SET_VRING_CALL':
      case 'SET_VRING_ERR':
        return [random.chance(0.5) ? queue.driver.kickFd : random.pick(this.#fds.eventFds)];
      case 'SET_BACKEND_REQ_FD':
        return [random.pick(this.#fds.others)];
      default:
        return [];
    }
  }

  #anyFds(): number[] {
    const random = this.#random;
    const all = [...this.#fds.memory, ...this.#fds.eventFds, ...this.#fds.others, this.#guest.ram.fd];
    return Array.from({ length: random.below(FDS_MAX + 1) }, () => random.pick(all));
  }
}
