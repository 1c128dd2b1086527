import { type Harness, loadHarness, provideNeeds, type Vm } from '../../src/demo/harness.js';
import { SidecoreError } from '../../src/errors.js';
import { pinAllThreads } from '../../src/host/affinity.js';
import type { PaperDaemon, Stand } from './stand.js';

const BOOT_MS_MAX = 120_000;
/** Addresses: guests count from 1. */
const NETWORK = '10.0.0';
export const PARTNER_ADDRESS = `${NETWORK}.200`;
export const FIRST_PORT = 5201;

/** What real guests run on: KVM, or emulation if that was asked for. */
export interface RealGround {
  readonly harness: Harness;
  readonly accelerator: 'kvm' | 'tcg';
}

/** Finds out whether real guests can run here. Throws in one line if KVM does not boot one and emulation was not asked for. */
export async function realGround(emulated: boolean, say: (line: string) => void): Promise<RealGround> {
  const harness = await loadHarness();
  await provideNeeds(harness, say);
  if (emulated) return { harness, accelerator: 'tcg' };
  const { accelerator, why } = await harness.accelerator();
  if (accelerator === 'kvm') return { harness, accelerator };
  throw noKvm(why);
}

/** Why there is no guest under KVM. What QEMU wrote last says most: an error has the console below what happened. */
export function noKvm(why: string): SidecoreError {
  const [first = '', ...console] = why.split('\n').filter((line) => line !== '' && !line.startsWith('---'));
  const said = console.find((line) => line.startsWith('qemu'));
  return new SidecoreError(
    'UNSUPPORTED_PLATFORM',
    `KVM boots no guest on this machine: ${said === undefined ? first : `${first}; ${said}`}`,
    'With --tcg they are emulated: the same is measured, and means little.',
  );
}

/** A daemon with real guests that have a disk and a card each, and a partner: one more guest, that the others talk to. */
export class RealSide {
  readonly daemon: PaperDaemon;
  readonly guests: readonly Vm[];
  readonly #partner: Vm;

  static async boot(stand: Stand, ground: RealGround, mode: 'sidecore' | 'baseline', count: number): Promise<RealSide> {
    const daemon = await stand.daemon({ mode, realGuests: count });
    daemon.process.resume();
    const { nics } = await daemon.process.status();
    const { harness, accelerator } = ground;
    const booted: Vm[] = [];
    const boot = async (name: string, address: string, disks: { socket: string }[]): Promise<Vm> => {
      const nic = { socket: daemon.socket(name, 'net0'), mac: nics[name]!['net0']!.mac };
      const vm = await harness.boot({ disks, nics: [nic], accelerator, bootTimeoutMs: BOOT_MS_MAX });
      booted.push(vm);
      // On a machine with more CPUs guests have all that are not the back end's.
      pinAllThreads(stand.guestCpus, vm.pid);
      await vm.must(`ip addr add ${address}/24 dev eth0; ip link set eth0 up`);
      return vm;
    };
    try {
      // One after the other: emulated guests that boot at the same time on one CPU lose their timers.
      const guests: Vm[] = [];
      for (let i = 0; i < count; i++) {
        stand.progress.say(`7: booting guest ${i + 1} of ${count}, ${mode}`);
        guests.push(await boot(`g${i}`, `${NETWORK}.${i + 1}`, [{ socket: daemon.socket(`g${i}`, 'disk0') }]));
        stand.signal.throwIfAborted();
      }
      stand.progress.say(`7: booting the guests’ partner, ${mode}`);
      const partner = await boot('p0', PARTNER_ADDRESS, []);
      const ports = guests.map((_, i) => `iperf3 -s -D -p ${FIRST_PORT + i} > /dev/null`);
      await partner.must(`${ports.join('; ')}; sleep 0.5`);
      for (const guest of guests) await guest.must(`ping -c 2 -i 0.2 -W 5 ${PARTNER_ADDRESS}`);
      stand.signal.throwIfAborted();
      daemon.process.pause();
      return new RealSide(daemon, guests, partner);
    } catch (error) {
      for (const vm of booted) await vm.kill();
      throw error;
    }
  }

  private constructor(daemon: PaperDaemon, guests: readonly Vm[], partner: Vm) {
    this.daemon = daemon;
    this.guests = guests;
    this.#partner = partner;
  }

  /** QEMU's processes: of so many guests and of their partner. */
  pids(count: number): number[] {
    return [...this.guests.slice(0, count), this.#partner].map(({ pid }) => pid);
  }

  async kill(): Promise<void> {
    this.daemon.process.resume();
    for (const vm of [...this.guests, this.#partner]) await vm.kill();
  }
}
