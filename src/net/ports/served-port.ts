import type { Port } from '../port.js';

/** A port that is no guest's card, on the sidecore that serves it. */
export interface ServedPort extends Port {
  /** It has to be asked in every turn: the sidecore must not sleep. */
  readonly active: boolean;
  /** Nothing more is taken from it. */
  closed: boolean;
  /** Operations that the kernel has not completed. */
  readonly inFlight: number;
  /** Called in every turn: passes on what has come. Returns how many frames. */
  turn(): number;
  /** Lets go of all that it holds; nothing is in flight. */
  close(): void;
}
