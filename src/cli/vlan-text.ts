import type { DaemonStatus } from '../daemon/daemon.js';

type NicStatus = DaemonStatus['nics'][string][string];

/** As in the configuration: `10`, `trunk`, `trunk 10,20 native 5`; `-` for neither key. */
export function vlanText({ vlan, trunk }: Pick<NicStatus, 'vlan' | 'trunk'>): string {
  if (trunk === null) return vlan === null ? '-' : String(vlan);
  const { vlans, native } = trunk;
  return [
    'trunk',
    ...(vlans === undefined ? [] : [vlans.join(',')]),
    ...(native === undefined ? [] : ['native', native]),
  ].join(' ');
}
