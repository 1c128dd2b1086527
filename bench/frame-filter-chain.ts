/**
 * What a pass-through filter costs each frame: chains of several lengths before a switch that does nothing, in turn, in one thread that
 * does nothing else. Each filter is a copy of its own of a module's text, as the loader makes it. Frames come in bursts, in memory of ours
 * or of a guest's, where what is looked at is copied first; or one by one. Prints a table, or JSON with --json.
 */
import { evaluate } from '../src/filter/evaluate.js';
import { FrameChain } from '../src/filter/frame-chain.js';
import { CardRule } from '../src/filter/frame-chain-filter.js';
import type { FrameFilter, FrameFilterContext } from '../src/filter/frame-contract.js';
import { createFrameHost } from '../src/filter/frame-create.js';
import { ChainControl } from '../src/filter/memory.js';
import { NET_HEADER_BYTES } from '../src/net/features.js';
import { Frame } from '../src/net/frame.js';
import { BURST_FRAMES, FrameBurst } from '../src/net/frame-burst.js';
import { type Port, PortCounter } from '../src/net/port.js';
import { StagingMemory } from '../src/net/staging-memory.js';
import type { Switch } from '../src/net/switch.js';

const LENGTHS = [0, 1, 2, 4, 8];
const ROUNDS = 15;
const FRAMES = 500_000;
const STRIDE = 2048;

const MODULES = {
  'pass on': `module.exports.default = { kind: 'frame', name: 'pass', create: () => ({
    outbound(frame, next) { next(frame); },
    inbound(frame, next) { next(frame); },
  }) };`,
  'look at ports': `module.exports.default = { kind: 'frame', name: 'pass', create: () => ({
    outbound(frame, next) { if (frame.protocol !== 17 || frame.destinationPort !== 7) next(frame); },
    inbound(frame, next) { if (frame.protocol !== 17 || frame.destinationPort !== 7) next(frame); },
  }) };`,
};

const service = {
  out: false,
  noteTime: () => false,
  condemn(text: string): void {
    throw new Error(text);
  },
};
const counters = new Float64Array(Object.keys(PortCounter).length);
const port = { number: 0, counters } as unknown as Port;
let sent = 0;
const network = {
  frozen: false,
  sendBurstOn(_burst: FrameBurst, count: number) {
    sent += count;
  },
  sendOn() {
    sent++;
  },
} as unknown as Switch;

let lastId = 0;

function chainOf(text: string, length: number): FrameChain {
  const rule = new CardRule(network);
  const filters = Array.from({ length }, () => {
    const hooks = (evaluate(text, 'pass.js') as FrameFilter).create({} as FrameFilterContext);
    return { id: ++lastId, hooks, kept: undefined, onFault: 'closed', memory: service, file: 'pass.js' } as const;
  });
  return new FrameChain(filters, { control: new ChainControl(), port, network, host: createFrameHost(), rule });
}

/** UDP over IPv4, to port 9. */
function udp(byteLength: number): Buffer {
  const frame = Buffer.alloc(byteLength, 0x55);
  Buffer.from('525400000002525400000001080045000000000000004011000a0a0000010a000002', 'hex').copy(frame);
  frame.writeUInt16BE(byteLength - 14, 16);
  frame.writeUInt16BE(1000, 34);
  frame.writeUInt16BE(9, 36);
  return frame;
}

function burstOf(byteLength: number, isPrivate: boolean): FrameBurst {
  const memory = new StagingMemory(STRIDE * BURST_FRAMES);
  const source = { ...memory, isPrivate };
  const burst = new FrameBurst(source, 0);
  for (let i = 0; i < BURST_FRAMES; i++) {
    const at = i * STRIDE;
    udp(byteLength).copy(memory.buffer, at + NET_HEADER_BYTES);
    burst.chains.offset[i] = at;
    burst.chains.length[i] = NET_HEADER_BYTES + byteLength;
  }
  burst.read(BURST_FRAMES);
  return burst;
}

/** Each sends so many frames. */
type Run = (chain: FrameChain, frames: number) => void;

const inBursts =
  (burst: FrameBurst): Run =>
  (chain, frames) => {
    for (let i = 0; i < frames; i += BURST_FRAMES) chain.outboundBurst(burst, 0, BURST_FRAMES, 0);
  };

const oneByOne: Run = (chain, frames) => {
  const burst = burstOf(64, false);
  const frame = new Frame();
  for (let i = 0; i < frames; i++) {
    burst.frame(i % BURST_FRAMES, frame);
    if (chain.outbound(frame, 0)) sent++;
  }
};

const RUNS: Record<string, Run> = {
  'bursts of 64 B, memory of ours': inBursts(burstOf(64, true)),
  'bursts of 64 B, a guest’s memory': inBursts(burstOf(64, false)),
  'bursts of 1514 B, a guest’s memory': inBursts(burstOf(1514, false)),
  'one by one, 64 B': oneByOne,
};

/** ns a frame. */
function measure(run: Run, chain: FrameChain): number {
  sent = 0;
  const start = process.hrtime.bigint();
  run(chain, FRAMES);
  const ns = Number(process.hrtime.bigint() - start);
  if (sent < FRAMES) throw new Error(`${sent} of ${FRAMES} frames have passed`);
  return ns / FRAMES;
}

const sorted = (values: readonly number[]) => [...values].sort((one, other) => one - other);
const median = (values: readonly number[]) => sorted(values)[values.length >> 1]!;

const rows = Object.entries(MODULES).flatMap(([filter, text]) =>
  Object.entries(RUNS).flatMap(([frames, run]) => {
    const chains = LENGTHS.map((length) => ({ length, chain: chainOf(text, length), ns: [] as number[] }));
    // In turn, and the first rounds do not count: they have the code compiled.
    for (let round = -3; round < ROUNDS; round++) {
      for (const { chain, ns } of chains) {
        const took = measure(run, chain);
        if (round >= 0) ns.push(took);
      }
    }
    const base = median(chains[0]!.ns);
    return chains.map(({ length, ns }) => ({
      filter,
      frames,
      length,
      ns: median(ns),
      least: sorted(ns)[0]!,
      most: sorted(ns).at(-1)!,
      ns_per_filter: length === 0 ? 0 : (median(ns) - base) / length,
    }));
  }),
);

if (process.argv.includes('--json')) console.log(JSON.stringify({ node: process.version, rows }));
else {
  console.log(`Node ${process.version}`);
  for (const { filter, frames, length, ns, least, most, ns_per_filter } of rows)
    console.log(
      `${filter}, ${frames}, ${length} filters: ${ns.toFixed(2)} ns (${least.toFixed(2)} to ${most.toFixed(2)}), ${ns_per_filter.toFixed(2)} ns each`,
    );
}
