/**
 * What a pass-through filter costs each frame: chains of several lengths before a switch that does nothing, in turn, in one thread that
 * does nothing else. Each filter is a copy of its own of a module's text, as the loader makes it. Frames come in bursts, in memory of ours
 * or of a guest's, where what is looked at is copied first; or one by one. By itself it prints a table, or JSON with --json.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { evaluate } from '../src/filter/evaluate.js';
import { FrameChain } from '../src/filter/frame-chain.js';
import { CardRule } from '../src/filter/frame-chain-filter.js';
import type { FrameFilter, FrameFilterContext } from '../src/filter/frame-contract.js';
import { createFrameHost } from '../src/filter/frame-create.js';
import { ChainControl } from '../src/filter/memory.js';
import { Frame } from '../src/net/frame.js';
import { BURST_FRAMES, type FrameBurst } from '../src/net/frame-burst.js';
import { CHAIN_LENGTHS, CHAIN_WARM_UP, type ChainRow, printChains } from './filter-chain.js';
import { burstOf, nobody, nowhere } from './frame-rig.js';

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
  noteFault(text: string): void {
    throw new Error(text);
  },
  noteTime: () => false,
  condemn(text: string): void {
    throw new Error(text);
  },
};
let lastId = 0;

function chainOf(text: string, length: number): FrameChain {
  const rule = new CardRule(nowhere);
  const filters = Array.from({ length }, () => {
    const hooks = (evaluate(text, 'pass.js') as FrameFilter).create({} as FrameFilterContext);
    return { id: ++lastId, hooks, kept: undefined, onFault: 'closed', memory: service, file: 'pass.js' } as const;
  });
  return new FrameChain(filters, {
    control: new ChainControl(),
    port: nobody,
    network: nowhere,
    host: createFrameHost(),
    rule,
  });
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
    if (chain.outbound(frame, 0)) nowhere.passed++;
  }
};

const RUNS: Record<string, Run> = {
  'bursts of 64 B, memory of ours': inBursts(burstOf(64, true)),
  'bursts of 64 B, a guest’s memory': inBursts(burstOf(64, false)),
  'bursts of 1514 B, a guest’s memory': inBursts(burstOf(1514, false)),
  'one by one, 64 B': oneByOne,
};

/** ns a frame. */
function measure(run: Run, chain: FrameChain, frames: number): number {
  nowhere.passed = 0;
  const start = process.hrtime.bigint();
  run(chain, frames);
  const ns = Number(process.hrtime.bigint() - start);
  if (nowhere.passed < frames) throw new Error(`${nowhere.passed} of ${frames} frames have passed`);
  return ns / frames;
}

/** Measures all chains of a kind in turn, a number of rounds. */
export function measureFrameChains({ rounds = 15, frames = 500_000 } = {}): ChainRow[] {
  return Object.entries(MODULES).flatMap(([filter, text]) =>
    Object.entries(RUNS).flatMap(([through, run]) => {
      const chains = CHAIN_LENGTHS.map((length) => ({ length, chain: chainOf(text, length), taken: [] as number[] }));
      for (let round = -CHAIN_WARM_UP; round < rounds; round++) {
        for (const { chain, taken } of chains) {
          const ns = measure(run, chain, frames);
          if (round >= 0) taken.push(ns);
        }
      }
      return chains.map(({ length, taken }) => ({ filter, through, length, rounds: taken }));
    }),
  );
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  printChains(measureFrameChains(), process.argv.includes('--json'));
