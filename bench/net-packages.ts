import { existsSync } from 'node:fs';
import type { PlannedRows } from './net-sides.js';

/** Debian's packages that rows need, and a file that each has. */
export const PACKAGES = {
  'dpdk-dev': '/usr/bin/dpdk-testpmd',
  'openvswitch-switch-dpdk': '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk',
} as const;
export type Package = keyof typeof PACKAGES;

/** The rows whose packages are there; says which package is missing, and what is left out without it. */
export function withPackages(rows: readonly PlannedRows[], progress: (line: string) => void): PlannedRows[] {
  const missing = (Object.keys(PACKAGES) as Package[]).filter((name) => !existsSync(PACKAGES[name]));
  for (const name of missing) {
    const without = rows.filter(({ needs }) => needs.includes(name));
    if (without.length > 0)
      progress(`${name} is not installed; left out: ${without.map((one) => one.name).join('; ')}`);
  }
  return rows.filter(({ needs }) => !needs.some((name) => missing.includes(name)));
}
