import { OnExit } from './interruption.js';

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const ERASE_LINE_END = '\x1b[K';
const ERASE_BELOW = '\x1b[J';

/** Lines at the bottom of a terminal that are drawn again in place. */
export class LiveLines {
  readonly #write: (text: string) => void;
  readonly #restore: OnExit;
  #drawn = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
    this.#restore = new OnExit(() => write(SHOW_CURSOR));
    write(HIDE_CURSOR);
  }

  /** Replaces what was drawn before. Lines must fit the terminal's width. */
  draw(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : '';
    this.#write(`${up}${lines.map((line) => `${line}${ERASE_LINE_END}\n`).join('')}${ERASE_BELOW}`);
    this.#drawn = lines.length;
  }

  /** Leaves the lines as they are; the next are drawn below them. */
  leave(): void {
    this.#drawn = 0;
  }

  /** Restores the terminal. */
  end(): void {
    this.#restore.now();
  }
}
