import { defineBlockFilter } from 'sidecore/filter';

const DELAY_NS = 5e6;

/** Every request waits for 5 ms. All wait equally long, so the first that came is the first to go on. */
export default defineBlockFilter({
  name: 'late',
  defers: true,
  create(context) {
    const tokens = new Float64Array(context.slots);
    const due = new Float64Array(context.slots);
    let first = 0;
    let kept = 0;
    const goOn = (nowNs: number) => {
      while (kept > 0 && due[first]! <= nowNs) {
        const token = tokens[first]!;
        first = (first + 1) % context.slots;
        kept--;
        context.goOn(token);
      }
      if (kept > 0) context.wakeAt(due[first]!);
    };
    return {
      submit(request) {
        const at = (first + kept++) % context.slots;
        tokens[at] = request.defer();
        context.readNowNs(due, at);
        due[at]! += DELAY_NS;
        context.wakeAt(due[first]!);
      },
      tick: () => goOn(context.now[0]!),
      hurry: () => goOn(Number.POSITIVE_INFINITY),
    };
  },
});
