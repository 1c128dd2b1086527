import type { FilteredNetSpec } from '../filter/frame-spec.js';
import type { OpenedFrameFilter, ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import { NetDevice } from '../net/device.js';
import { NetDeviceState } from '../net/device-state.js';
import { parseMac } from '../net/ethernet.js';
import { PortCounter, type PortCounterName } from '../net/port.js';
import type { CaptureSpec } from '../sidecore/messages.js';
import type { CaptureTarget } from './capture.js';
import { type NicConfig, portVlans } from './config.js';
import { isQuarantined, loadedOf } from './config-filters.js';
import { areOthers, type FilteredDevice } from './filtered-device.js';
import { type FrameFilterPlan, NicFilters } from './nic-filters.js';
import type { PortBook } from './port-book.js';
import { type DevicePlace, ServedDevice } from './served-device.js';

/** One configured network card while the daemon runs: its device, its socket, its port of a switch. */
export class ServedNic implements CaptureTarget, FilteredDevice<OpenedFrameFilter, ReadyFrameFilter> {
  readonly label: string;
  /** Its number among all ports of the daemon. */
  readonly port: number;
  readonly #config: NicConfig;
  readonly #filters: NicFilters;
  readonly #device: NetDevice;
  readonly #served: ServedDevice;
  readonly #cores: DevicePlace['cores'];
  readonly #spec: FilteredNetSpec;

  /**
   * @param ports - all of the daemon, this card among them
   */
  constructor(vm: string, name: string, config: NicConfig, ports: PortBook, place: DevicePlace) {
    this.label = `${vm}/${name}`;
    const { number, network } = ports.card(this.label);
    this.port = number;
    this.#config = config;
    const { mtu, queue_pairs: queuePairs, speed: speedMbps } = config;
    const mac = parseMac(config.mac!)!;
    this.#device = new NetDevice({ mac, mtu, queuePairs, speedMbps, offloads: config.offloads });
    const { shared } = this.#device;
    const { account, groups } = place;
    const log = (text: string) => this.#served.log.info(`${this.label}: ${text}`);
    this.#filters = new NicFilters({ vm, device: name, mac, groups, ports, log }, loadedOf(config.filters));
    this.#spec = {
      kind: 'net',
      shared,
      account,
      switchId: network,
      port: number,
      queuePairs,
      vlans: portVlans(config),
      mac,
      filters: this.#filters.spec,
    };
    this.#cores = place.cores;
    if (config.filters.length > 0) this.#cores.guard();
    this.#served = new ServedDevice(this.label, config, this.#device, this.#spec, place, isQuarantined(config.filters));
  }

  /** Has what passes it recorded, wherever it is served. */
  capture(spec: Omit<CaptureSpec, 'port'>): Promise<void> {
    return this.#served.placed.capture({ ...spec, port: this.port });
  }

  /** Ends that; resolves when nothing more is recorded. */
  uncapture(): Promise<void> {
    return this.#served.placed.uncapture(this.port);
  }

  /** Nearest to the guest first. */
  get filters(): readonly OpenedFrameFilter[] {
    return this.#filters.opened;
  }

  /** The same as they were loaded. */
  get ready(): readonly ReadyFrameFilter[] {
    return this.filters.map(({ ready }) => ready);
  }

  findFilter(which: string, base?: string): OpenedFrameFilter {
    return this.#filters.find(which, base);
  }

  /** They are others than the configuration names. */
  get filtersChanged(): boolean {
    return areOthers(this.filters, this.#config.filters);
  }

  get isQuarantined(): boolean {
    return isQuarantined(this.#config.filters);
  }

  /**
   * Has the card have other filters, between two frames. Throws, and nothing has changed, if they cannot be opened.
   *
   * @param plan - makes what is to be of what is
   */
  changeFilters(plan: (now: readonly OpenedFrameFilter[]) => readonly FrameFilterPlan[]): Promise<void> {
    return this.#filters.change(plan, async () => {
      const before = this.#spec.filters;
      // Whoever serves the card from now on does so with these.
      this.#spec.filters = this.#filters.spec;
      this.#cores.guard();
      try {
        await this.#served.placed.refilter();
      } catch (error) {
        this.#spec.filters = before;
        throw error;
      }
    });
  }

  start(): void {
    this.#served.start();
    this.#served.log.info(`${this.label}: network card ${this.#config.mac} at ${this.#config.socket}`);
  }

  async stop(): Promise<void> {
    await this.#served.stop();
    await this.#filters.close();
  }

  /** To be called now and then: reports what filters have failed and said since the last time. */
  report(): void {
    this.#filters.report(this.#served.faults);
  }

  /** Plugs or unplugs the cable. Returns whether the front end was sent word, which passes it on to the guest or not. */
  setLink(up: boolean): { up: boolean; configChangeSent: boolean } {
    this.#device.setLink(up);
    const configChangeSent = this.#served.notifyConfigChange();
    this.#served.log.info(
      `${this.label}: link ${up ? 'up' : 'down'}${configChangeSent ? '' : '; no front end could be told'}`,
    );
    return { up, configChangeSent };
  }

  /** Counters and phases, for `status`. */
  status() {
    this.report();
    const { counters } = new NetDeviceState(this.#device.shared);
    const named = Object.entries(PortCounter).map(([name, slot]) => [name.toLowerCase(), counters[slot]!]);
    const { mac, network, vlan = null, trunk = null } = this.#config;
    const served = this.#served.status();
    return {
      mac: mac!,
      network,
      vlan,
      trunk,
      link_up: this.#device.linkUp,
      core: this.#served.placed.home!.options.index,
      mtu: this.#device.mtu,
      ...(Object.fromEntries(named) as Record<Lowercase<PortCounterName>, number>),
      filters: this.#filters.status(),
      filters_changed: this.filtersChanged,
      ...served,
      queues: served.queues.map((queue) => ({ ...queue, phase: this.#phase(queue) })),
    };
  }

  /** A receive queue is filled when a frame comes: nobody polls it or waits for its kick. */
  #phase({ index, phase }: { index: number; phase: string | undefined }): string | undefined {
    const receives = index % 2 === 0 && index < 2 * this.#config.queue_pairs;
    return receives && phase === 'polled' ? 'passive' : phase;
  }
}
