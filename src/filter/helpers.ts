import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '../errors.js';
import { type FilterHelper, type FilterHelperContext, HELPER_FAILED } from './contract.js';
import { definitionOf } from './evaluate-definition.js';
import { HelperBell, HelperChannel } from './helper-channel.js';
import type { BuiltIns } from './load.js';
import { FilterMemory } from './memory.js';
import type { FilterSpec } from './spec.js';

/** A helper to be made, for one queue. Plain data. */
export interface HelperSetup {
  readonly vm: string;
  readonly device: string;
  readonly queue: number;
  readonly queues: number;
  readonly filter: FilterSpec;
  /** Of its `HelperChannel`. */
  readonly channel: SharedArrayBuffer;
}

interface Helper {
  readonly channel: HelperChannel;
  /** Undefined if it could not be made: it answers all with `HELPER_FAILED`. */
  readonly does: FilterHelper | undefined;
  readonly log: (text: string) => void;
}

/** The helpers of one device. They take turns. */
class DeviceHelpers {
  readonly #helpers: Helper[] = [];
  /** Whose turn it is. */
  #next = 0;

  get count(): number {
    return this.#helpers.length;
  }

  add(helper: Helper): void {
    this.#helpers.push(helper);
  }

  /** Lets go of those whose filters are gone. What these have asked, and nobody has begun, is not done. */
  dropClosed(): void {
    for (let i = this.#helpers.length - 1; i >= 0; i--)
      if (this.#helpers[i]!.channel.closed) close(this.#helpers.splice(i, 1)[0]!);
  }

  /** Begins one job of theirs. False if there is none. */
  beginOne(): boolean {
    for (let i = 0; i < this.#helpers.length; i++) {
      const at = (this.#next + i) % this.#helpers.length;
      const helper = this.#helpers[at]!;
      const place = helper.channel.takeJob();
      if (place < 0) continue;
      this.#next = at + 1;
      void handle(helper, place);
      return true;
    }
    return false;
  }
}

/**
 * The helpers of all filters, on a thread of theirs, which sleeps until a sidecore asks something. In each turn one job of each device
 * is begun, so a job waits for as many turns as its own device has jobs before it.
 */
export class FilterHelpers {
  readonly #bell: HelperBell;
  readonly #builtIns: BuiltIns;
  /** By "VM/device". */
  readonly #devices = new Map<string, DeviceHelpers>();

  /** @param bell - of `HelperBell` */
  constructor(bell: SharedArrayBuffer, builtIns: BuiltIns) {
    this.#bell = new HelperBell(bell);
    this.#builtIns = builtIns;
  }

  add(setup: HelperSetup): void {
    const channel = new HelperChannel(setup.channel);
    // What one that died had begun is not done again.
    for (const place of channel.abandoned()) channel.answer(place, HELPER_FAILED);
    const { filter, queues } = setup;
    const memory = new FilterMemory({ ...filter, queues }, filter.memory);
    const log = (text: string) => memory.logNote.leave(text);
    let does: FilterHelper | undefined;
    try {
      does = definitionOf(filter.module, this.#builtIns).helper!(contextOf(setup, log));
    } catch (error) {
      log(`its helper cannot be made: ${messageOf(error)}`);
    }
    const label = `${setup.vm}/${setup.device}`;
    let device = this.#devices.get(label);
    if (device === undefined) this.#devices.set(label, (device = new DeviceHelpers()));
    device.add({ channel, does, log });
    // It may be asleep, and have been asked already.
    this.#bell.ring();
  }

  /** Serves for good. */
  async run(): Promise<never> {
    for (;;) {
      const { count } = this.#bell;
      // In between, what waits for files, networks and messages gets on.
      if (this.look()) await nextTurn();
      else await this.#bell.wait(count);
    }
  }

  /** Begins one job of each device, and lets go of helpers whose filters are gone. True if there may be more to begin. */
  look(): boolean {
    let any = false;
    for (const [label, device] of this.#devices) {
      device.dropClosed();
      if (device.count === 0) this.#devices.delete(label);
      else if (device.beginOne()) any = true;
    }
    return any;
  }
}

function close({ does, log }: Helper): void {
  try {
    does?.close?.();
  } catch (error) {
    log(`its helper has failed when it was closed: ${messageOf(error)}`);
  }
}

async function handle({ channel, does, log }: Helper, place: number): Promise<void> {
  let result = HELPER_FAILED;
  try {
    if (does !== undefined) result = Number(await does.handle(channel.job(place)));
  } catch (error) {
    log(`its helper has failed: ${messageOf(error)}`);
  }
  channel.answer(place, result);
}

function contextOf({ vm, device, queue, filter }: HelperSetup, log: (text: string) => void): FilterHelperContext {
  const { options, prepared, shared, group } = filter;
  return { vm, device, queue, options, prepared, shared, group, log };
}
