import { setTimeout as sleep } from 'node:timers/promises';
import { CORE_ANSWER_MS_MAX, MOVE_WAIT_MS_MAX } from '../limits.js';
import type { NetDeviceSpec } from '../net/device.js';
import { CoreFault } from '../virtio/queue-faults.js';
import type { Core } from './core.js';
import type { Mesh } from './mesh.js';
import type { PlacedDevice, PlacedQueue } from './placed-device.js';

/**
 * Moves a queue to another core. Nothing of it is lost: the core that has it finishes what it took, and the other goes on behind that.
 * Returns false, and has changed nothing, if that cannot be done now, its requests take too long, or the other core cannot have it.
 */
export async function moveQueue(queue: PlacedQueue, to: Core): Promise<boolean> {
  const { core: from, lock } = queue;
  if (from === undefined || from === to || from.stalled || to.stalled || !lock.tryMove()) return false;
  try {
    if ((await queue.leave(MOVE_WAIT_MS_MAX)) === undefined) return false;
    await enter([queue], to);
    if (queue.core === to) return true;
    await giveBack([queue], from);
    return false;
  } finally {
    lock.endMove();
  }
}

/** A network card, and where it is to go. */
export interface CardMove {
  readonly device: PlacedDevice;
  readonly to: Core;
}

/**
 * Moves cards of one network to other cores, each with all its queues. No frame is lost, comes twice or overtakes another: nothing is
 * sent in the network meanwhile, and what was sent has been delivered before. Returns the cards that have moved; the others are where
 * they were, because something else is being done with them, the host's kernel reads what they have sent, or a core does not get on.
 * If one ceases to do so in the midst of it, the network goes on, and this waits for it.
 */
export async function moveCards(network: number, moves: readonly CardMove[], mesh: Mesh): Promise<PlacedDevice[]> {
  // Others would thaw it too early; and what a core that is stalled has of it would not be delivered.
  if (mesh.moving.has(network) || mesh.cores.some((core) => core.stalled && mesh.has(core, network))) return [];
  const begun = moves.filter(({ device, to }) => device.home !== to && !to.stalled && device.lock.tryMove());
  if (begun.length === 0) return [];
  mesh.moving.add(network);
  try {
    return await moveLocked(
      network,
      begun.map((move) => new MovingCard(move, mesh)),
      mesh,
    );
  } finally {
    mesh.moving.delete(network);
    for (const { device } of begun) device.lock.endMove();
  }
}

async function moveLocked(network: number, cards: readonly MovingCard[], mesh: Mesh): Promise<PlacedDevice[]> {
  try {
    // What they have sent and the host's kernel still reads would keep all of the network waiting.
    const stopped = await Promise.all(cards.map((card) => card.stopSending()));
    const ready = cards.filter((_, index) => stopped[index]);
    if (ready.length > 0) await moveFrozen(network, ready, mesh);
  } finally {
    await stay(cards);
  }
  return cards.filter(({ moved }) => moved).map(({ device }) => device);
}

/** Those that have not moved are served where they were. */
function stay(cards: readonly MovingCard[]): Promise<unknown> {
  return Promise.all(cards.filter(({ moved }) => !moved).map((card) => giveBack(card.queues(), card.home)));
}

/** Moves what has stopped sending. Whatever becomes of it is done before anybody sends; unless a core does not answer. */
async function moveFrozen(network: number, cards: readonly MovingCard[], mesh: Mesh): Promise<void> {
  let moves: Promise<void> | undefined;
  try {
    if (!(await isQuiet(network, mesh))) return;
    moves = moveAll(cards);
    if (await Promise.race([moves.then(() => true), late(CORE_ANSWER_MS_MAX)])) return;
    for (const card of cards) card.giveUp();
  } finally {
    // Where cards have left first: it may have none of the network any more, and what others send to all need not go there.
    const left = new Set(cards.some(({ moved }) => moved) ? cards.map(({ from }) => from) : []);
    const others = mesh.cores.filter((core) => !left.has(core));
    await thaw(network, left).finally(() => thaw(network, others));
    await moves;
  }
}

async function moveAll(cards: readonly MovingCard[]): Promise<void> {
  const results = await Promise.allSettled(cards.map((card) => card.move()));
  await stay(cards);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/**
 * Has nothing sent in a network, and waits until all that was sent has been delivered; false if that takes too long. All sidecores are
 * asked: one may come to have ports of the network meanwhile.
 */
async function isQuiet(network: number, mesh: Mesh): Promise<boolean> {
  const deadline = performance.now() + MOVE_WAIT_MS_MAX;
  // One that is stalled has nothing of the network, and will be frozen before it could have.
  const stalled = mesh.cores.filter((core) => core.stalled);
  for (const core of stalled) core.freeze(network).catch(() => {});
  const others = mesh.cores.filter((core) => !stalled.includes(core));
  const frozen = Promise.all(others.map((core) => core.freeze(network))).then(() => true);
  const inTime = await Promise.race([frozen, late()]);
  return inTime && mesh.delivered(network, deadline - performance.now());
}

/** Does not wait for a core that does not get on. */
async function thaw(network: number, cores: Iterable<Core>): Promise<void> {
  await Promise.race([Promise.all([...cores].map((core) => core.thaw(network))), late()]);
}

const late = (ms = MOVE_WAIT_MS_MAX): Promise<false> => sleep(ms, false, { ref: false });

/** A card on its way. */
class MovingCard {
  readonly device: PlacedDevice;
  readonly from: Core;
  readonly to: Core;
  /** It is served on the other core. */
  moved = false;
  readonly #mesh: Mesh;
  readonly #port: number;
  #givenUp = false;

  constructor({ device, to }: CardMove, mesh: Mesh) {
    this.device = device;
    this.from = device.home!;
    this.to = to;
    this.#mesh = mesh;
    this.#port = (device.spec as NetDeviceSpec).port;
  }

  /** Where the others look for it. */
  get home(): Core {
    return this.device.home!;
  }

  queues(): PlacedQueue[] {
    return [...this.device.queues.values()];
  }

  /** Takes the send rings from their core. They have odd numbers. False if that takes too long. VIRTIO 1.3, 5.1.2 */
  async stopSending(): Promise<boolean> {
    const positions = await Promise.all(
      this.queues()
        .filter(({ spec }) => spec.index % 2 === 1)
        .map((queue) => queue.leave(MOVE_WAIT_MS_MAX)),
    );
    return !positions.includes(undefined);
  }

  /** Moves everything else too. If the other core cannot have it, its home is where it was, and its queues are to be given back. */
  async move(): Promise<void> {
    await this.#leave();
    if (this.#givenUp) return;
    this.moved = await this.#enter(this.from, this.to);
    if (this.moved) return;
    await this.#leave();
    this.#relocate(this.to, this.from);
  }

  /** A core does not answer, and the network goes on: if the other core has not been told of it yet, it does not move. */
  giveUp(): void {
    this.#givenUp = true;
  }

  async #leave(): Promise<void> {
    await Promise.all(this.queues().map((queue) => queue.leave()));
  }

  async #enter(from: Core, to: Core): Promise<boolean> {
    this.#relocate(from, to);
    return enter(this.queues(), to);
  }

  /** Whoever looks for the port finds it on the other core from now on; so does a capture. */
  #relocate(from: Core, to: Core): void {
    const capture = from.captureOf(this.#port);
    if (capture !== undefined) {
      from.uncapture(this.#port).catch(() => {});
      to.capture(capture).catch(() => {});
    }
    this.#mesh.directory.move(this.#port, to.options.index);
    this.device.home = to;
  }
}

/** Has a core serve queues, those that are sound. False if it cannot serve all of these. */
async function enter(queues: readonly PlacedQueue[], core: Core): Promise<boolean> {
  const results = await Promise.allSettled(queues.filter(({ sound }) => sound).map((queue) => queue.enter(core)));
  // One that was found to be at fault in the death of a core is not served by any: the others are.
  return results.every(({ status }) => status === 'fulfilled') || queues.every(({ core, sound }) => core || !sound);
}

/** The same for a core that has served them. */
async function giveBack(queues: readonly PlacedQueue[], core: Core): Promise<void> {
  const without = queues.filter((queue) => queue.core === undefined);
  await enter(without, core);
  for (const queue of without) if (queue.core === undefined && queue.sound) queue.onFault(CoreFault.NOT_TAKEN);
}
