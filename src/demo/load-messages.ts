import type { SidecoreError } from '../errors.js';
import type { LoadPattern } from '../guest/load.js';

/** What the thread of the guests is told. */
export interface LoadSetup {
  readonly cpu: number;
  /** One for each guest. */
  readonly sockets: readonly string[];
  readonly pattern: LoadPattern;
  readonly sleeping: boolean;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** One for each guest: its counters, which others read while the load runs. */
  readonly counters: readonly SharedArrayBuffer[];
  /** Of the two guests that talk through the switch, and their counters. */
  readonly talkers: readonly [string, string];
  readonly talkCounters: SharedArrayBuffer;
  /** One 32-bit word, a `Step`: what may be done next. */
  readonly step: SharedArrayBuffer;
}

/** The thread goes on to these when it is told. */
export const Step = { WARM_UP: 0, MEASURE: 1, LEAVE: 2 } as const;

/** What it tells. */
export type LoadMessage =
  | { readonly event: 'warm'; readonly errors: number; readonly mismatches: number }
  | { readonly event: 'measured'; readonly seconds: number }
  | { readonly event: 'finished'; readonly complete: boolean }
  | {
      readonly event: 'failed';
      readonly code: SidecoreError['code'];
      readonly message: string;
      readonly remedy: string;
    };
