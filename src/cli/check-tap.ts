import { accessSync, constants, readFileSync } from 'node:fs';
import type { TapConfig } from '../daemon/config.js';
import type { ErrorCode } from '../errors.js';
import { deviceExists, isBridge, isUp, tunFlags } from '../host/net-device.js';
import { IFF_MULTI_QUEUE, IFF_TAP, rootsRemedy, TUN_PATH } from '../host/tap.js';

/** Bit of the right to make and change network devices. capabilities(7) */
const CAP_NET_ADMIN = 12n;

/** Why a TAP device could not be had, as far as that is seen without opening it. */
interface TapFault {
  readonly code: ErrorCode;
  readonly key: 'device' | 'bridge' | 'queues';
  readonly text: string;
  readonly remedy: string;
}

/** Opens, makes and changes nothing. */
export function tapFaults({ device, bridge, queues }: TapConfig): TapFault[] {
  const faults: TapFault[] = [];
  const deviceFault = tunFault() ?? (deviceExists(device) ? presentFault(device) : absentFault(device));
  if (deviceFault !== undefined) faults.push({ key: 'device', ...deviceFault });
  else if (queues > 1 && ((tunFlags(device) ?? IFF_MULTI_QUEUE) & IFF_MULTI_QUEUE) === 0)
    faults.push({
      code: 'TAP_INVALID',
      key: 'queues',
      text: `${device} was made for one queue`,
      remedy: `Leave it out, or make the device anew: \`ip tuntap add ${device} mode tap multi_queue\`.`,
    });
  if (bridge !== undefined && !isBridge(bridge))
    faults.push({
      code: 'BRIDGE_MISSING',
      key: 'bridge',
      text: deviceExists(bridge) ? `${bridge} is no bridge` : `there is no bridge ${bridge}`,
      remedy: `Make it (\`ip link add ${bridge} type bridge\`), or name another.`,
    });
  return faults;
}

type DeviceFault = Omit<TapFault, 'key'> | undefined;

function tunFault(): DeviceFault {
  try {
    accessSync(TUN_PATH, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const text = `${TUN_PATH} cannot be used (${code})`;
    if (code === 'EACCES') return { code: 'TAP_PERMISSION', text, remedy: 'Change its mode, or run as root.' };
    return { code: 'TAP_UNAVAILABLE', text, remedy: 'Load the module (`modprobe tun`).' };
  }
}

/** Whether somebody uses it is not looked at: that may be the daemon that runs with this configuration. */
function presentFault(device: string): DeviceFault {
  if (((tunFlags(device) ?? 0) & IFF_TAP) === 0) {
    const text = `${device} is there already, and no TAP device`;
    return { code: 'TAP_NAME_TAKEN', text, remedy: 'Choose another name.' };
  }
  if (isUp(device) || mayChangeDevices()) return undefined;
  const text = `${device} is switched off, and only root can switch it on`;
  return { code: 'TAP_PERMISSION', text, remedy: rootsRemedy(device, 'up') };
}

function absentFault(device: string): DeviceFault {
  if (mayChangeDevices()) return undefined;
  const text = `${device} is not there, and only root can make it`;
  return { code: 'TAP_PERMISSION', text, remedy: 'Have root make it: docs/tap.md says how.' };
}

function mayChangeDevices(): boolean {
  const rights = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  return ((BigInt(`0x${rights}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}
