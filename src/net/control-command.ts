import type { NetDeviceState } from './device-state.js';
import { isStation, macHigh, macLow } from './ethernet.js';
import { type RxFilter, RxMode } from './rx-filter.js';
import { VLAN_ID_MAX } from './vlan.js';

/** Classes of commands, and the commands of each. VIRTIO 1.3, 5.1.6.5 */
const Class = { RX: 0, MAC: 1, VLAN: 2, ANNOUNCE: 3, MQ: 4 } as const;
const Mac = { TABLE_SET: 0, ADDRESS_SET: 1 } as const;
const Vlan = { ADD: 0, DELETE: 1 } as const;
const ANNOUNCE_ACK = 0;
const MQ_PAIRS_SET = 0;

/** By number of the command in class RX. */
const MODES = [RxMode.PROMISC, RxMode.ALLMULTI, RxMode.ALLUNI, RxMode.NOMULTI, RxMode.NOUNI, RxMode.NOBCAST];

const MAC_BYTES = 6;

/**
 * Does what a driver commands; false if it cannot be done, and then nothing has changed.
 *
 * @param command - private memory with the command, or with its first `CONTROL_BYTES_MAX` bytes
 * @param byteLength - of the whole command
 * @param pairsMax - queue pairs that the card has
 */
export function runCommand(command: Buffer, byteLength: number, device: NetDeviceState, pairsMax: number): boolean {
  if (command.length < 2) return false;
  const number = command[1]!;
  const data = command.subarray(2);
  if (byteLength > command.length) {
    const isTable = command[0] === Class.MAC && number === Mac.TABLE_SET;
    return isTable && setLongTable(data, byteLength - 2, device.filter);
  }
  switch (command[0]) {
    case Class.RX:
      return setMode(number, data, device.filter);
    case Class.MAC:
      if (number === Mac.TABLE_SET) return setTable(data, device.filter);
      return number === Mac.ADDRESS_SET && setAddress(data, device);
    case Class.VLAN:
      return setVlan(number, data, device.filter);
    case Class.ANNOUNCE:
      if (number !== ANNOUNCE_ACK) return false;
      device.acknowledgeAnnouncement();
      return true;
    case Class.MQ:
      return number === MQ_PAIRS_SET && setPairs(data, device, pairsMax);
    default:
      return false;
  }
}

function setMode(number: number, data: Buffer, filter: RxFilter): boolean {
  const bit = MODES[number];
  if (bit === undefined || data.length !== 1 || data[0]! > 1) return false;
  filter.setMode(bit, data[0] === 1);
  return true;
}

/** Unicast addresses and multicast addresses, each with their number before. More than we remember means all of both kinds. */
function setTable(data: Buffer, filter: RxFilter): boolean {
  const tables: (readonly [number, number])[][] = [];
  let at = 0;
  for (let table = 0; table < 2; table++) {
    if (at + 4 > data.length) return false;
    const count = data.readUInt32LE(at);
    at += 4;
    if (count * MAC_BYTES > data.length - at) return false;
    const from = at;
    tables.push(
      Array.from({ length: count }, (_, i) => [
        macHigh(data, from + i * MAC_BYTES),
        macLow(data, from + i * MAC_BYTES),
      ]),
    );
    at += count * MAC_BYTES;
  }
  if (at !== data.length) return false;
  const [unicast, multicast] = tables as [(readonly [number, number])[], (readonly [number, number])[]];
  filter.setTable([...unicast, ...multicast]);
  return true;
}

/** The same for a table of `byteLength` bytes, of which only the first are there. */
function setLongTable(data: Buffer, byteLength: number, filter: RxFilter): boolean {
  const addressBytes = byteLength - 8;
  if (addressBytes % MAC_BYTES !== 0 || data.readUInt32LE(0) * MAC_BYTES > addressBytes) return false;
  filter.setTable('too many');
  return true;
}

function setAddress(data: Buffer, device: NetDeviceState): boolean {
  if (data.length !== MAC_BYTES) return false;
  const [high, low] = [macHigh(data, 0), macLow(data, 0)];
  if (!isStation(high, low)) return false;
  device.setMac(high, low);
  return true;
}

function setVlan(number: number, data: Buffer, filter: RxFilter): boolean {
  if ((number !== Vlan.ADD && number !== Vlan.DELETE) || data.length !== 2) return false;
  const vlan = data.readUInt16LE(0);
  if (vlan > VLAN_ID_MAX) return false;
  filter.setVlan(vlan, number === Vlan.ADD);
  return true;
}

function setPairs(data: Buffer, device: NetDeviceState, pairsMax: number): boolean {
  if (data.length !== 2) return false;
  const pairs = data.readUInt16LE(0);
  if (pairs < 1 || pairs > pairsMax) return false;
  device.setPairs(pairs);
  return true;
}
