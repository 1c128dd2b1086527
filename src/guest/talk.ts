import { nowNs } from '../host/clock.js';
import type { LoadCompanion } from './load.js';
import { LoadCounters } from './load-counters.js';
import type { NetDriver } from './net-driver.js';

/** IEEE 802, Local Experimental Ethertype 1. */
const EXPERIMENTAL_TYPE = 0x88b5;
const HEADER_BYTES = 14;
/** A question without its answer after so long is lost, ns: longer than any time slice that others may have. */
const LOST_NS = 5e9;

/**
 * Two guests that talk through a switch: one asks, the other answers, one frame in flight, each with a number and bytes that
 * both check. A request of the counters is a question with its answer; a check is a frame.
 */
export class Talk implements LoadCompanion {
  readonly counters: LoadCounters;
  readonly callFds: readonly number[];
  readonly #asking: NetDriver;
  readonly #answering: NetDriver;
  readonly #question: Buffer;
  readonly #answer: Buffer;
  #number = 0;
  #askedAt = 0;

  constructor(asking: NetDriver, answering: NetDriver, byteLength: number, counters: ArrayBufferLike) {
    this.#asking = asking;
    this.#answering = answering;
    this.counters = new LoadCounters(counters);
    this.callFds = [asking.rx.callFd, answering.rx.callFd];
    this.#question = frame(answering.mac, asking.mac, byteLength);
    this.#answer = frame(asking.mac, answering.mac, byteLength);
  }

  clear(): void {
    this.counters.clear();
  }

  /** Passes on what has come. Returns how many frames that were. */
  turn(): number {
    let frames = 0;
    for (let heard = this.#answering.receive(); heard !== undefined; heard = this.#answering.receive()) {
      frames++;
      this.#check(heard, this.#question);
      this.#answer.writeUInt32LE(numberOf(heard), HEADER_BYTES);
      // One for which there is no buffer is lost, and whoever has asked counts it.
      this.#say(this.#answering, this.#answer);
    }
    for (let heard = this.#asking.receive(); heard !== undefined; heard = this.#asking.receive()) {
      frames++;
      this.#check(heard, this.#answer);
      // That of a question that was given up comes late.
      if (numberOf(heard) !== this.#number) continue;
      this.counters.latency.add(nowNs() - this.#askedAt);
      this.counters.countTurn(1, 0);
      this.#ask();
    }
    if (frames === 0 && nowNs() - this.#askedAt > LOST_NS) {
      if (this.#askedAt > 0) this.counters.countError();
      this.#ask();
    }
    return frames;
  }

  /** Asks to be called when something comes; true if it has come already. */
  requestCalls(): boolean {
    const one = this.#asking.rx.ring.requestCalls();
    return this.#answering.rx.ring.requestCalls() || one;
  }

  #ask(): void {
    this.#number = (this.#number + 1) >>> 0;
    this.#question.writeUInt32LE(this.#number, HEADER_BYTES);
    // One for which there is no buffer is asked again in the next turn.
    this.#askedAt = this.#say(this.#asking, this.#question) ? nowNs() : 0;
  }

  /** Holds a frame against one like it, whatever its number. */
  #check(heard: Buffer, like: Buffer): void {
    if (heard.length === like.length) like.writeUInt32LE(numberOf(heard), HEADER_BYTES);
    this.counters.countCheck(heard.equals(like));
  }

  /** Sends a frame; false if there is no buffer for it. */
  #say(driver: NetDriver, bytes: Buffer): boolean {
    const before = driver.tx.kicks;
    const sent = driver.send(bytes);
    driver.tx.publish();
    this.counters.countTurn(0, driver.tx.kicks - before);
    return sent;
  }
}

const numberOf = (bytes: Buffer): number => (bytes.length < HEADER_BYTES + 4 ? 0 : bytes.readUInt32LE(HEADER_BYTES));

function frame(to: Uint8Array, from: Uint8Array, byteLength: number): Buffer {
  const bytes = Buffer.alloc(byteLength);
  for (let i = HEADER_BYTES; i < byteLength; i++) bytes[i] = i * 7;
  bytes.set(to, 0);
  bytes.set(from, 6);
  bytes.writeUInt16BE(EXPERIMENTAL_TYPE, 12);
  return bytes;
}
