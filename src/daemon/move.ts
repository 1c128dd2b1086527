import { setTimeout as sleep } from 'node:timers/promises';
import { MOVE_WAIT_MS_MAX } from '../limits.js';
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
  if (from === undefined || from === to || !lock.tryMove()) return false;
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
 */
export async function moveCards(network: number, moves: readonly CardMove[], mesh: Mesh): Promise<PlacedDevice[]> {
  const begun = moves.filter(({ device, to }) => device.home !== to && device.lock.tryMove());
  if (begun.length === 0) return [];
  try {
    return await moveLocked(
      network,
      begun.map((move) => new MovingCard(move, mesh)),
      mesh,
    );
  } finally {
    for (const { device } of begun) device.lock.endMove();
  }
}

async function moveLocked(network: number, cards: readonly MovingCard[], mesh: Mesh): Promise<PlacedDevice[]> {
  const moved: PlacedDevice[] = [];
  const stay = () =>
    Promise.all(
      cards.filter(({ device }) => !moved.includes(device)).map((card) => giveBack(card.queues(), card.home)),
    );
  try {
    // What they have sent and the host's kernel still reads would keep all of the network waiting.
    const stopped = await Promise.all(cards.map((card) => card.stopSending()));
    const ready = cards.filter((_, index) => stopped[index]);
    if (ready.length > 0) await moveFrozen(network, ready, mesh, moved, stay);
  } finally {
    await stay();
  }
  return moved;
}

/** Adds to `moved` what has. Those that have not `stay` before anybody sends. */
async function moveFrozen(
  network: number,
  cards: readonly MovingCard[],
  mesh: Mesh,
  moved: PlacedDevice[],
  stay: () => Promise<unknown>,
): Promise<void> {
  try {
    if (!(await isQuiet(network, mesh))) return;
    const results = await Promise.allSettled(
      cards.map(async (card) => {
        if (await card.move()) moved.push(card.device);
      }),
    );
    await stay();
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  } finally {
    // Where cards have left first: it may have none of the network any more, and what others send to all need not go there.
    const left = new Set(moved.length > 0 ? cards.map(({ from }) => from) : []);
    const others = mesh.cores.filter((core) => !left.has(core));
    await thaw(network, left).finally(() => thaw(network, others));
  }
}

/**
 * Has nothing sent in a network, and waits until all that was sent has been delivered; false if that takes too long. All sidecores are
 * asked: one may come to have ports of the network meanwhile.
 */
async function isQuiet(network: number, mesh: Mesh): Promise<boolean> {
  const deadline = performance.now() + MOVE_WAIT_MS_MAX;
  const frozen = Promise.all(mesh.cores.map((core) => core.freeze(network))).then(() => true);
  const inTime = await Promise.race([frozen, late()]);
  return inTime && mesh.delivered(network, deadline - performance.now());
}

/** Does not wait for a core that does not get on. */
async function thaw(network: number, cores: Iterable<Core>): Promise<void> {
  await Promise.race([Promise.all([...cores].map((core) => core.thaw(network))), late()]);
}

const late = (): Promise<false> => sleep(MOVE_WAIT_MS_MAX, false, { ref: false });

/** A card on its way. */
class MovingCard {
  readonly device: PlacedDevice;
  readonly from: Core;
  readonly to: Core;
  readonly #mesh: Mesh;
  readonly #port: number;

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

  /** Moves everything else too. False, and its home is where it was, if the other core cannot have it: its queues are to be given back. */
  async move(): Promise<boolean> {
    await this.#leave();
    if (await this.#enter(this.from, this.to)) return true;
    await this.#leave();
    this.#relocate(this.to, this.from);
    return false;
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
