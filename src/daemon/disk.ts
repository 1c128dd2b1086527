import type { OpenDisk } from '../block/backends/backend.js';
import { type BackendSpec, openDisk } from '../block/backends/index.js';
import { BlockDevice, type BlockDeviceSpec } from '../block/device.js';
import { SidecoreError } from '../errors.js';
import type { DiskConfig } from './config.js';
import { type DevicePlace, ServedDevice } from './served-device.js';

/** One configured disk while the daemon runs: its image, its device, its socket, its core. */
export class ServedDisk {
  readonly label: string;
  readonly #config: DiskConfig;
  readonly #opened: OpenDisk<BackendSpec>;
  readonly #device: BlockDevice;
  readonly #served: ServedDevice;

  /** Opens the image; throws one clear error if it cannot. */
  constructor(vm: string, name: string, config: DiskConfig, place: DevicePlace) {
    this.label = `${vm}/${name}`;
    this.#config = config;
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
    const spec: BlockDeviceSpec = {
      kind: 'block',
      shared: this.#device.shared,
      readOnly,
      backend: this.#opened.spec,
    };
    this.#served = new ServedDevice(this.label, config, this.#device, spec, place);
  }

  start(): void {
    this.#served.start();
    this.#served.log.info(`${this.label}: ${this.#config.backend.type} disk at ${this.#config.socket}`);
  }

  async stop(): Promise<void> {
    await this.#served.stop();
    this.#opened.close();
  }

  /** Changes the disk's size while its guest runs. Returns the new size, and whether the guest was told of it. */
  async resize(sizeBytes: number | undefined): Promise<{ sizeBytes: number; guestTold: boolean }> {
    const size = this.#opened.resize(sizeBytes);
    this.#device.resize(size);
    const guestTold = this.#served.notifyConfigChange();
    this.#served.log.info(`${this.label}: now ${size} bytes${guestTold ? '' : '; no front end could be told'}`);
    return { sizeBytes: size, guestTold };
  }

  /** Counters and phases, for `status`. */
  status() {
    return { backend: this.#config.backend.type, size_bytes: this.#device.capacityBytes, ...this.#served.status() };
  }
}

/** The error for a disk that is not configured. */
export function unknownDisk(label: string, known: readonly string[]): SidecoreError {
  return new SidecoreError('CONFIG_INVALID', `there is no disk ${label}`, `Disks are: ${known.join(', ') || 'none'}.`);
}
