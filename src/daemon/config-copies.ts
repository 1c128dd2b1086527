import { SidecoreError } from '../errors.js';
import { portFaults, portsOf } from '../filter/frame-ports.js';
import type { ReadyFrameFilter } from '../filter/opened-frame-filter.js';
import type { Config } from './config-schema.js';
import type { ConfigProblem, ConfigText } from './config-text.js';
import { PortBook } from './port-book.js';

/** What is wrong with the ports to which cards' filters give copies. Told at the option that names the port, if it is called as the filter calls it. */
export function copyProblems(config: Config, source: ConfigText): ConfigProblem[] {
  const loaded = new Map<string, ReadyFrameFilter[]>();
  const ports = new PortBook(config, (card) => loaded.get(card) ?? []);
  const filters = Object.entries(config.vms).flatMap(([vm, { nics }]) =>
    Object.entries(nics).flatMap(([name, nic]) => {
      const card = `${vm}/${name}`;
      const ready = nic.filters.flatMap((filter, index) =>
        filter.ready === undefined
          ? []
          : [{ card, filter, ready: filter.ready, keys: ['vms', vm, 'nics', name, 'filters', index, 'options'] }],
      );
      loaded.set(
        card,
        ready.map((each) => each.ready),
      );
      return ready;
    }),
  );
  return filters.flatMap(({ card, filter, ready, keys }) => {
    try {
      return portFaults(card, portsOf(ready), ports).map(({ name, text }) =>
        source.problem(Object.hasOwn(filter.options, name) ? [...keys, name] : keys, text),
      );
    } catch (error) {
      if (!(error instanceof SidecoreError)) throw error;
      return [source.problem(keys, error.message, error.remedy, error.code)];
    }
  });
}
