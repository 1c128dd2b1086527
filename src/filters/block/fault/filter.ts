import { SidecoreError } from '../../../errors.js';
import type { FilterRequest } from '../../../filter/contract.js';
import { defineBlockFilter, RequestType, Status } from '../../../filter/index.js';
import { FAULT_RULES_MAX } from '../../../limits.js';
import { KeptRequests } from './kept.js';
import { RuleTable } from './rule-table.js';
import { Action, faultOptions, RANDOM_BIT, type Rule, ruleFromText, ruleOf, textOf } from './rules.js';
import { WrongWrites } from './writes.js';

/** Breaks requests by rule and seed: for tests of guests, and of other filters. */
export const fault = defineBlockFilter({
  name: 'fault',
  options: faultOptions,
  defers: true,
  counters: ['errors', 'unsupported', 'hung', 'lies', 'delayed', 'torn', 'corrupted'],
  sharedBytes: RuleTable.BYTES,
  manage({ options, shared }) {
    const table = new RuleTable(shared);
    table.clear();
    table.seed = options.seed;
    for (const rule of options.rules) table.add(ruleOf(rule));
    const list = () => ({
      rules: table.rules.map(({ rule, matched, met }, at) => ({ rule: at, ...textOf(rule), matched, met })),
    });
    return {
      commands: {
        add: async (given) => {
          if (!table.add(await ruleOfText(given)))
            throw new SidecoreError('CONFIG_INVALID', `there are ${FAULT_RULES_MAX} rules already`);
          return list();
        },
        clear: () => {
          table.clear();
          return list();
        },
        list,
      },
      status: list,
    };
  },
  create(context) {
    const table = new RuleTable(context.shared);
    const writes = new WrongWrites(context);
    const kept = new KeptRequests(context);
    const counters = ['', 'errors', 'unsupported', 'hung', 'lies', 'delayed', 'torn', 'corrupted'].map((name) =>
      name === '' ? undefined : context.counter(name),
    );
    /** Bit of a read that is turned on its way up, by slot; negative if none is. */
    const bits = new Float64Array(context.slots).fill(-1);
    let cleared = table.cleared;

    /** A bit of the request's data. */
    const bitIn = (request: FilterRequest): number =>
      (table.value[0] === RANDOM_BIT ? table.chance[0]! : table.value[0]!) % (8 * request.bytes);

    return {
      submit(request, next) {
        if (table.count === 0 || !table.meets(request)) return next(request);
        const { action } = table;
        const isEmpty = request.type === RequestType.OUT && request.bytes === 0;
        if (action >= Action.TORN && isEmpty) return next(request);
        counters[action]!.add(1);
        if (action === Action.ERROR) request.complete(Status.IOERR);
        else if (action === Action.UNSUPPORTED) request.complete(Status.UNSUPP);
        else if (action === Action.LIE) request.complete(Status.OK);
        else if (action === Action.HANG) kept.hang(request.defer());
        else if (action === Action.DELAY) kept.delay(request.defer(), table.value[0]!);
        else if (action === Action.TORN)
          writes.tear(request.defer(), Math.min(request.bytes, table.value[0]!), table.lie ? Status.OK : Status.IOERR);
        else if (request.type === RequestType.OUT) writes.corrupt(request.defer(), request.bytes, bitIn(request));
        else {
          bits[request.slot] = request.bytes === 0 ? -1 : bitIn(request);
          next(request);
        }
      },
      complete(request, status) {
        const bit = bits[request.slot]!;
        if (bit >= 0) {
          bits[request.slot] = -1;
          if (status === Status.OK) turnBit(request, bit);
        }
        return status;
      },
      done: (tag, status) => writes.done(tag, status),
      tick() {
        writes.tick();
        if (cleared !== table.cleared) {
          cleared = table.cleared;
          kept.release();
        } else kept.tick();
      },
      hurry() {
        writes.tick();
        kept.hurry();
      },
    };
  },
});

/** Turns one bit of what was read. */
function turnBit(request: FilterRequest, bit: number): void {
  let at = Math.floor(bit / 8);
  for (let i = 0; i < request.segmentCount; i++) {
    const { bytes, offset, length } = request.segment(i);
    if (at < length) {
      bytes[offset + at] = bytes[offset + at]! ^ (1 << (bit % 8));
      return;
    }
    at -= length;
  }
}

async function ruleOfText(given: Readonly<Record<string, string>>): Promise<Rule> {
  // On the main thread only: sidecores need no schemas.
  const { readOptions } = await import('../../../filter/load.js');
  const read = readOptions(fault, { rules: [ruleFromText(given)] });
  if ('faults' in read) {
    const { keys, text } = read.faults[0]!;
    throw new SidecoreError('CONFIG_INVALID', [...keys.slice(2), text].join(': '));
  }
  return ruleOf((read.options as { rules: Parameters<typeof ruleOf>[0][] }).rules[0]!);
}
