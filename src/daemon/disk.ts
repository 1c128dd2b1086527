import type { BackendAbilities, OpenDisk } from '../block/backends/backend.js';
import { type BackendOptions, type BackendSpec, openDisk } from '../block/backends/index.js';
import { BlockDevice } from '../block/device.js';
import { SidecoreError } from '../errors.js';
import type { FilterPlace, OpenedFilter, ReadyFilter } from '../filter/opened-filter.js';
import type { ChainSpec, FilteredDeviceSpec } from '../filter/spec.js';
import { snapshotsOf } from '../filters/block/snapshot/store.js';
import { errorText } from '../host/libc.js';
import { RING_FEATURES } from '../virtio/features.js';
import type { DiskConfig } from './config.js';
import { isQuarantined, loadedOf } from './config-filters.js';
import type { CoreSet } from './core-set.js';
import { DiskFilters, type FilterPlan } from './disk-filters.js';
import { areOthers, type FilteredDevice } from './filtered-device.js';
import type { PlacedQueue } from './placed-device.js';
import { type DevicePlace, ServedDevice } from './served-device.js';

/** One configured disk while the daemon runs: its image, its device, its socket, its core. */
export class ServedDisk implements FilteredDevice<OpenedFilter, ReadyFilter> {
  readonly label: string;
  readonly #config: DiskConfig;
  readonly #cores: CoreSet;
  readonly #opened: OpenDisk<BackendSpec>;
  readonly #filters: DiskFilters;
  readonly #device: BlockDevice;
  readonly #served: ServedDevice;
  readonly #spec: FilteredDeviceSpec;

  /** Opens the image; throws one clear error if it cannot. */
  constructor(vm: string, name: string, config: DiskConfig, place: DevicePlace) {
    this.label = `${vm}/${name}`;
    this.#config = config;
    this.#opened = openDisk(optionsOf(config));
    // Filters have something to say before there is anything that serves them.
    const log = place.log.child({ device: this.label });
    const filterPlace: FilterPlace = {
      vm,
      device: name,
      queues: config.queues,
      groups: place.groups,
      hold: this.#hold,
      connected: () => this.#served.connected,
      log: (text) => log.info(`${this.label}: ${text}`),
    };
    this.#filters = this.#openFilters(filterPlace);
    const { abilities } = this.#filters;
    const readOnly = config.read_only || abilities.readOnly;
    this.#device = new BlockDevice({
      abilities,
      readOnly,
      blockBytes: config.block_size,
      queues: config.queues,
      serial: config.serial ?? this.label,
      writeback: config.cache === 'writeback',
    });
    this.#spec = {
      kind: 'block',
      shared: this.#device.shared,
      account: place.account,
      readOnly,
      queues: config.queues,
      backend: this.#opened.spec,
      filters: this.#filters.spec,
    };
    this.#cores = place.cores;
    if (this.#filters.spec !== undefined) this.#cores.guard();
    this.#served = new ServedDevice(this.label, config, this.#device, this.#spec, place, isQuarantined(config.filters));
  }

  /** The disk is closed if they cannot be opened. */
  #openFilters(place: FilterPlace): DiskFilters {
    try {
      const { backend, filters } = this.#config;
      const view = backend.type === 'snapshot' ? backend.view : undefined;
      return new DiskFilters(place, this.#opened, loadedOf(filters), view);
    } catch (error) {
      this.#opened.close();
      this.#opened.undo?.();
      throw error;
    }
  }

  /** Runs a function while nothing of the disk is in flight. A filter may ask for it before there is anything that serves the disk. */
  readonly #hold = async <T>(during: () => Promise<T>, holder: string): Promise<T> => {
    await Promise.resolve();
    return this.#served.placed.hold(during, { holder });
  };

  /** Nearest to the guest first. */
  get filters(): readonly OpenedFilter[] {
    return this.#filters.opened;
  }

  findFilter(which: string, base?: string): OpenedFilter {
    return this.#filters.find(which, base);
  }

  /** They are others than the configuration names. */
  get filtersChanged(): boolean {
    return areOthers(this.filters, this.#config.filters);
  }

  /** It shows a snapshot of another disk. */
  get isView(): boolean {
    return this.#config.backend.type === 'snapshot';
  }

  get isQuarantined(): boolean {
    return isQuarantined(this.#config.filters);
  }

  /**
   * Has the disk have other filters, while its guest runs: between two requests, with nothing in flight. Throws, and nothing has
   * changed, if they cannot be opened, the guest relies on what they do not offer, or what is in flight does not end.
   *
   * @param plan - makes what is to be of what is
   * @param waitMsMax - how long what is in flight may take to end
   */
  changeFilters(plan: (now: readonly OpenedFilter[]) => readonly FilterPlan[], waitMsMax?: number): Promise<void> {
    return this.#filters.change(plan, () => this.#useFilters(waitMsMax));
  }

  /** Has the sidecores use the filters as they are now. */
  async #useFilters(waitMsMax: number | undefined): Promise<void> {
    const { placed } = this.#served;
    const { spec, abilities } = this.#filters;
    const before = this.#spec.filters;
    // Before it is looked at what the guest has settled on: one that comes meanwhile is offered what is right then.
    const offered = (this.#device.offeredFeatures & RING_FEATURES.IN_ORDER) !== 0n;
    this.#device.offerInOrder(abilities.inOrder);
    try {
      this.#requireSuitable(abilities);
      this.#cores.guard();
      await placed.hold(
        async (queues) => {
          this.#requireSuitable(abilities);
          // Whoever serves a queue from now on does so with these.
          this.#spec.filters = spec;
          try {
            await changeAll(queues, spec);
          } catch (error) {
            this.#spec.filters = before;
            await changeAll(queues, before).catch(() => {});
            throw error;
          }
        },
        { waitMsMax },
      );
    } catch (error) {
      this.#device.offerInOrder(offered);
      throw error;
    }
  }

  /** What a guest has seen of a disk stays so. */
  #requireSuitable({ sizeBytes, inOrder }: BackendAbilities): void {
    if (sizeBytes !== this.#device.capacityBytes) {
      throw new SidecoreError(
        'DEVICE_BUSY',
        `${this.label} has ${this.#device.capacityBytes} bytes, and would have ${sizeBytes} with these filters`,
        'Write them into the configuration, and start the daemon anew.',
      );
    }
    if (!inOrder && (this.#served.features & RING_FEATURES.IN_ORDER) !== 0n) {
      throw new SidecoreError(
        'DEVICE_BUSY',
        `${this.label}: its guest has settled on IN_ORDER, and these filters may keep requests`,
        'Write them into the configuration: the disk does not offer it then.',
      );
    }
  }

  start(): void {
    this.#served.start();
    this.#served.log.info(`${this.label}: ${this.#config.backend.type} disk at ${this.#config.socket}`);
  }

  async stop(): Promise<void> {
    await this.#served.stop();
    await this.#filters.close();
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
    if (this.#filters.opened.some(({ spec }) => spec.defers)) {
      const text = `${this.label}: its filters have taken its size into account`;
      throw new SidecoreError('DEVICE_BUSY', text, 'Resize the image, and start the daemon anew.');
    }
    const size = this.#opened.resize(sizeBytes);
    this.#device.resize(size);
    this.#filters.resized(size);
    const guestTold = this.#served.notifyConfigChange();
    this.#served.log.info(`${this.label}: now ${size} bytes${guestTold ? '' : '; no front end could be told'}`);
    return { sizeBytes: size, guestTold };
  }

  /** To be called now and then: reports what storage and filters have failed since the last time. */
  report(): void {
    this.#filters.report(this.#served.faults);
    this.#reportIoErrors();
  }

  #reportIoErrors(): void {
    const { ioErrors } = this.#opened;
    const count = ioErrors?.look() ?? 0;
    const { backend } = this.#config;
    if (ioErrors === undefined || count === 0) return;
    const why = ioErrors.last === 0 ? 'it has become shorter than the disk' : errorText(ioErrors.last);
    const requests = count === 1 ? '1 request' : `${count} requests`;
    const image = backend.type === 'file' ? backend.path : backend.type;
    this.#served.faults.add('IO_FAILED', `${this.label}: ${requests} failed in ${image}: ${why}`, count);
  }

  /** Counters and phases, for `status`. */
  status() {
    this.report();
    return {
      backend: this.#config.backend.type,
      size_bytes: this.#device.capacityBytes,
      filters: this.#filters.status(),
      filters_changed: this.filtersChanged,
      ...this.#served.status(),
    };
  }
}

/** Has queues that are held use other filters; those that were let go of meanwhile get them when they come again. */
async function changeAll(queues: readonly PlacedQueue[], filters: ChainSpec | undefined): Promise<void> {
  await Promise.all(queues.map(({ core, spec: { key } }) => core?.changeFilters({ op: 'filters', key, filters })));
}

function optionsOf({ backend, read_only: readOnly }: DiskConfig): BackendOptions {
  if (backend.type === 'file') return { ...backend, readOnly: readOnly || backend.read_only };
  return backend.type === 'snapshot' ? { type: 'lent', disk: snapshotsOf(backend.of).lend() } : backend;
}
