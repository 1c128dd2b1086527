import { defineFrameFilter } from '../../../filter/frame-contract.js';
import { Clock } from './clock.js';
import { Engine, type Plans, passes, planAll, REASONS } from './engine.js';
import { manageFirewall } from './manage.js';
import { FirewallMemory, memoryBytes } from './memory.js';
import { type FirewallOptions, optionsSchema } from './options.js';

/**
 * Lets pass what its rules accept, and what belongs to a connection that they have accepted; and nothing that pretends to be from
 * somebody else. docs/firewall.md
 */
export const firewall = defineFrameFilter({
  name: 'firewall',
  options: optionsSchema,
  counters: ['out', 'in'].flatMap((direction) => REASONS.map((reason) => `${direction}_${reason}`)),
  sharedBytes: memoryBytes,
  manage: manageFirewall,
  create(context) {
    const { options, mac, shared } = context;
    const memory = new FirewallMemory(shared, options);
    const { connections } = memory;
    const clock = new Clock(context);
    clock.read(connections);
    memory.settle(memoryOf(context.previous));
    const plans = (context.prepared as Plans | undefined) ?? planAll(options);
    const engine = new Engine(options, plans, [mac.high, mac.low], connections, memory.hits);
    const countersOf = (direction: string) => REASONS.map((reason) => context.counter(`${direction}_${reason}`));
    const out = countersOf('out');
    const into = countersOf('in');
    return {
      outbound(frame, next) {
        clock.tick(connections);
        const reason = engine.decide(frame, true);
        out[reason]!.add(1);
        if (passes(reason)) next(frame);
      },
      inbound(frame, next) {
        clock.tick(connections);
        const reason = engine.decide(frame, false);
        into[reason]!.add(1);
        if (passes(reason)) next(frame);
      },
      handOver: (): Legacy => ({ shared, options }),
    };
  },
});

/** What one firewall leaves to that which takes its place: connections outlive a change of the rules. */
interface Legacy {
  readonly shared: SharedArrayBuffer;
  readonly options: FirewallOptions;
}

function memoryOf(previous: unknown): FirewallMemory | undefined {
  const legacy = previous as Partial<Legacy> | undefined;
  if (!(legacy?.shared instanceof SharedArrayBuffer) || legacy.options === undefined) return undefined;
  return new FirewallMemory(legacy.shared, legacy.options);
}
