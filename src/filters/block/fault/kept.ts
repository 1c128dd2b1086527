import type { BlockFilterContext } from '../../../filter/contract.js';
import { Status } from '../../../filter/index.js';

/** Requests that are late, or do not go on at all: in no order. */
export class KeptRequests {
  readonly #context: BlockFilterContext;
  readonly #tokens: Float64Array;
  /** When each goes on, ns; infinite if it hangs. */
  readonly #due: Float64Array;
  #count = 0;
  readonly #now = new Float64Array(1);

  constructor(context: BlockFilterContext) {
    this.#context = context;
    this.#tokens = new Float64Array(context.slots);
    this.#due = new Float64Array(context.slots);
  }

  delay(token: number, ns: number): void {
    this.#context.readNowNs(this.#now, 0);
    this.#push(token, this.#now[0]! + ns);
  }

  hang(token: number): void {
    this.#push(token, Number.POSITIVE_INFINITY);
  }

  #push(token: number, due: number): void {
    this.#tokens[this.#count] = token;
    this.#due[this.#count++] = due;
    this.#context.wakeAt(due);
  }

  /** Those whose time has come go on. */
  tick(): void {
    const [now] = this.#context.now as unknown as [number];
    let next = Number.POSITIVE_INFINITY;
    for (let i = this.#count - 1; i >= 0; i--) {
      if (this.#due[i]! <= now) this.#context.goOn(this.#take(i));
    }
    for (let i = 0; i < this.#count; i++) next = Math.min(next, this.#due[i]!);
    if (next < Number.POSITIVE_INFINITY) this.#context.wakeAt(next);
  }

  /** All go on. */
  release(): void {
    while (this.#count > 0) this.#context.goOn(this.#take(this.#count - 1));
  }

  /** Nobody waits for them: those that are late go on, those that hang end with an error. */
  hurry(): void {
    while (this.#count > 0) {
      const hangs = this.#due[this.#count - 1] === Number.POSITIVE_INFINITY;
      const token = this.#take(this.#count - 1);
      if (hangs) this.#context.finish(token, Status.IOERR);
      else this.#context.goOn(token);
    }
  }

  #take(at: number): number {
    const token = this.#tokens[at]!;
    this.#count--;
    this.#tokens[at] = this.#tokens[this.#count]!;
    this.#due[at] = this.#due[this.#count]!;
    return token;
  }
}
