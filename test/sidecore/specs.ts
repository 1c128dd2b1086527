import { CONFIG_SPACE_BYTES_MAX } from '../../src/limits.js';
import type { NetDeviceSpec } from '../../src/net/device.js';
import { NetDeviceState } from '../../src/net/device-state.js';
import { accessPort } from '../../src/net/vlan.js';

/** A network card of network 0. */
export function card(port: number, queuePairs: number): NetDeviceSpec {
  const shared = new SharedArrayBuffer(CONFIG_SPACE_BYTES_MAX + NetDeviceState.BYTES);
  const mac = { high: 0x5254, low: port };
  return {
    kind: 'net',
    account: { id: 0, weight: 1 },
    shared,
    switchId: 0,
    port,
    queuePairs,
    vlans: accessPort(0),
    mac,
  };
}
