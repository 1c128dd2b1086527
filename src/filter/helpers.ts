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

/** The helpers of all filters, on a thread of theirs, which sleeps until a sidecore asks something. */
export class FilterHelpers {
  readonly #bell: HelperBell;
  readonly #builtIns: BuiltIns;
  readonly #helpers: Helper[] = [];

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
    this.#helpers.push({ channel, does, log });
    this.look();
  }

  /** Serves for good. */
  async run(): Promise<never> {
    for (;;) {
      const { count } = this.#bell;
      this.look();
      await this.#bell.wait(count);
    }
  }

  /** Takes what was asked, and lets go of helpers whose filters are gone. */
  look(): void {
    for (let i = this.#helpers.length - 1; i >= 0; i--) {
      const helper = this.#helpers[i]!;
      for (const place of helper.channel.takeJobs()) void handle(helper, place);
      if (!helper.channel.closed) continue;
      this.#helpers.splice(i, 1);
      close(helper);
    }
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
