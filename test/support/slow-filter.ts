/** A filter that keeps requests for some turns on both their ways, by a seed: what is below it is slow, and in no order. */
import { DEFERRED, defineBlockFilter, Status } from '../../src/filter/index.js';
import type { Random } from './seed.js';

export const slowFilter = (random: Random, turnsMax = 5) =>
  defineBlockFilter({
    name: 'slow',
    defers: true,
    create(context) {
      const waiting: { token: number; turns: number; up: boolean; status: number }[] = [];
      const keep = (token: number, up: boolean, status: number) =>
        waiting.push({ token, turns: 1 + random.below(turnsMax), up, status });
      return {
        submit(request, next) {
          if (random.chance(0.3)) next(request);
          else keep(request.defer(), false, Status.OK);
        },
        complete(request, status) {
          if (random.chance(0.3)) return status;
          keep(request.defer(), true, status);
          return DEFERRED;
        },
        tick() {
          for (const one of waiting.splice(0)) {
            if (--one.turns > 0) waiting.push(one);
            else if (one.up) context.finish(one.token, one.status);
            else context.goOn(one.token);
          }
        },
      };
    },
  });
