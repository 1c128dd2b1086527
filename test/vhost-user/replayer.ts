/** Plays a recorded conversation against a back end, with real memory, event counters and I/O, and checks every answer. */
import assert from 'node:assert/strict';
import { createEventFd, signal } from '../../src/host/eventfd.js';
import { close } from '../../src/host/libc.js';
import { MEMORY_REGIONS_MAX } from '../../src/limits.js';
import { encode } from '../../src/vhost-user/codec.js';
import { Flag } from '../../src/vhost-user/messages.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { features } from '../replays/features.js';
import {
  allRegions,
  type DriverStep,
  type FdSource,
  hasOwnReply,
  type MessageName,
  negotiatedSteps,
  type Replay,
  type SendStep,
} from '../replays/replay.js';
import { openMemory, socketPair } from './descriptors.js';
import type { RawFrontEnd } from './raw-front-end.js';
import { driverFor, type Other } from './replay-drivers.js';
import { ReplayMemory } from './replay-memory.js';
import {
  encodePayload,
  type Field,
  indexOf,
  MESSAGE_IDS,
  OFFERED_PROTOCOL_FEATURES,
  type Symbols,
} from './replay-payload.js';
import { type ReplayDriver, ReplayRing } from './replay-ring.js';

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

export class Replayer {
  readonly #replay: Replay;
  readonly #connect: () => Promise<RawFrontEnd>;
  readonly #device: VirtioDevice;
  readonly #offeredProtocolFeatures: bigint;
  readonly #driver: ReplayDriver;
  readonly #memory: ReplayMemory;
  readonly #rings: RingState[];
  readonly #fds: number[] = [];
  #front!: RawFrontEnd;
  #acked = 0n;
  #status = 0;
  #rounds = 0;
  #inflight: { payload: Buffer; fd: number } | undefined;

  /**
   * @param device - like the one that the back end serves
   * @param neighbour - who is in the same network, if it is a network card
   */
  constructor(replay: Replay, device: VirtioDevice, connect: () => Promise<RawFrontEnd>, neighbour?: Other) {
    this.#replay = replay;
    this.#device = device;
    this.#offeredProtocolFeatures = OFFERED_PROTOCOL_FEATURES[replay.device.kind];
    this.#connect = connect;
    this.#memory = new ReplayMemory(replay.memory, allRegions(replay));
    this.#driver = driverFor(replay, this.#memory, neighbour, (feature) => this.#has(feature));
    this.#rings = Array.from({ length: replay.queues }, () => ({ ring: undefined, returned: 0, ...NEW_SESSION }));
  }

  /** Plays all steps. Returns how often the driver did I/O. */
  async play(): Promise<number> {
    this.#front = await this.#connect();
    const steps = negotiatedSteps(this.#replay, this.#device.offeredFeatures, this.#offeredProtocolFeatures);
    let connected = true;
    for (const [number, step] of steps.entries()) {
      try {
        if (!connected) this.#front = await this.#connect();
        connected = !('disconnect' in step);
        if ('disconnect' in step) this.#disconnect();
        else if ('driver' in step) await this.#drive(step);
        else if ('announced' in step) await this.#driver.hearAnnouncement!(step.announced);
        else await this.#send(step);
      } catch (error) {
        throw new Error(`step ${number + 1} of ${steps.length}: ${JSON.stringify(step)}`, { cause: error });
      }
    }
    return this.#rounds;
  }

  close(): void {
    this.#front?.close();
    for (const { ring } of this.#rings) ring?.close();
    for (const fd of this.#fds) close(fd);
    this.#memory.close();
  }

  async #send(step: SendStep): Promise<void> {
    const { send, fds = [], needReply = false } = step;
    this.#prepare(step);
    const payload = encodePayload(step, this.#symbols);
    const descriptors = fds.flatMap((source, index) => this.#descriptor(step, source, index));
    await this.#front.connection.send(MESSAGE_IDS[send], needReply ? Flag.NEED_REPLY : 0, payload, descriptors);
    const before = this.#rings.map(({ stands }) => stands);
    this.#note(step, payload);
    if (step.reply !== true) return;
    const reply = await this.#front.reply(MESSAGE_IDS[send], send);
    if (hasOwnReply(send)) return this.#checkReply(step, payload, reply.payload, reply.fds, before);
    assert.deepEqual(reply.payload, encode.u64(0n), `${send} is taken`);
    assert.equal(reply.fds.length, 0);
  }

  /** Keeps track of what the message changes. */
  #note({ send, payload }: SendStep, bytes: Buffer): void {
    const index = indexOf(payload);
    const state = index === undefined ? undefined : this.#rings[index];
    switch (send) {
      case 'SET_FEATURES':
        this.#acked = bytes.readBigUInt64LE(0);
        this.#device.negotiate(this.#acked);
        if ((this.#acked & features('PROTOCOL_FEATURES')) === 0n) for (const ring of this.#rings) ring.enabled = true;
        break;
      case 'SET_CONFIG':
        assert.ok(this.#device.writeConfig(bytes.readUInt32LE(0), bytes.subarray(12)));
        break;
      case 'NET_SET_MTU':
        assert.ok(this.#device.network?.setMtu((payload as Field<'mtu'>).mtu));
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

  async #drive(step: DriverStep): Promise<void> {
    if (step.driver === 'reset') return this.#resetDriver();
    this.#rounds++;
    // Front ends that do not wait for answers leave it open when they are heard: here it must be before frames may not be lost.
    if (step.driver === 'exchange') await this.#settle();
    await this.#driver.act(step, this.#rings);
    for (const state of this.#rings) if (state.stands !== undefined && state.ring) state.stands = state.ring.usedIndex;
  }

  async #settle(): Promise<void> {
    await this.#front.connection.send(MESSAGE_IDS.GET_FEATURES, 0, Buffer.alloc(0), []);
    await this.#front.reply(MESSAGE_IDS.GET_FEATURES, 'GET_FEATURES');
  }

  #resetDriver(): void {
    this.#driver.reset();
    for (const state of this.#rings) {
      state.ring?.close();
      state.ring = undefined;
    }
  }

  /** The guest's ring; made when it is first spoken of. */
  #ring(index: number): ReplayRing {
    const state = this.#rings[index]!;
    if (state.ring === undefined) {
      const options = {
        eventIdx: this.#has(RING_FEATURES.EVENT_IDX),
        indirect: this.#has(RING_FEATURES.INDIRECT_DESC),
      };
      state.ring = new ReplayRing(index, this.#replay.queueSize, this.#memory, options);
      this.#driver.prepare(state.ring);
    }
    return state.ring;
  }

  /** What a message is about is there before it. */
  #prepare({ send, payload }: SendStep): void {
    if (payload === undefined) return;
    if ('regions' in payload) this.#memory.regions = payload.regions;
    if ('region' in payload) this.#memory.change(payload.region, send === 'ADD_MEM_REG');
    if (send === 'SET_VRING_NUM') this.#ring((payload as Field<'num'>).index);
  }

  #has(feature: bigint): boolean {
    return (this.#acked & feature) !== 0n;
  }

  get #symbols(): Symbols {
    return {
      features: ({ only, plus = 0n }) => {
        const acked = this.#replay.ackFeatures(this.#device.offeredFeatures);
        return (acked & (only ?? acked)) | plus;
      },
      protocolFeatures: this.#replay.ackProtocolFeatures(this.#offeredProtocolFeatures),
      base: (payload) => this.#base(payload),
      addresses: (index) => this.#ring(index).addresses,
      inflight: this.#inflight?.payload,
    };
  }

  #base({ index, base }: Field<'base'>): number {
    if (base === 'returned') return this.#rings[index]!.returned;
    if (base === 'avail-index') return this.#ring(index).availIndex;
    if (base === 'used-index') return this.#ring(index).usedIndex;
    return base;
  }

  #descriptor(step: SendStep, source: FdSource, position: number): number[] {
    const { payload } = step;
    const index = indexOf(payload) ?? 0;
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
      case 'kick-signalled':
      case 'kick-if-waiting': {
        const { kickFd, availIndex, usedIndex } = this.#ring(index);
        if (source === 'kick-signalled' || (source === 'kick-if-waiting' && availIndex !== usedIndex)) signal(kickFd);
        return [kickFd];
      }
      case 'call':
      case 'call-unheard':
      case 'call-shared':
        state.calledAt = undefined;
        if (source === 'call-unheard') return [keep(createEventFd())];
        // Several rings share the first one's: who is called looks at all of them.
        if (source === 'call-shared' && index > 0) state.calledAt = this.#rings[0]!.calledAt;
        return [(state.calledAt ??= keep(createEventFd()))];
      case 'err':
        return [keep(createEventFd())];
      case 'backend-channel': {
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
    const numbers: Partial<Record<MessageName, bigint>> = {
      GET_FEATURES: this.#device.offeredFeatures,
      GET_PROTOCOL_FEATURES: this.#offeredProtocolFeatures,
      GET_QUEUE_NUM: BigInt(this.#replay.queues),
      GET_MAX_MEM_SLOTS: BigInt(MEMORY_REGIONS_MAX),
      GET_STATUS: BigInt(this.#status),
    };
    const number = numbers[send];
    if (number !== undefined) return assert.deepEqual(reply, encode.u64(number));
    switch (send) {
      case 'GET_CONFIG': {
        const { offset, size } = payload as Field<'offset'>;
        return assert.deepEqual(reply, Buffer.concat([asked.subarray(0, 12), this.#device.readConfig(offset, size)]));
      }
      case 'GET_VRING_BASE': {
        const { index } = payload as Field<'index'>;
        const state = this.#rings[index]!;
        // Frames may be on their way when it is stopped: it stands where they were used last.
        state.returned = stood[index] === undefined ? state.base : (state.ring?.usedIndex ?? stood[index]!);
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
