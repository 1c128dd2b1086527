import { CONFIG_SPACE_BYTES_MAX } from '../limits.js';
import { writeMac } from './ethernet.js';
import { LinkStatus } from './features.js';
import { NetConfigOffset } from './net-config.js';
import { PORT_COUNTER_BYTES } from './port.js';
import { RxFilter } from './rx-filter.js';

/** Words behind the configuration space. */
const Word = {
  /** Negotiated features in two halves. */
  FEATURES_LOW: 0,
  FEATURES_HIGH: 1,
  LINK_DOWN: 2,
  /** Queue pairs that the driver uses, as it says by the control queue; zero if it has none of ours. */
  PAIRS: 3,
} as const;
const WORD_BYTES = 16;

/** What the sidecores read of a network card, and write of it: a few words of shared memory behind its configuration space. */
export class NetDeviceState {
  static readonly BYTES = WORD_BYTES + PORT_COUNTER_BYTES + RxFilter.BYTES;
  /** By `PortCounter`. */
  readonly counters: Float64Array;
  readonly filter: RxFilter;
  readonly #words: Int32Array;
  /** The configuration space, and its status field: the main thread and a sidecore write that. */
  readonly #config: Buffer;
  readonly #status: Uint16Array;

  constructor(shared: SharedArrayBuffer) {
    this.#config = Buffer.from(shared, 0, CONFIG_SPACE_BYTES_MAX);
    this.#status = new Uint16Array(shared, NetConfigOffset.STATUS, 1);
    this.#words = new Int32Array(shared, CONFIG_SPACE_BYTES_MAX, WORD_BYTES / 4);
    this.counters = new Float64Array(shared, CONFIG_SPACE_BYTES_MAX + WORD_BYTES, PORT_COUNTER_BYTES / 8);
    this.filter = new RxFilter(shared, CONFIG_SPACE_BYTES_MAX + WORD_BYTES + PORT_COUNTER_BYTES);
  }

  /** As it was before any driver. The link stays as it is. */
  reset(high: number, low: number): void {
    this.features = 0n;
    this.#words[Word.PAIRS] = 0;
    this.filter.reset(high, low);
    this.acknowledgeAnnouncement();
  }

  /** Negotiated. */
  get features(): bigint {
    const [low, high] = [this.#words[Word.FEATURES_LOW]!, this.#words[Word.FEATURES_HIGH]!];
    return BigInt.asUintN(32, BigInt(low)) | (BigInt.asUintN(32, BigInt(high)) << 32n);
  }

  set features(features: bigint) {
    this.#words[Word.FEATURES_LOW] = Number(BigInt.asIntN(32, features));
    this.#words[Word.FEATURES_HIGH] = Number(BigInt.asIntN(32, features >> 32n));
  }

  get linkUp(): boolean {
    return this.#words[Word.LINK_DOWN] === 0;
  }

  set linkUp(up: boolean) {
    this.#words[Word.LINK_DOWN] = up ? 0 : 1;
  }

  /** Queue pairs that the driver uses, or zero: all that its front end has set up. */
  get pairs(): number {
    return this.#words[Word.PAIRS]!;
  }

  setPairs(pairs: number): void {
    this.#words[Word.PAIRS] = pairs;
  }

  /** The driver has a control queue of ours: until it says otherwise, it uses one pair. VIRTIO 1.3, 5.1.6.5.5 */
  beginControl(): void {
    if (this.pairs === 0) this.setPairs(1);
  }

  /** Takes over the address that the driver gives its card. */
  setMac(high: number, low: number): void {
    writeMac(this.#config, NetConfigOffset.MAC, high, low);
    this.filter.setOwn(high, low);
  }

  /** Bits of `LinkStatus`, as the driver reads them. */
  set status(status: number) {
    Atomics.store(this.#status, 0, status);
  }

  /** The guest has announced itself. Whatever else its status says, perhaps since a moment ago, stays. VIRTIO 1.3, 5.1.6.5.4 */
  acknowledgeAnnouncement(): void {
    Atomics.and(this.#status, 0, ~LinkStatus.ANNOUNCE);
  }
}
