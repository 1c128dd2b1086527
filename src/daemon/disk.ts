import type { Logger } from 'pino';
import type { OpenDisk } from '../block/backends/backend.js';
import { type BackendSpec, openDisk } from '../block/backends/index.js';
import { BlockDevice } from '../block/device.js';
import { faultCode } from '../block/faults.js';
import { SidecoreError } from '../errors.js';
import { eventCount } from '../host/eventfd.js';
import { errorText } from '../host/libc.js';
import { Endpoint } from '../vhost-user/endpoint.js';
import type { Vring } from '../vhost-user/vring.js';
import { QueueCounter, type QueueCounterName, QueuePhase } from '../virtio/queue-state.js';
import type { DiskConfig } from './config.js';
import type { CoreSet } from './core-set.js';
import { FaultLog } from './fault-log.js';

/** Who may use a disk's socket, in numbers. */
export interface SocketOwner {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly mode?: number | undefined;
}

/** One configured disk while the daemon runs: its image, its device, its socket, its core. */
export class ServedDisk {
  readonly label: string;
  readonly #config: DiskConfig;
  readonly #opened: OpenDisk<BackendSpec>;
  readonly #device: BlockDevice;
  readonly #endpoint: Endpoint;
  readonly #core: number;
  readonly #faults: FaultLog;
  readonly #log: Logger;

  /** Opens the image; throws one clear error if it cannot. */
  constructor(
    vm: string,
    name: string,
    config: DiskConfig,
    options: { unsealedMemory: boolean; owner: SocketOwner; cores: CoreSet; log: Logger },
  ) {
    this.label = `${vm}/${name}`;
    this.#config = config;
    this.#log = options.log.child({ disk: this.label });
    this.#faults = new FaultLog(this.#log);
    this.#opened = openDisk(
      config.backend.type === 'file' ? { ...config.backend, readOnly: config.read_only } : config.backend,
    );
    const readOnly = config.read_only || this.#opened.abilities.readOnly;
    this.#device = new BlockDevice({
      abilities: this.#opened.abilities,
      readOnly,
      blockBytes: config.block_size,
      queues: config.queues,
      serial: config.serial ?? this.label,
      writeback: config.cache === 'writeback',
    });
    const { core, server } = options.cores.place();
    this.#core = core.options.index;
    this.#endpoint = new Endpoint(
      {
        path: config.socket!,
        role: config.role,
        ...options.owner,
        onChange: (kind, text) => this.#faults.note(kind, `${this.label}: ${text}`),
      },
      {
        device: this.#device,
        spec: { shared: this.#device.shared, readOnly, queues: config.queues, backend: this.#opened.spec },
        server,
        allowUnsealedMemory: options.unsealedMemory,
        onFault: (code, text) => this.#faults.add(code, `${this.label}: ${text}`),
      },
    );
  }

  start(): void {
    this.#endpoint.start();
    this.#log.info(`${this.label}: ${this.#config.backend.type} disk at ${this.#config.socket}`);
  }

  async stop(): Promise<void> {
    await this.#endpoint.stop();
    this.#opened.close();
  }

  /** After `stop`, at a start that failed: takes back what opening the disk has made. */
  discard(): void {
    this.#opened.undo?.();
  }

  /** Changes the disk's size while its guest runs. Returns the new size, and whether the guest was told of it. */
  async resize(sizeBytes: number | undefined): Promise<{ sizeBytes: number; guestTold: boolean }> {
    const blockBytes = this.#config.block_size;
    if (sizeBytes !== undefined && sizeBytes % blockBytes !== 0) {
      const next = Math.ceil(sizeBytes / blockBytes) * blockBytes;
      throw new SidecoreError(
        'CONFIG_INVALID',
        `${sizeBytes} bytes are no multiple of the disk's block_size, ${blockBytes}`,
        `Ask for ${next} bytes.`,
      );
    }
    const size = this.#opened.resize(sizeBytes);
    this.#device.resize(size);
    const guestTold = this.#endpoint.session?.notifyConfigChange() ?? false;
    this.#log.info(`${this.label}: now ${size} bytes${guestTold ? '' : '; no front end could be told'}`);
    return { sizeBytes: size, guestTold };
  }

  /** To be called now and then: reports what storage has failed since the last time. */
  reportIoErrors(): void {
    const { ioErrors } = this.#opened;
    const count = ioErrors?.look() ?? 0;
    const { backend } = this.#config;
    if (ioErrors === undefined || count === 0) return;
    const why = ioErrors.last === 0 ? 'it has become shorter than the disk' : errorText(ioErrors.last);
    const requests = count === 1 ? '1 request' : `${count} requests`;
    const image = backend.type === 'file' ? backend.path : backend.type;
    this.#faults.add('IO_FAILED', `${this.label}: ${requests} failed in ${image}: ${why}`, count);
  }

  /** Counters and phases, for `status`. */
  status() {
    this.reportIoErrors();
    const { session } = this.#endpoint;
    return {
      socket: this.#config.socket,
      role: this.#config.role,
      backend: this.#config.backend.type,
      size_bytes: this.#device.capacityBytes,
      core: this.#core,
      connected: session !== undefined,
      sessions: this.#endpoint.sessions,
      features: `0x${(session?.features ?? 0n).toString(16)}`,
      protocol_features: `0x${(session?.protocolFeatures ?? 0n).toString(16)}`,
      memory_regions: session?.memory.regions.length ?? 0,
      faults: this.#faults.counts,
      last_fault: this.#faults.last ?? null,
      queues: (session?.vrings ?? []).map(queueStatus),
    };
  }
}

const PHASES = Object.fromEntries(Object.entries(QueuePhase).map(([name, phase]) => [phase, name.toLowerCase()]));

function queueStatus(vring: Vring) {
  const { state } = vring;
  const counters = Object.fromEntries(
    Object.entries(QueueCounter).map(([name, slot]) => [name.toLowerCase(), state?.counters[slot] ?? 0]),
  ) as Record<Lowercase<QueueCounterName>, number>;
  return {
    index: vring.index,
    size: vring.size,
    phase: PHASES[state?.phase ?? QueuePhase.STOPPED],
    fault: vring.fault ?? (state?.fault ? faultCode(state.fault) : null),
    enabled: vring.enabled,
    // The counter is never emptied, because it is watched edge-triggered: its value is the number of kicks.
    kicks: Number(eventCount(vring.kickFd)),
    ...counters,
  };
}

/** The error for a disk that is not configured. */
export function unknownDisk(label: string, known: readonly string[]): SidecoreError {
  return new SidecoreError('CONFIG_INVALID', `there is no disk ${label}`, `Disks are: ${known.join(', ') || 'none'}.`);
}
