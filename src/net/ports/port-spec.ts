import type { PortVlans } from '../vlan.js';
import type { GeneratorPortSpec } from './generator/spec.js';
import type { TapPortSpec } from './tap/spec.js';

/** What every port has that is no guest's card. Plain data. */
export interface CommonPortSpec {
  /** Its number among all ports of the daemon. */
  readonly number: number;
  readonly switchId: number;
  readonly vlans: PortVlans;
  /** Memory of its counters, by `PortCounter`. */
  readonly shared: SharedArrayBuffer;
}

/** Everything a sidecore needs to serve a port. */
export type PortSpec = GeneratorPortSpec | TapPortSpec;
