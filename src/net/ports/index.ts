import type { Switch } from '../switch.js';
import type { UringHost } from '../uring-user.js';
import { GeneratorPort } from './generator/port.js';
import type { PortSpec } from './port-spec.js';
import type { ServedPort } from './served-port.js';
import { TapPort } from './tap/port.js';

/** Makes the sidecore's end of a port, by its kind. */
export function createPort(spec: PortSpec, network: Switch, host: UringHost): ServedPort {
  switch (spec.kind) {
    case 'generator':
      return new GeneratorPort(spec, network);
    case 'tap':
      return new TapPort(spec, network, host);
  }
}
