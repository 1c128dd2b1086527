/** Small rates have a decimal: one request in ten seconds is not none. */
function rateText(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** How a table shows counters: as they are, or how they grow each second. */
export class Counts {
  /** What stands behind the head of a column. */
  readonly per: '' | '/s';
  readonly #seconds: number | undefined;

  /** @param seconds - between two looks; undefined if there was but one */
  constructor(seconds: number | undefined) {
    this.per = seconds === undefined ? '' : '/s';
    this.#seconds = seconds;
  }

  number(now: number, before = 0): string {
    const grown = Math.max(0, now - before);
    return this.#seconds === undefined ? String(now) : rateText(grown / this.#seconds);
  }

  megabytes(now: number, before = 0): string {
    const grown = this.#seconds === undefined ? now : Math.max(0, now - before) / this.#seconds;
    return (grown / 1e6).toFixed(1);
  }
}
