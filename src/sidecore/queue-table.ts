import { assert } from '../errors.js';
import { GuestMemory } from '../guest-memory/guest-memory.js';
import { CORE_QUEUES_MAX } from '../limits.js';
import { Account } from '../scheduler/account.js';
import type { PollingRule } from '../scheduler/polling.js';
import type { DeviceSpec, QueuePosition, QueueSpec } from '../virtio/queue-spec.js';
import { QueuePhase, QueueState } from '../virtio/queue-state.js';
import { openRing } from '../virtio/ring.js';
import { createQueue, type DeviceHost, startOf } from './create-queue.js';
import type { Doorway } from './doorway.js';
import { ServedQueue } from './served-queue.js';

/** All queues of a sidecore, by their keys, with what several of them share: views of guests' memory, and accounts. */
export class QueueTable {
  readonly #host: DeviceHost;
  readonly #doorway: Doorway;
  readonly #polling: PollingRule;
  readonly #queues = new Map<number, ServedQueue>();
  readonly #memories = new Map<number, GuestMemory>();
  /** By VM; kept for good: what one owes is not forgiven with the end of its queues. */
  readonly #accounts = new Map<number, Account>();

  constructor(host: DeviceHost, doorway: Doorway, polling: PollingRule) {
    this.#host = host;
    this.#doorway = doorway;
    this.#polling = polling;
  }

  get size(): number {
    return this.#queues.size;
  }

  get(key: number): ServedQueue | undefined {
    return this.#queues.get(key);
  }

  all(): Iterable<ServedQueue> {
    return this.#queues.values();
  }

  servedAs(queue: unknown): ServedQueue | undefined {
    for (const served of this.#queues.values()) if (served.queue === queue) return served;
    return undefined;
  }

  /** Makes everything that serving a queue takes. Throws, and leaves nothing behind, if something cannot be had. */
  add(spec: QueueSpec): ServedQueue {
    assert(this.#queues.size < CORE_QUEUES_MAX && !this.#queues.has(spec.key), 'the core has room for the queue');
    const state = new QueueState(spec.state);
    const memory = this.#memories.get(spec.memory.id) ?? new GuestMemory(spec.memory.regions);
    const ring = openRing(spec.ring, memory, state.inflight, spec.resume, startOf(spec));
    const queue = createQueue(spec, { ring, memory, state }, this.#host);
    const served = new ServedQueue(spec, queue, this.#account(spec.device.account), this.#polling);
    try {
      if (spec.kickFd >= 0) this.#doorway.open(spec.kickFd, spec.key);
    } catch (error) {
      queue.close();
      throw error;
    }
    this.#memories.set(spec.memory.id, memory);
    this.#queues.set(spec.key, served);
    return served;
  }

  /** Lets go of a queue of which nothing is in flight; of its memory with the last one that uses it. Returns where it stands. */
  remove(served: ServedQueue): QueuePosition {
    const { key, queue, memoryId, started } = served;
    queue.close();
    this.#queues.delete(key);
    if (![...this.#queues.values()].some((other) => other.memoryId === memoryId)) this.#memories.delete(memoryId);
    if (queue.state.fault === 0) queue.state.phase = QueuePhase.STOPPED;
    return { base: queue.ring.base, started };
  }

  #account({ id, weight }: DeviceSpec['account']): Account {
    let account = this.#accounts.get(id);
    if (account === undefined) {
      account = new Account(weight);
      this.#accounts.set(id, account);
    }
    return account;
  }
}
