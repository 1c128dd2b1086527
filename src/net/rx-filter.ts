import { CONTROL_MACS_MAX } from '../limits.js';
import { isBroadcast, isGroup } from './ethernet.js';

/** Bits of the receive mode, which a driver sets one by one. VIRTIO 1.3, 5.1.6.5.1 */
export const RxMode = { PROMISC: 1, ALLMULTI: 2, ALLUNI: 4, NOMULTI: 8, NOUNI: 16, NOBCAST: 32 } as const;

/** Words of the filter. */
const Word = {
  /** One once the driver has said anything about addresses: before that it gets everything. */
  BY_ADDRESS: 0,
  /** One once it has named a VLAN. */
  BY_VLAN: 1,
  MODE: 2,
  OWN_HIGH: 3,
  OWN_LOW: 4,
  /** Addresses in the table. */
  COUNT: 5,
  /** Modes that stand for a table which we could not remember. */
  INSTEAD: 6,
  TABLE: 7,
} as const;
const VLANS = Word.TABLE + 2 * CONTROL_MACS_MAX;
const VLAN_WORDS = 128;

/**
 * Which frames a driver wants to receive, as it has said by the control queue. In shared memory: any sidecore that serves a queue
 * of the card reads it. Front ends that answer the control queue themselves never tell us, and get everything.
 */
export class RxFilter {
  static readonly BYTES = 4 * (VLANS + VLAN_WORDS);
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer, byteOffset: number) {
    this.#words = new Int32Array(shared, byteOffset, RxFilter.BYTES / 4);
  }

  /** Whether anything is left out. */
  get active(): boolean {
    return (this.#words[Word.BY_ADDRESS]! | this.#words[Word.BY_VLAN]!) !== 0;
  }

  /** Whether the driver wants a frame. `vlan` is the id in its tag, or negative. */
  accepts(high: number, low: number, vlan: number): boolean {
    const words = this.#words;
    if (words[Word.BY_VLAN] !== 0 && vlan >= 0 && ((words[VLANS + (vlan >>> 5)]! >>> (vlan & 31)) & 1) === 0)
      return false;
    if (words[Word.BY_ADDRESS] === 0) return true;
    const mode = words[Word.MODE]! | words[Word.INSTEAD]!;
    if ((mode & RxMode.PROMISC) !== 0) return true;
    if (isBroadcast(high, low)) return (mode & RxMode.NOBCAST) === 0;
    const group = isGroup(high);
    if ((mode & (group ? RxMode.NOMULTI : RxMode.NOUNI)) !== 0) return false;
    if ((mode & (group ? RxMode.ALLMULTI : RxMode.ALLUNI)) !== 0) return true;
    return (!group && high === words[Word.OWN_HIGH] && (low | 0) === words[Word.OWN_LOW]) || this.#has(high, low | 0);
  }

  /** Everything is let through, until the driver says otherwise. The card's own address stays. */
  reset(high: number, low: number): void {
    this.#words.fill(0);
    // Drivers that negotiate this say what else they want. VIRTIO 1.3, 5.1.6.5.1
    this.#words[Word.MODE] = RxMode.PROMISC;
    this.setOwn(high, low);
  }

  setOwn(high: number, low: number): void {
    this.#words[Word.OWN_HIGH] = high;
    this.#words[Word.OWN_LOW] = low;
  }

  setMode(bit: number, on: boolean): void {
    const mode = this.#words[Word.MODE]!;
    this.#words[Word.MODE] = on ? mode | bit : mode & ~bit;
    this.#words[Word.BY_ADDRESS] = 1;
  }

  /**
   * Replaces the table by addresses, as pairs of upper 16 and lower 32 bits. If they are more than fit, all addresses are taken, of
   * stations and of groups, until there is another table: the driver's modes stay what it has made them.
   */
  setTable(macs: readonly (readonly [number, number])[] | 'too many'): void {
    if (macs === 'too many' || macs.length > CONTROL_MACS_MAX) {
      this.#words[Word.INSTEAD] = RxMode.ALLUNI | RxMode.ALLMULTI;
      this.#words[Word.BY_ADDRESS] = 1;
      return;
    }
    const words = this.#words;
    // The other threads may see a mixture for a moment, as with a card whose registers are written one by one.
    words[Word.COUNT] = 0;
    macs.forEach(([high, low], i) => {
      words[Word.TABLE + 2 * i] = high;
      words[Word.TABLE + 2 * i + 1] = low;
    });
    words[Word.COUNT] = macs.length;
    words[Word.INSTEAD] = 0;
    words[Word.BY_ADDRESS] = 1;
  }

  setVlan(vlan: number, on: boolean): void {
    const word = VLANS + (vlan >>> 5);
    const bit = 1 << (vlan & 31);
    this.#words[word] = on ? this.#words[word]! | bit : this.#words[word]! & ~bit;
    this.#words[Word.BY_VLAN] = 1;
  }

  #has(high: number, low: number): boolean {
    const words = this.#words;
    const end = Word.TABLE + 2 * words[Word.COUNT]!;
    for (let at = Word.TABLE; at < end; at += 2) if (words[at + 1] === low && words[at] === high) return true;
    return false;
  }
}
