import type { Logger } from 'pino';
import { SidecoreError } from '../errors.js';
import { BLOCK_MAKER, FRAME_MAKER } from './config-filters.js';
import type { ControlHandlers } from './control-server.js';
import type { ServedDisk } from './disk.js';
import { FaultLog } from './fault-log.js';
import { DeviceFilterChanges, type FilterChanges } from './filter-changes.js';
import type { ServedNic } from './nic.js';

type FilterHandlers = Pick<
  ControlHandlers,
  'listFilters' | 'addFilter' | 'removeFilter' | 'replaceFilter' | 'setFilter' | 'askFilter'
>;

/** What can be asked of a running daemon about filters: of its disks and of its network cards alike. */
export class FilterControl {
  readonly #log: Logger;
  readonly #devices: FilterChanges[] = [];
  /** Of the thread of helpers. */
  readonly #faults: FaultLog;

  constructor(log: Logger) {
    this.#log = log;
    this.#faults = new FaultLog(log);
  }

  /** The thread of helpers died, and is started again; said now and then only. */
  helpersDied(reason: string): void {
    this.#faults.add('FILTER_FAILED', `the thread of filters’ helpers died and is started again: ${reason}`);
  }

  /** Knows these devices from now on, and watches the files of those of their filters that ask for it. */
  start(disks: readonly ServedDisk[], nics: readonly ServedNic[]): void {
    for (const disk of disks) this.#devices.push(new DeviceFilterChanges(disk, BLOCK_MAKER, this.#log));
    for (const nic of nics) this.#devices.push(new DeviceFilterChanges(nic, FRAME_MAKER, this.#log));
    for (const device of this.#devices) device.start();
  }

  /** Changes nothing any more. */
  async stop(): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.stop()));
  }

  readonly handlers: FilterHandlers = {
    listFilters: async ({ device }) => ({
      devices: (device === undefined ? this.#devices : [this.#find(device)]).map((known) => known.list()),
    }),
    addFilter: async ({ device, filter, at, before, after, base, waitMsMax }) =>
      this.#find(device).add(filter, { at, before, after }, { base, waitMsMax }),
    removeFilter: async ({ device, which, base, waitMsMax }) => this.#find(device).remove(which, { base, waitMsMax }),
    replaceFilter: async ({ device, which, filter, base, waitMsMax }) =>
      this.#find(device).replace(which, filter, { base, waitMsMax }),
    setFilter: async ({ device, which, filter, base, waitMsMax }) =>
      this.#find(device).set(which, filter, { base, waitMsMax }),
    askFilter: async ({ device, which, base, command, given }) => ({
      answer: await this.#find(device).ask(which, command, given, base),
    }),
  };

  #find(label: string): FilterChanges {
    const found = this.#devices.find((device) => device.label === label);
    if (found !== undefined) return found;
    const known = this.#devices.map((device) => device.label).join(', ') || 'none';
    throw new SidecoreError('CONFIG_INVALID', `there is no disk or network card ${label}`, `There are: ${known}.`);
  }
}
