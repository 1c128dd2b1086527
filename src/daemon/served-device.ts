import type { Logger } from 'pino';
import type { ErrorCode } from '../errors.js';
import type { FilterGroups } from '../filter/filter-groups.js';
import { eventCount } from '../host/eventfd.js';
import { Endpoint } from '../vhost-user/endpoint.js';
import type { Vring } from '../vhost-user/vring.js';
import type { VirtioDevice } from '../virtio/device.js';
import { faultCode } from '../virtio/queue-faults.js';
import type { DeviceSpec } from '../virtio/queue-spec.js';
import { QueueCounter, type QueueCounterName, QueuePhase } from '../virtio/queue-state.js';
import type { Core } from './core.js';
import type { CoreSet } from './core-set.js';
import { FaultLog } from './fault-log.js';
import type { PlacedDevice } from './placed-device.js';

/** Who may use a device's socket, in numbers. */
export interface SocketOwner {
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly mode?: number | undefined;
}

/** What devices of a VM have in common with others of the daemon. */
export interface DevicePlace {
  readonly account: DeviceSpec['account'];
  readonly unsealedMemory: boolean;
  readonly owner: SocketOwner;
  readonly cores: CoreSet;
  readonly groups: FilterGroups;
  readonly log: Logger;
}

/** Where a device's front end is met, as configured. */
export interface SocketConfig {
  readonly socket?: string | undefined;
  readonly role: 'server' | 'client';
}

/** One configured device while the daemon runs, whatever its kind: its socket, its core, its faults. */
export class ServedDevice {
  readonly label: string;
  readonly log: Logger;
  readonly #config: SocketConfig;
  readonly #device: VirtioDevice;
  readonly #endpoint: Endpoint;
  /** Where it is served. */
  readonly placed: PlacedDevice;
  readonly faults: FaultLog;

  /** @param quarantine - it has a sidecore of its own */
  constructor(
    label: string,
    config: SocketConfig,
    device: VirtioDevice,
    spec: DeviceSpec,
    place: DevicePlace,
    quarantine = false,
  ) {
    this.label = label;
    this.#config = config;
    this.#device = device;
    this.log = place.log.child({ device: label });
    this.faults = new FaultLog(this.log);
    this.placed = place.cores.place(label, spec, quarantine);
    this.#endpoint = new Endpoint(
      {
        path: config.socket!,
        role: config.role,
        ...place.owner,
        onChange: (kind, text) => this.faults.note(kind, `${label}: ${text}`),
      },
      {
        device: this.#device,
        spec,
        server: this.placed,
        allowUnsealedMemory: place.unsealedMemory,
        onFault: (code: ErrorCode, text: string) => this.faults.add(code, `${label}: ${text}`),
      },
    );
  }

  start(): void {
    this.#endpoint.start();
  }

  stop(): Promise<void> {
    return this.#endpoint.stop();
  }

  /** Tells the guest to read the configuration space again; false if nobody can be told. */
  notifyConfigChange(): boolean {
    return this.#endpoint.session?.notifyConfigChange() ?? false;
  }

  get connected(): boolean {
    return this.#endpoint.session !== undefined;
  }

  /** What its front end has settled on; zero while there is none. */
  get features(): bigint {
    return this.#endpoint.session?.features ?? 0n;
  }

  /** What `status` shows of every device. */
  status() {
    const { session } = this.#endpoint;
    return {
      socket: this.#config.socket,
      role: this.#config.role,
      connected: session !== undefined,
      sessions: this.#endpoint.sessions,
      features: `0x${(session?.features ?? 0n).toString(16)}`,
      protocol_features: `0x${(session?.protocolFeatures ?? 0n).toString(16)}`,
      memory_regions: session?.memory.regions.length ?? 0,
      faults: this.faults.counts,
      last_fault: this.faults.last ?? null,
      queues: (session?.vrings ?? []).map((vring) => queueStatus(vring, this.placed.coreOf(vring.key))),
    };
  }
}

const PHASES = Object.fromEntries(Object.entries(QueuePhase).map(([name, phase]) => [phase, name.toLowerCase()]));

function queueStatus(vring: Vring, core: Core | undefined) {
  const { state } = vring;
  const counters = Object.fromEntries(
    Object.entries(QueueCounter).map(([name, slot]) => [name.toLowerCase(), state?.counters[slot] ?? 0]),
  ) as Record<Lowercase<QueueCounterName>, number>;
  return {
    index: vring.index,
    size: vring.size,
    core: core?.options.index ?? null,
    phase: PHASES[state?.phase ?? QueuePhase.STOPPED],
    fault: vring.fault ?? (state?.fault ? faultCode(state.fault) : null),
    enabled: vring.enabled,
    // The counter is never emptied, because it is watched edge-triggered: its value is the number of kicks.
    kicks: Number(eventCount(vring.kickFd)),
    ...counters,
  };
}
