import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { nowNs } from '../host/clock.js';
import { BALANCE_MOVES_MAX, CORE_ANSWER_MS_MAX, MOVE_WAIT_MS_MAX } from '../limits.js';
import type { NetDeviceSpec } from '../net/device.js';
import { Balancer, type Move } from '../scheduler/balancer.js';
import { Elastic, type ElasticDecision } from '../scheduler/elastic.js';
import type { Core } from './core.js';
import type { CoreSet } from './core-set.js';
import { CoreUsage, type Unit, type Usage } from './core-usage.js';
import { type CardMove, moveCards, moveQueue } from './move.js';

/** Time between two rounds, which is that in which loads are measured, ms. */
const ROUND_MS = 250;

const REASONS: Record<ElasticDecision['reason'], string> = {
  saturated: 'those in use are saturated',
  idle: 'their work fits fewer',
  regret: 'requests per CPU second had become fewer',
  limits: 'as configured',
};

/** Moves queues and cards between sidecores, and takes sidecores into use and out of it, by what they have to do. */
export class Rebalancer {
  /** Queues and cards that were moved, and moves that came to nothing. */
  moved = 0;
  failed = 0;
  readonly #set: CoreSet;
  readonly #log: Logger;
  readonly #usage: CoreUsage;
  readonly #balancer = new Balancer();
  readonly #elastic: Elastic;
  readonly #timer: NodeJS.Timeout;
  #round: Promise<void> | undefined;
  #stopped = false;

  /** @param coresMin - the fewest sidecores that are in use; those with ports that cannot move always are */
  constructor(set: CoreSet, coresMin: number, log: Logger) {
    this.#set = set;
    this.#log = log;
    this.#usage = new CoreUsage(set);
    this.#usage.read(nowNs());
    this.#elastic = new Elastic(Math.max(coresMin, new Set(set.ports).size), set.dedicated.length);
    this.#timer = setInterval(() => {
      this.#round ??= this.#run().finally(() => {
        this.#round = undefined;
      });
    }, ROUND_MS).unref();
  }

  /** Ends it, after what is under way, but for a move that waits for a sidecore that does not answer. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#round;
  }

  async #run(): Promise<void> {
    try {
      const usage = this.#usage.read(nowNs());
      // What a sidecore that is stalled does, and would do elsewhere, nobody knows: as many stay in use as are.
      const isKnown = this.#set.inUse.every(({ stalled }) => !stalled);
      const decision = isKnown ? this.#elastic.decide(usage.sample) : undefined;
      if (decision !== undefined) this.#resize(decision, usage);
      const loads = this.#set.candidates.map(({ options: { index } }) => ({
        core: index,
        fixedNs: usage.loads.find(({ core }) => core === index)?.fixedNs ?? 0,
      }));
      const movables = usage.movables.filter(({ id }) => !usage.units.get(id)!.core.stalled);
      const moves = this.#balancer.plan(movables, loads, usage.windowNs);
      if (moves.length > 0 && !this.#stopped) await this.#carryOut(moves, usage.units);
    } catch (error) {
      this.#tellFailure(error);
    }
  }

  #tellFailure(error: unknown): void {
    this.#log.error({ code: 'INTERNAL_ERROR' }, `balancing the sidecores failed: ${messageOf(error)}`);
  }

  /** Takes as many sidecores into use as were decided. What is on one that is no longer moves away in this round, or the next. */
  #resize({ cores, reason }: ElasticDecision, usage: Usage): void {
    while (this.#set.inUse.length < cores) {
      const parked = this.#set.dedicated.filter(({ inUse }) => !inUse);
      this.#use(parked.find(({ stalled }) => !stalled) ?? parked[0]!, true, reason);
    }
    while (this.#set.inUse.length > cores) {
      const core = this.#leastBusy(usage);
      if (core === undefined) return;
      this.#use(core, false, reason);
    }
  }

  #use(core: Core, inUse: boolean, reason: ElasticDecision['reason']): void {
    this.#set.use(core, inUse);
    const what = inUse ? 'is taken into use' : 'is not used any more';
    this.#log.info(
      `sidecore ${core.options.index} ${what}: ${REASONS[reason]}; ${this.#set.inUse.length} of ${this.#set.dedicated.length} are in use`,
    );
  }

  /** Of those that could be done without. */
  #leastBusy({ movables }: Usage): Core | undefined {
    const load = ({ options: { index } }: Core) =>
      movables.reduce((sum, { core, ns }) => sum + (core === index ? ns : 0), 0);
    const candidates = this.#set.inUse.filter((core) => !this.#set.ports.includes(core));
    return candidates.reduce<Core | undefined>(
      (least, core) => (least === undefined || load(core) <= load(least) ? core : least),
      undefined,
    );
  }

  async #carryOut(moves: readonly Move[], units: ReadonlyMap<number, Unit>): Promise<void> {
    const cards = new Map<number, { move: Move; card: CardMove }[]>();
    const queues: Promise<void>[] = [];
    const begunMs = performance.now();
    for (const move of moves) {
      const { device, queue } = units.get(move.id)!;
      const to = this.#set.cores[move.to]!;
      if (queue !== undefined) {
        const label = `${device.label} queue ${queue.spec.index}`;
        queues.push(this.#inTime(moveQueue(queue, to).then((moved) => this.#note(label, move, moved, begunMs))));
        continue;
      }
      const { switchId } = device.spec as NetDeviceSpec;
      cards.set(switchId, [...(cards.get(switchId) ?? []), { move, card: { device, to } }]);
    }
    await Promise.all(queues);
    // One network after the other: what crosses between sidecores is awaited for each. A network waits for a few of its cards at a time.
    for (const [network, all] of cards)
      for (let i = 0; i < all.length; i += BALANCE_MOVES_MAX) {
        const few = all.slice(i, i + BALANCE_MOVES_MAX);
        const begunMs = performance.now();
        const moving = moveCards(
          network,
          few.map(({ card }) => card),
          this.#set.mesh,
        );
        const noted = moving.then((moved) => {
          for (const { move, card } of few) this.#note(card.device.label, move, moved.includes(card.device), begunMs);
        });
        await this.#inTime(noted);
      }
  }

  /** Waits for a move, unless a sidecore does not answer: then it comes to its end when that does. */
  async #inTime(move: Promise<void>): Promise<void> {
    const end = new AbortController();
    const late = sleep(CORE_ANSWER_MS_MAX, undefined, { ref: false, signal: end.signal }).catch(() => {});
    await Promise.race([move.catch((error) => this.#tellFailure(error)), late]);
    end.abort();
  }

  #note(label: string, { id, from, to }: Move, moved: boolean, begunMs: number): void {
    const late = performance.now() - begunMs >= MOVE_WAIT_MS_MAX;
    const what = `${label} ${moved ? 'moved' : 'could not move'} from sidecore ${from} to ${to}`;
    if (moved) this.moved++;
    else {
      this.failed++;
      this.#balancer.failed(id);
    }
    if (moved || !late) this.#log.debug(what);
    else this.#log.warn(`${what}: what it has under way, or its network, takes more than ${MOVE_WAIT_MS_MAX} ms`);
  }
}
