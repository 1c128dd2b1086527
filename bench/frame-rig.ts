import { NicFilters } from '../src/daemon/nic-filters.js';
import { FilterGroups } from '../src/filter/filter-groups.js';
import { FrameChain } from '../src/filter/frame-chain.js';
import { CardRule } from '../src/filter/frame-chain-filter.js';
import type { FrameFilter } from '../src/filter/frame-contract.js';
import { createFrameChain, createFrameHost } from '../src/filter/frame-create.js';
import { ChainControl } from '../src/filter/memory.js';
import { threadCpuNs } from '../src/host/clock.js';
import { macHigh, macLow } from '../src/net/ethernet.js';
import { NET_HEADER_BYTES } from '../src/net/features.js';
import { BURST_FRAMES, FrameBurst } from '../src/net/frame-burst.js';
import { type Port, PortCounter } from '../src/net/port.js';
import { StagingMemory } from '../src/net/staging-memory.js';
import type { Switch } from '../src/net/switch.js';
import { readyFilter } from './filter-host.js';

const STRIDE = 2048;
/** Of the card whose filters are measured. */
const CARD = Buffer.from('525400000001', 'hex');

/** A port that does nothing. */
export const nobody = {
  number: 0,
  counters: new Float64Array(Object.keys(PortCounter).length),
} as unknown as Port;

/** A switch that only counts. */
export const nowhere = {
  frozen: false,
  passed: 0,
  sendBurstOn(_burst: FrameBurst, from: number, to: number) {
    nowhere.passed += to - from;
  },
  deliverBurstOn(_burst: FrameBurst, from: number, to: number) {
    nowhere.passed += to - from;
  },
  sendOn() {
    nowhere.passed++;
  },
  deliverOn() {
    nowhere.passed++;
  },
} as unknown as Switch & { passed: number };

/** UDP over IPv4, to port 9, sent by the card. */
function udp(byteLength: number): Buffer {
  const frame = Buffer.alloc(byteLength, 0x55);
  Buffer.from('525400000002525400000001080045000000000000004011000a0a0000010a000002', 'hex').copy(frame);
  frame.writeUInt16BE(byteLength - 14, 16);
  frame.writeUInt16BE(1000, 34);
  frame.writeUInt16BE(9, 36);
  frame.writeUInt16BE(byteLength - 34, 38);
  return frame;
}

/** A full burst. @param isPrivate - its memory is ours, and not a guest's */
export function burstOf(byteLength: number, isPrivate: boolean): FrameBurst {
  const memory = new StagingMemory(STRIDE * BURST_FRAMES);
  const burst = new FrameBurst(memory, 0, undefined, isPrivate);
  for (let i = 0; i < BURST_FRAMES; i++) {
    const at = i * STRIDE;
    udp(byteLength).copy(memory.buffer, at + NET_HEADER_BYTES);
    burst.chains.offset[i] = at;
    burst.chains.length[i] = NET_HEADER_BYTES + byteLength;
  }
  burst.read(BURST_FRAMES);
  return burst;
}

/** A card with one filter or none, between a guest's bursts and a switch that only counts. */
export class FrameRig {
  readonly #chain: FrameChain;
  readonly #filters: NicFilters | undefined;

  /** @param base - folder from which paths in options start */
  constructor(definition: FrameFilter | undefined, options: Readonly<Record<string, unknown>>, base: string) {
    const host = createFrameHost();
    if (definition === undefined) {
      const rule = new CardRule(nowhere);
      this.#chain = new FrameChain([], { control: new ChainControl(), port: nobody, network: nowhere, host, rule });
      return;
    }
    const place = {
      vm: 'bench',
      device: 'card',
      mac: { high: macHigh(CARD, 0), low: macLow(CARD, 0) },
      groups: new FilterGroups(),
      ports: { find: () => undefined, copiesOf: () => [] },
      // What goes wrong is thrown.
      log() {},
    };
    this.#filters = new NicFilters(place, [readyFilter(definition, options, { base })]);
    const builtIns = { [definition.name]: definition };
    this.#chain = createFrameChain(this.#filters.spec!, {
      port: nobody,
      network: nowhere,
      networks: { copy: () => false },
      host,
      builtIns,
    });
  }

  /** Takes bursts of so many frames in all, as a guest's card sends them or gets them. Returns the CPU time of each frame, ns. */
  measure(burst: FrameBurst, way: 'outbound' | 'inbound', frames: number): number {
    const chain = this.#chain;
    nowhere.passed = 0;
    const before = threadCpuNs();
    for (let i = 0; i < frames; i += BURST_FRAMES) {
      if (way === 'outbound') chain.outboundBurst(burst, 0, BURST_FRAMES, 0);
      else chain.inboundBurst(burst, 0, BURST_FRAMES);
    }
    const ns = threadCpuNs() - before;
    // A filter may lose some, as a bad line does.
    if (nowhere.passed < frames / 2) throw new Error(`${nowhere.passed} of ${frames} frames have passed`);
    return ns / frames;
  }

  /** Has the filter's side on the main thread write what it has. */
  async flush(): Promise<void> {
    await this.#filters?.opened[0]?.commands['flush']?.({});
  }

  async close(): Promise<void> {
    this.#chain.close();
    await this.#filters?.close();
  }
}
