/** Requests that wait in the order in which they came: a ring that is never full. */
export class Line {
  readonly tokens: Float64Array;
  /** When each came, ns. */
  readonly since: Float64Array;
  head = 0;
  count = 0;

  /** @param slots - requests that there can be */
  constructor(slots: number) {
    this.tokens = new Float64Array(slots);
    this.since = new Float64Array(slots);
  }

  /** @param now - in its slot zero, ns */
  push(token: number, now: Float64Array): void {
    const at = (this.head + this.count) % this.tokens.length;
    this.tokens[at] = token;
    this.since[at] = now[0]!;
    this.count++;
  }

  shift(): void {
    this.head = (this.head + 1) % this.tokens.length;
    this.count--;
  }
}
