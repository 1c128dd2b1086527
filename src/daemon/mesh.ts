import { setTimeout as sleep } from 'node:timers/promises';
import { CROSSING_BYTES, CROSSING_BYTES_MIN, CROSSINGS_BYTES, NETWORKS_MAX } from '../limits.js';
import { CrossingRing } from '../net/crossing-ring.js';
import { Directory } from '../net/directory.js';
import type { Neighbourhood } from '../sidecore/messages.js';
import type { Core } from './core.js';

/** Pause between two looks whether frames have arrived, ms. */
const LOOK_MS = 1;
/** Looks before the first pause: mostly the readers need a few microseconds. */
const EAGER_LOOKS = 200;

/** The ways between the sidecores of a daemon: two rings for each pair, and the directory of who is where. */
export class Mesh {
  readonly neighbourhoods: readonly Neighbourhood[];
  readonly directory: Directory;
  readonly cores: readonly Core[];
  /** Networks of which cards are being moved. */
  readonly moving = new Set<number>();
  /** By writer, then reader. */
  readonly #rings: readonly (readonly (SharedArrayBuffer | undefined)[])[];

  /** @param networked - whether there is anything that could cross */
  constructor(cores: readonly Core[], networked: boolean) {
    this.cores = cores;
    const share = 2 ** Math.floor(Math.log2(CROSSINGS_BYTES / cores.length ** 2));
    const bytes = Math.max(CROSSING_BYTES_MIN, Math.min(CROSSING_BYTES, share));
    const networks = networked ? NETWORKS_MAX : 0;
    const directory = Directory.create(cores.length, networks);
    this.directory = new Directory(directory, networks);
    this.#rings = cores.map((_, here) =>
      cores.map((_, there) => (there === here || !networked ? undefined : CrossingRing.create(bytes))),
    );
    this.neighbourhoods = cores.map((_, here) => ({ directory, networks, others: this.#othersOf(here) }));
  }

  #othersOf(here: number): Neighbourhood['others'] {
    return this.cores.flatMap(({ state, bellFd }, there) => {
      const arrivals = this.#rings[there]![here];
      const departures = this.#rings[here]![there];
      if (arrivals === undefined || departures === undefined) return [];
      return [{ core: there, arrivals, departures, state: state.buffer, bellFd }];
    });
  }

  /** Whether a sidecore has ports of a network. */
  has(core: Core, network: number): boolean {
    return this.directory.has(core.options.index, network);
  }

  /**
   * Waits until all frames that can be seen now in the rings between sidecores of a network have been delivered, or for as long; false
   * if they were not. Nobody joins the network meanwhile who sends in it.
   */
  async delivered(network: number, timeoutMs: number): Promise<boolean> {
    const has = (core: number) => this.directory.has(core, network);
    const rings = this.#rings.flatMap((row, writer) =>
      row.filter((ring, reader) => ring !== undefined && has(writer) && has(reader)),
    ) as SharedArrayBuffer[];
    let waiting = rings.map((ring) => ({ ring, position: CrossingRing.written(ring) }));
    const deadline = performance.now() + timeoutMs;
    for (let looks = 0; ; looks++) {
      waiting = waiting.filter(({ ring, position }) => !CrossingRing.isReadTo(ring, position));
      if (waiting.length === 0) return true;
      if (performance.now() > deadline) return false;
      if (looks >= EAGER_LOOKS) await sleep(LOOK_MS);
    }
  }
}
