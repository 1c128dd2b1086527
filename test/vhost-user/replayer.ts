/** Plays a recorded conversation against a back end, with real memory, event counters and I/O, and checks every answer. */
import assert from 'node:assert/strict';
import type { BlockDevice } from '../../src/block/device.js';
import { createEventFd, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { MEMORY_REGIONS_MAX } from '../../src/limits.js';
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import { Flag } from '../../src/vhost-user/messages.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import {
  type FdSource,
  features,
  hasOwnReply,
  negotiatedSteps,
  type Payload,
  type Region,
  type Replay,
  type SendStep,
} from '../replays/replay.js';
import { openMemory, socketPair } from './descriptors.js';
import type { RawFrontEnd } from './raw-front-end.js';
import { ReplayMemory, ReplayRing } from './replay-guest.js';

/** Front-end message types. vhost-user, "Front-end message types" */
const IDS: Record<SendStep['send'], number> = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHMEM_CONFIG: 44,
};
const OFFERED_PROTOCOL_FEATURES = [0, 3, 5, 9, 13, 15, 16].reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

/** What the front end knows of one ring, whatever becomes of the guest's driver. */
interface RingState {
  ring: ReplayRing | undefined;
  base: number;
  returned: number;
  /** Where it must stand when it is stopped, if it has run on this connection. */
  stands: number | undefined;
  armed: boolean;
  enabled: boolean;
  calledAt: number | undefined;
}

type Field<K extends string> = Extract<Payload, Record<K, unknown>>;

export class Replayer {
  readonly #replay: Replay;
  readonly #connect: () => Promise<RawFrontEnd>;
  readonly #device: BlockDevice;
  readonly #memory: ReplayMemory;
  readonly #rings: RingState[];
  readonly #fds: number[] = [];
  #front!: RawFrontEnd;
  #acked = 0n;
  #status = 0;
  #generation = 0;
  #inflight: { payload: Buffer; fd: number } | undefined;

  /** @param device - like the one that the back end serves */
  constructor(replay: Replay, device: BlockDevice, connect: () => Promise<RawFrontEnd>) {
    this.#replay = replay;
    this.#device = device;
    this.#connect = connect;
    const all = replay.steps.flatMap((step) => {
      if (!('send' in step) || step.payload === undefined) return [];
      return 'regions' in step.payload ? step.payload.regions : 'region' in step.payload ? [step.payload.region] : [];
    });
    this.#memory = new ReplayMemory(replay.memory, all);
    this.#rings = Array.from({ length: replay.queues }, () => ({
      ring: undefined,
      returned: 0,
      ...NEW_SESSION,
    }));
  }

  /** Plays all steps. Returns how often the driver did I/O. */
  async play(): Promise<number> {
    this.#front = await this.#connect();
    const steps = negotiatedSteps(this.#replay, this.#device.offeredFeatures, OFFERED_PROTOCOL_FEATURES);
    let connected = true;
    for (const [number, step] of steps.entries()) {
      try {
        if (!connected) this.#front = await this.#connect();
        connected = !('disconnect' in step);
        if ('disconnect' in step) this.#disconnect();
        else if ('driver' in step) await (step.driver === 'reset' ? this.#resetDriver() : this.#driveRings());
        else await this.#send(step);
      } catch (error) {
        throw new Error(`step ${number + 1} of ${steps.length}: ${JSON.stringify(step)}`, { cause: error });
      }
    }
    return this.#generation;
  }

  close(): void {
    this.#front?.close();
    for (const { ring } of this.#rings) ring?.close();
    for (const fd of this.#fds) close(fd);
    this.#memory.close();
  }

  async #send(step: SendStep): Promise<void> {
    const { send, fds = [], needReply = false } = step;
    const payload = this.#encode(step);
    const descriptors = fds.flatMap((source, index) => this.#descriptor(step, source, index));
    await this.#front.connection.send(IDS[send], needReply ? Flag.NEED_REPLY : 0, payload, descriptors);
    const before = this.#rings.map(({ stands }) => stands);
    this.#note(step, payload);
    if (step.reply !== true) return;
    const reply = await this.#front.reply(IDS[send], send);
    if (hasOwnReply(send)) return this.#checkReply(step, payload, reply.payload, reply.fds, before);
    assert.deepEqual(reply.payload, encode.u64(0n), `${send} is taken`);
    assert.equal(reply.fds.length, 0);
  }

  /** Keeps track of what the message changes. */
  #note({ send, payload }: SendStep, bytes: Buffer): void {
    const state = payload !== undefined && 'index' in payload ? this.#rings[payload.index] : undefined;
    switch (send) {
      case 'SET_FEATURES':
        this.#acked = bytes.readBigUInt64LE(0);
        this.#device.negotiate(this.#acked);
        if ((this.#acked & features('PROTOCOL_FEATURES')) === 0n) for (const ring of this.#rings) ring.enabled = true;
        break;
      case 'SET_CONFIG':
        assert.ok(this.#device.writeConfig(bytes.readUInt32LE(0), bytes.subarray(12)));
        break;
      case 'SET_STATUS':
        this.#status = Number(bytes.readBigUInt64LE(0));
        if (this.#status === 0) this.#resetDevice();
        break;
      case 'RESET_DEVICE':
        this.#status = 0;
        this.#resetDevice();
        break;
      case 'SET_VRING_KICK':
        state!.armed = true;
        break;
      case 'SET_VRING_BASE':
        state!.base = bytes.readUInt32LE(4);
        break;
      case 'SET_VRING_ENABLE':
        state!.enabled = bytes.readUInt32LE(4) === 1;
        break;
      case 'GET_VRING_BASE':
        state!.armed = false;
    }
    // A ring that runs goes on from where it was used, whatever base was said.
    if (state?.ring !== undefined && state.armed && state.enabled) state.stands = state.ring.usedIndex;
  }

  #resetDevice(): void {
    this.#device.reset();
    for (const ring of this.#rings) {
      ring.armed = false;
      ring.enabled = (this.#acked & features('PROTOCOL_FEATURES')) === 0n && this.#acked !== 0n;
    }
  }

  #disconnect(): void {
    this.#front.close();
    this.#device.reset();
    this.#status = 0;
    this.#acked = 0n;
    for (const ring of this.#rings) Object.assign(ring, NEW_SESSION);
  }

  #resetDriver(): void {
    for (const state of this.#rings) {
      state.ring?.close();
      state.ring = undefined;
    }
  }

  async #driveRings(): Promise<void> {
    this.#generation++;
    const up = this.#rings.filter(({ armed, enabled }) => armed && enabled);
    assert.ok(up.length > 0, 'some ring is up');
    for (const state of up) {
      await state.ring!.writeAndRead(this.#generation, state.calledAt);
      state.stands = state.ring!.done;
      assert.equal(state.ring!.usedIndex, state.ring!.done, 'each request is answered once');
    }
  }

  /** The guest's ring; made when it is first spoken of. */
  #ring(index: number): ReplayRing {
    const state = this.#rings[index]!;
    const has = (feature: bigint) => (this.#acked & feature) !== 0n;
    state.ring ??= new ReplayRing(index, this.#replay.queueSize, this.#memory, {
      eventIdx: has(RING_FEATURES.EVENT_IDX),
      indirect: has(RING_FEATURES.INDIRECT_DESC),
    });
    return state.ring;
  }

  #encode({ send, payload, fds }: SendStep): Buffer {
    if (payload === undefined) return Buffer.alloc(0);
    if ('features' in payload) {
      const acked = this.#replay.ackFeatures(this.#device.offeredFeatures);
      return encode.u64((acked & (payload.only ?? acked)) | (payload.plus ?? 0n));
    }
    if ('protocolFeatures' in payload) return encode.u64(this.#replay.ackProtocolFeatures(OFFERED_PROTOCOL_FEATURES));
    if ('status' in payload) return encode.u64(BigInt(payload.status));
    if ('num' in payload) {
      if (send === 'SET_VRING_NUM') this.#ring(payload.index);
      return encode.vringState(payload);
    }
    if ('base' in payload) return encode.vringState({ index: payload.index, num: this.#base(payload) });
    if ('ring' in payload) {
      const { index, flags } = payload;
      return encode.vringAddress({ index, flags, log: 0n, ...this.#ring(index).addresses });
    }
    if ('regions' in payload) {
      this.#memory.regions = payload.regions;
      return encode.memoryTable(payload.regions.map(regionMessage));
    }
    if ('region' in payload) {
      const others = this.#memory.regions.filter(({ guestAddress }) => guestAddress !== payload.region.guestAddress);
      this.#memory.regions = send === 'ADD_MEM_REG' ? [...others, payload.region] : others;
      return encode.memoryRegion(
        regionMessage({ ...payload.region, ...(send === 'REM_MEM_REG' ? { mmapOffset: 0 } : {}) }),
      );
    }
    if ('offset' in payload) {
      const bytes = Buffer.alloc(payload.size);
      bytes.set(payload.data ?? []);
      return encode.config({ offset: payload.offset, flags: payload.flags, bytes });
    }
    if ('area' in payload) return this.#encodeInflight(payload);
    if ('logSize' in payload)
      return Buffer.concat([encode.u64(BigInt(payload.logSize)), encode.u64(BigInt(payload.logOffset))]);
    return encode.vringFd({ index: payload.index, noFd: fds?.includes('none') ?? false });
  }

  #base({ index, base }: Field<'base'>): number {
    if (base === 'returned') return this.#rings[index]!.returned;
    if (base === 'avail-index') return this.#ring(index).availIndex;
    if (base === 'used-index') return this.#ring(index).usedIndex;
    return base;
  }

  #encodeInflight({ queues, queueSize, area }: Field<'area'>): Buffer {
    const payload = Buffer.alloc(24);
    if (area === 'returned') this.#inflight!.payload.copy(payload);
    payload.writeUInt16LE(queues, 16);
    payload.writeUInt16LE(queueSize, 18);
    return payload;
  }

  #descriptor(step: SendStep, source: FdSource, position: number): number[] {
    const { payload } = step;
    const index = payload !== undefined && 'index' in payload ? payload.index : 0;
    const state = this.#rings[index]!;
    const keep = (fd: number) => {
      this.#fds.push(fd);
      return fd;
    };
    switch (source) {
      case 'none':
        return [];
      case 'memory': {
        const region =
          payload !== undefined && 'regions' in payload
            ? payload.regions[position]!
            : (payload as Field<'region'>).region;
        return [this.#memory.file(region.file).fd];
      }
      case 'kick':
        return [this.#ring(index).kickFd];
      case 'kick-signalled':
        signal(this.#ring(index).kickFd);
        return [this.#ring(index).kickFd];
      case 'call':
      case 'call-unheard':
      case 'call-shared':
        state.calledAt = undefined;
        if (source === 'call-unheard') return [keep(createEventFd())];
        // Several rings share the first one's: who is called looks at all of them.
        if (source === 'call-shared' && index > 0) state.calledAt = this.#rings[0]!.calledAt;
        return [(state.calledAt ??= keep(createEventFd()))];
      case 'err':
      case 'backend-channel': {
        if (source === 'err') return [keep(createEventFd())];
        const [ours, theirs] = socketPair();
        return [keep(theirs), keep(ours)].slice(0, 1);
      }
      case 'inflight':
        return [this.#inflight!.fd];
      case 'log':
        return [keep(openMemory(2 ** 20, true))];
    }
  }

  #checkReply(
    { send, payload }: SendStep,
    asked: Buffer,
    reply: Buffer,
    fds: readonly number[],
    stood: readonly (number | undefined)[],
  ): void {
    if (send !== 'GET_INFLIGHT_FD') assert.equal(fds.length, 0, `descriptors with the reply to ${send}`);
    switch (send) {
      case 'GET_FEATURES':
        return assert.deepEqual(reply, encode.u64(this.#device.offeredFeatures));
      case 'GET_PROTOCOL_FEATURES':
        return assert.deepEqual(reply, encode.u64(OFFERED_PROTOCOL_FEATURES));
      case 'GET_QUEUE_NUM':
        return assert.deepEqual(reply, encode.u64(BigInt(this.#replay.queues)));
      case 'GET_MAX_MEM_SLOTS':
        return assert.deepEqual(reply, encode.u64(BigInt(MEMORY_REGIONS_MAX)));
      case 'GET_STATUS':
        return assert.deepEqual(reply, encode.u64(BigInt(this.#status)));
      case 'GET_CONFIG': {
        const { offset, size } = payload as Field<'offset'>;
        return assert.deepEqual(reply, Buffer.concat([asked.subarray(0, 12), this.#device.readConfig(offset, size)]));
      }
      case 'GET_VRING_BASE': {
        const { index } = payload as Field<'index'>;
        const state = this.#rings[index]!;
        state.returned = stood[index] ?? state.base;
        return assert.deepEqual(reply, encode.vringState({ index, num: state.returned }));
      }
      case 'GET_INFLIGHT_FD':
        assert.deepEqual([reply.length, fds.length], [24, 1]);
        this.#fds.push(fds[0]!);
        this.#inflight = { payload: reply, fd: fds[0]! };
        return;
      case 'SET_LOG_BASE':
        return assert.ok(reply.length === 8 || reply.length === 16);
      default:
        assert.fail(`no check for the reply to ${send}`);
    }
  }
}

/** What a new connection knows of a ring: nothing. */
const NEW_SESSION = { stands: undefined, armed: false, enabled: false, calledAt: undefined, base: 0 } as const;

function regionMessage({ guestAddress, size, userAddress, mmapOffset }: Region): RegionMessage {
  return {
    guestAddress: BigInt(guestAddress),
    size: BigInt(size),
    userAddress: BigInt(userAddress),
    mmapOffset: BigInt(mmapOffset),
  };
}
