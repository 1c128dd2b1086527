import { after } from 'node:test';
import { MacTable } from '../../src/net/mac-table.js';
import { PORT_COUNTER_BYTES } from '../../src/net/port.js';
import { GeneratorPort } from '../../src/net/ports/generator/port.js';
import { Switch } from '../../src/net/switch.js';
import { trunkPort } from '../../src/net/vlan.js';
import { NetRig } from '../support/net-rig.js';
import { portConformance } from './port.js';

const NOBODY = { high: 0x0200, low: 9 };
const rigs: NetRig[] = [];
after(() => {
  for (const rig of rigs) rig.release();
});

for (const layout of ['split', 'packed'] as const) {
  portConformance({
    name: `a guest's card, ${layout} ring`,
    create: () => {
      const rig = new NetRig();
      rigs.push(rig);
      const guest = rig.guest({ layout, buffers: 200 });
      const received = () => {
        rig.run();
        return guest.frames();
      };
      return { port: rig.networks.port(guest.spec), received };
    },
  });
}

portConformance({
  name: 'generator',
  create: () => {
    const shared = new SharedArrayBuffer(PORT_COUNTER_BYTES);
    const spec = { kind: 'generator', number: 1, switchId: 0, vlans: trunkPort(), shared, frameBytes: 64 } as const;
    const network = new Switch(new MacTable({ secrets: [1, 2] }));
    return { port: new GeneratorPort({ ...spec, send: false, mac: NOBODY, destination: NOBODY }, network) };
  },
});
