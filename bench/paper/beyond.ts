import type { Costs } from '../../src/sim/costs.js';
import { FULL_EXTENT, type SimExtent, simulateExperiment } from '../../src/sim/experiments.js';
import type { Experiment, Figure } from './results.js';
import type { Timing } from './stand.js';

const EXTENTS: Record<Timing['points'], SimExtent> = {
  all: { ...FULL_EXTENT, seeds: 1 },
  few: { guests: [1, 4, 16, 64, 256], cores: [1, 4, 16], seeds: 1, requests: 1000 },
  least: { guests: [1, 4], cores: [1, 2], seeds: 1, requests: 200 },
};

/**
 * The same experiment beyond what the machine can run: 1 to 256 guests and 1 to 32 sidecores in the simulator, which runs the real
 * scheduler, balancer and notification. Not measured, and each figure says so.
 */
export function beyond(
  { number }: Pick<Experiment, 'number'>,
  { points }: Timing,
  costs: Costs,
  seed: number,
): readonly Figure[] {
  const simulated = simulateExperiment(number, costs, seed, EXTENTS[points]);
  return (simulated?.figures ?? []).map((figure) => ({ ...figure, title: `Simulated: ${figure.title}` }));
}
