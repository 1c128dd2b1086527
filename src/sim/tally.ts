/** What one guest has had. */
export class Tally {
  requests = 0;
  bytes = 0;
  kicks = 0;
  calls = 0;
  /** Requests ever submitted and completed, counted or not. */
  submitted = 0;
  completed = 0;
  /** Latencies, ns. */
  readonly latencies: number[] = [];
  readonly #from: number;

  /** @param from - time from which on it counts, ns */
  constructor(from: number) {
    this.#from = from;
  }

  /** A request ended. */
  count(now: number, latencyNs: number, bytes: number): void {
    this.completed++;
    if (now < this.#from) return;
    this.requests++;
    this.bytes += bytes;
    this.latencies.push(latencyNs);
  }

  countKick(now: number): void {
    if (now >= this.#from) this.kicks++;
  }

  countCall(now: number): void {
    if (now >= this.#from) this.calls++;
  }
}
