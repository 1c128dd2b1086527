import { bar } from '../../src/demo/numbers.js';

const BAR_WIDTH = 30;
/** Less is known of nothing. */
const SHARE_MIN = 0.02;

/** How far the evaluation is, on one line of a terminal; without one, a line for each thing that is measured. */
export class Progress {
  readonly #write: (text: string) => void;
  readonly #terminal: boolean;
  readonly #totalMs: number;
  readonly #nowMs: () => number;
  readonly #startMs: number;
  #doneMs = 0;
  #label = '';
  #shown = false;

  /** @param totalMs - what is planned, by the windows' own lengths; what it really takes is seen as it goes */
  constructor(
    totalMs: number,
    { write, terminal, nowMs }: { write: (text: string) => void; terminal: boolean; nowMs?: () => number },
  ) {
    this.#totalMs = totalMs;
    this.#write = write;
    this.#terminal = terminal;
    this.#nowMs = nowMs ?? (() => performance.now());
    this.#startMs = this.#nowMs();
  }

  /** Says what is measured now. */
  say(label: string): void {
    this.#label = label;
    if (this.#terminal) this.#draw();
    else this.#write(`${this.line()}\n`);
  }

  /** Some of what was planned is done. */
  did(ms: number): void {
    this.#doneMs += ms;
    if (this.#terminal) this.#draw();
  }

  /** A line that stays. */
  note(text: string): void {
    this.clear();
    this.#write(`${text}\n`);
  }

  line(): string {
    const share = Math.min(1, this.#doneMs / this.#totalMs);
    return `${bar(share, BAR_WIDTH)} ${String(Math.round(100 * share)).padStart(3)}% ${this.#left(share)}  ${this.#label}`;
  }

  /** Removes the bar. */
  clear(): void {
    if (this.#shown) this.#write('\r\x1b[K');
    this.#shown = false;
  }

  #left(share: number): string {
    if (share < SHARE_MIN) return '          ';
    const seconds = Math.round(((this.#nowMs() - this.#startMs) / 1000) * (1 / share - 1));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} left`.padEnd(10);
  }

  #draw(): void {
    this.#write(`\r${this.line().slice(0, 110)}\x1b[K`);
    this.#shown = true;
  }
}
