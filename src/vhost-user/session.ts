import { setImmediate } from 'node:timers/promises';
import { ERROR_CODES, type ErrorCode, SidecoreError } from '../errors.js';
import { closeForeign } from '../host/closer.js';
import type { VirtioDevice } from '../virtio/device.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { DeviceSpec, QueueServer } from '../virtio/queue-spec.js';
import { checkMessage } from './check-message.js';
import { encode, type RegionMessage, type VringAddress, type VringFd, type VringState } from './codec.js';
import { Connection, type Message } from './connection.js';
import { DeviceMessages } from './device-messages.js';
import { HANDLERS } from './handlers.js';
import { MemoryTable } from './memory-table.js';
import {
  BACKEND_MESSAGES,
  Flag,
  messageName,
  messageRow,
  offeredProtocolFeatures,
  PROTOCOL_FEATURES,
} from './messages.js';
import type { Pace } from './pace.js';
import { Vring, type VringContext } from './vring.js';

/** What a session serves, and for whom. */
export interface SessionSetup {
  readonly device: VirtioDevice;
  readonly spec: DeviceSpec;
  readonly server: QueueServer;
  readonly allowUnsealedMemory: boolean;
  /** Told once for each fault, with its code and what happened. */
  onFault(code: ErrorCode, text: string): void;
}

/** What a connection takes, in messages of the pace: its end takes back all that it set up. */
const CONNECTION_COST = 16;

const OK = 0n;
const FAILED = 1n;

/**
 * One front end's conversation, from its connection to its end: answers its messages one after the other, keeps what they
 * set up, and has complete rings served. Everything it set up goes with it.
 */
export class Session {
  readonly vrings: Vring[];
  readonly memory: MemoryTable;
  readonly device: DeviceMessages;
  readonly #setup: SessionSetup;
  readonly #connection: Connection;
  readonly #pace: Pace;
  /** Negotiated; undefined before SET_FEATURES. */
  #features: bigint | undefined;
  #protocolFeatures = 0n;
  #status = 0;
  #backendChannel: Connection | undefined;
  /** The front end made a sidecore wait for it. */
  obstructive = false;

  /** @param pace - shared by all who connect to the device, one after the other */
  constructor(setup: SessionSetup, socketFd: number, pace: Pace) {
    this.#setup = setup;
    this.#pace = pace;
    this.#connection = new Connection(socketFd);
    this.memory = new MemoryTable(setup.allowUnsealedMemory);
    this.device = new DeviceMessages(setup, (error) => this.#report(error));
    this.vrings = Array.from({ length: setup.device.queueCount }, (_, index) => new Vring(index));
  }

  get features(): bigint {
    return this.#features ?? 0n;
  }

  get offeredProtocolFeatures(): bigint {
    return offeredProtocolFeatures(this.#setup.device.network !== undefined);
  }

  get protocolFeatures(): bigint {
    return this.#protocolFeatures;
  }

  /** Answers messages until the front end leaves, breaks the protocol, or `close` is called. Never throws. */
  async run(): Promise<void> {
    try {
      await this.#pace.take(CONNECTION_COST);
      for (let message = await this.#connection.receive(); message; message = await this.#connection.receive()) {
        await this.#pace.take(1);
        await this.#answer(message);
        // Whoever else waits for this thread has its turn between two messages.
        await setImmediate();
      }
    } catch (error) {
      this.#report(error);
    }
    await this.#end();
  }

  /** Makes `run` end. */
  close(): void {
    this.#connection.stop();
  }

  /** Tells the front end to read the configuration space again; false if it has given us no way to, or does not listen. */
  notifyConfigChange(): boolean {
    return this.#backendChannel?.trySend(BACKEND_MESSAGES.CONFIG_CHANGE, 0) ?? false;
  }

  async #answer(message: Message): Promise<void> {
    const fds = [...message.fds];
    try {
      const name = messageName(message.id);
      const needsReply = this.#hasProtocol('REPLY_ACK') && (message.flags & Flag.NEED_REPLY) !== 0;
      let reply: Buffer | undefined;
      let error: unknown;
      try {
        if (name === undefined) throw new SidecoreError('MESSAGE_UNKNOWN', `message ${message.id} is not known here`);
        checkMessage(name, message, this.#protocolFeatures);
        reply = (await HANDLERS[name](this, message.payload, fds)) ?? undefined;
      } catch (caught) {
        error = caught;
      }
      const hasOwnReply = name !== undefined && messageRow(name).reply !== undefined;
      const ours = error !== undefined && !(error instanceof SidecoreError);
      const bearable = error instanceof SidecoreError && error.radius === 'request';
      if (ours || (error !== undefined && !bearable && (!needsReply || hasOwnReply))) throw error;
      if (error !== undefined) this.#report(error);
      if (reply !== undefined) await this.#reply(message.id, reply);
      else if (needsReply && !hasOwnReply) await this.#reply(message.id, encode.u64(error === undefined ? OK : FAILED));
    } finally {
      // What no handler has taken over.
      for (const fd of fds) closeForeign(fd);
    }
  }

  #reply(id: number, payload: Buffer): Promise<void> {
    return this.#connection.send(id, Flag.REPLY, payload);
  }

  #report(error: unknown): void {
    if (error instanceof SidecoreError)
      this.#setup.onFault(error.code, error.remedy ? `${error.message}. ${error.remedy}` : error.message);
    else this.#setup.onFault('INTERNAL_ERROR', error instanceof Error ? (error.stack ?? error.message) : String(error));
  }

  /** The sockets are closed last: a front end that sees them closed may take it that nobody touches its memory any more. */
  async #end(): Promise<void> {
    this.#connection.stop();
    try {
      await this.#reset();
      for (const vring of this.vrings) vring.reset();
      this.memory.clear();
      this.#setup.device.reset();
      this.#setup.device.network?.endSession();
    } catch (error) {
      // Its memory stays mapped, for a sidecore may still use it.
      this.#report(error);
    } finally {
      this.#backendChannel?.close(closeForeign);
      this.#connection.close(closeForeign);
    }
  }

  #hasProtocol(feature: keyof typeof PROTOCOL_FEATURES): boolean {
    return (this.#protocolFeatures & PROTOCOL_FEATURES[feature]) !== 0n;
  }

  #context(): VringContext {
    const { server, spec, onFault } = this.#setup;
    return {
      server,
      device: spec,
      memory: this.memory,
      pace: this.#pace,
      features: this.features,
      onFault: (vring, code) => {
        onFault(code, `queue ${vring.index} was stopped`);
        if (ERROR_CODES[code] !== 'session') return;
        this.obstructive = true;
        this.close();
      },
    };
  }

  #vring(index: number): Vring {
    const vring = this.vrings[index];
    if (vring === undefined)
      throw new SidecoreError('VRING_INVALID', `there is no ring ${index}, only ${this.vrings.length}`);
    return vring;
  }

  /** Changes one ring: takes it back, changes it, and has it served again if it is complete. */
  async #change(index: number, change: (vring: Vring) => void): Promise<void> {
    const vring = this.#vring(index);
    await vring.pause(this.#context());
    try {
      change(vring);
    } finally {
      await vring.resume(this.#context());
    }
  }

  /** Does something with all rings, and returns when none of it goes on; then throws what went wrong first. */
  async #eachVring(act: (vring: Vring) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(this.vrings.map(act));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /**
   * Changes guest memory under all rings.
   *
   * @param inPieces - one region only: QEMU takes a region away to give it back in another size, rings and all
   */
  async #changeMemory(change: () => void | Promise<void>, inPieces = false): Promise<void> {
    await this.#eachVring((vring) => vring.pause(this.#context()));
    try {
      await change();
    } finally {
      await this.#eachVring((vring) => vring.resume(this.#context(), inPieces));
    }
  }

  /**
   * Stops and disables all rings; the device is as before any driver. Where the rings stand is kept: QEMU resets before it
   * asks (GET_VRING_BASE). So are features and memory: crosvm and QEMU with memory slots do not repeat them.
   */
  async #reset(): Promise<void> {
    await this.#eachVring((vring) => vring.pause(this.#context()));
    for (const vring of this.vrings) {
      vring.stop();
      vring.enabled = this.#ringsStartEnabled();
    }
    this.#status = 0;
    this.#setup.device.reset();
    this.#setup.device.negotiate(this.#features ?? 0n);
  }

  getFeatures(): bigint {
    return this.#setup.device.offeredFeatures;
  }

  async setFeatures(features: bigint): Promise<void> {
    const unknown = features & ~(this.#setup.device.offeredFeatures | RING_FEATURES.ANY_LAYOUT);
    if (unknown !== 0n)
      throw new SidecoreError('FEATURES_INVALID', `features 0x${unknown.toString(16)} were never offered`);
    await this.#changeMemory(() => {
      this.#features = features;
      this.#setup.device.negotiate(features);
      if (this.#ringsStartEnabled()) for (const vring of this.vrings) vring.enabled = true;
    });
  }

  /** Without protocol features there is no ENABLE message: rings are enabled from the start. */
  #ringsStartEnabled(): boolean {
    return this.#features !== undefined && (this.#features & RING_FEATURES.VHOST_USER_PROTOCOL_FEATURES) === 0n;
  }

  setProtocolFeatures(features: bigint): void {
    const unknown = features & ~this.offeredProtocolFeatures;
    if (unknown !== 0n)
      throw new SidecoreError('FEATURES_INVALID', `protocol features 0x${unknown.toString(16)} were never offered`);
    this.#protocolFeatures = features;
  }

  async setMemoryTable(regions: readonly RegionMessage[], fds: readonly number[]): Promise<void> {
    await this.#pace.take(regions.length);
    return this.#changeMemory(() => this.memory.set(regions, fds));
  }

  addMemoryRegion(region: RegionMessage, fd: number | undefined): Promise<void> {
    if (fd === undefined) throw new SidecoreError('MESSAGE_FDS', 'ADD_MEM_REG came without a descriptor');
    return this.#changeMemory(() => this.memory.add(region, fd), true);
  }

  removeMemoryRegion(region: RegionMessage): Promise<void> {
    return this.#changeMemory(() => this.memory.remove(region), true);
  }

  setVringNum({ index, num }: VringState): Promise<void> {
    return this.#change(index, (vring) => vring.setSize(num, this.#features));
  }

  setVringAddress(address: VringAddress): Promise<void> {
    return this.#change(address.index, (vring) => vring.setAddress(address));
  }

  setVringBase({ index, num }: VringState): Promise<void> {
    return this.#change(index, (vring) => vring.setBase(num, this.#features));
  }

  setVringEnable({ index, num }: VringState): Promise<void> {
    return this.#change(index, (vring) => {
      vring.enabled = num !== 0;
    });
  }

  /** Stops the ring and tells where it stands. */
  async getVringBase(index: number): Promise<VringState> {
    const vring = this.#vring(index);
    await vring.pause(this.#context());
    vring.stop();
    return { index, num: vring.base(this.features) };
  }

  /** Gives a ring one of its three descriptors; the ring owns it from then on. */
  setVringFd(kind: 'Kick' | 'Call' | 'Err', { index, noFd }: VringFd, fds: number[]): Promise<void> {
    if (!noFd && fds.length === 0)
      throw new SidecoreError('MESSAGE_FDS', `SET_VRING_${kind.toUpperCase()} came without its descriptor`);
    return this.#change(index, (vring) => {
      vring[`set${kind}`](noFd ? -1 : fds[0]!);
      if (!noFd) fds.shift();
    });
  }

  setBackendChannel(fd: number | undefined): void {
    if (fd === undefined) throw new SidecoreError('MESSAGE_FDS', 'SET_BACKEND_REQ_FD came without a descriptor');
    this.#backendChannel?.close(closeForeign);
    this.#backendChannel = new Connection(fd);
  }

  getStatus(): number {
    return this.#status;
  }

  /** Device status as the driver has set it; zero resets the device. VIRTIO 1.3, 2.1 */
  async setStatus(status: bigint): Promise<void> {
    if (status === 0n) await this.#reset();
    this.#status = Number(status & 0xffn);
  }

  reset(): Promise<void> {
    return this.#reset();
  }
}
