import { z } from 'zod';
import {
  GENERATOR_FRAME_BYTES_MAX,
  GENERATOR_FRAME_BYTES_MIN,
  MTU_MAX,
  MTU_MIN,
  QUEUE_PAIRS_MAX,
  TAP_MTU_MAX,
  TAP_QUEUES_MAX,
} from '../limits.js';
import { accessPort, NO_VLAN, type PortVlans, trunkPort, VLAN_DROP, VLAN_ID_MAX } from '../net/vlan.js';
import { frameFilters } from './config-filters.js';
import { account, name, path, role, station } from './config-values.js';

const vlanId = z.int().min(1).max(VLAN_ID_MAX);

/** In which VLANs a port is: at most one of the two. */
const vlans = {
  vlan: vlanId.optional(),
  trunk: z
    .strictObject({
      native: z.union([vlanId, z.literal('none')], `expects a VLAN, 1 to ${VLAN_ID_MAX}, or none`).optional(),
      vlans: z.array(vlanId).min(1, 'name at least one VLAN').optional(),
    })
    .optional(),
};

export const nic = z.strictObject({
  network: name.default('lan'),
  mac: station.optional(),
  mtu: z.int().min(MTU_MIN).max(MTU_MAX).default(1500),
  queue_pairs: z.int().min(1).max(QUEUE_PAIRS_MAX).default(1),
  speed: z.int().min(1).max(1_000_000).default(10_000),
  offloads: z.boolean().default(true),
  ...vlans,
  filters: frameFilters,
  socket: path.optional(),
  role,
});

/** A name that Linux takes for a network device, and that is no pattern for one: `%` would be. */
const device = z
  .string()
  .regex(
    /^(?!\.\.?$)[!-$&-.0-9;-~]{1,15}$/,
    'a network device has a name of at most 15 characters, without blanks, /, : and %',
  );

const tap = z.strictObject({
  type: z.literal('tap'),
  device,
  mac: station.optional(),
  mtu: z.int().min(MTU_MIN).max(TAP_MTU_MAX).optional(),
  owner: account.optional(),
  group: account.optional(),
  bridge: device.optional(),
  queues: z.int().min(1).max(TAP_QUEUES_MAX).default(1),
  ...vlans,
});

const generator = z.strictObject({
  type: z.literal('generator'),
  frame_bytes: z.int().min(GENERATOR_FRAME_BYTES_MIN).max(GENERATOR_FRAME_BYTES_MAX).default(64),
  mac: station.optional(),
  destination: station.optional(),
  send: z.boolean().default(false),
  ...vlans,
});

export const network = z.strictObject({
  ports: z.record(name, z.discriminatedUnion('type', [tap, generator])).default({}),
});

export type NicConfig = z.output<typeof nic>;
export type TapConfig = z.output<typeof tap>;
export type GeneratorConfig = z.output<typeof generator>;
export type PortConfig = TapConfig | GeneratorConfig;

/** The VLANs of a card or port as the switch takes them. One about which nothing is said has frames without a tag, and no others. */
export function portVlans({ vlan, trunk }: Pick<NicConfig, 'vlan' | 'trunk'>): PortVlans {
  if (trunk === undefined) return accessPort(vlan ?? NO_VLAN);
  const { native = NO_VLAN, vlans } = trunk;
  return trunkPort(native === 'none' ? VLAN_DROP : native, vlans);
}
