/** Guests that say numbered things to each other, so that whoever hears them knows what is missing, or out of order. */
import assert from 'node:assert/strict';
import type { NetDriver } from '../../src/guest/net-driver.js';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import type { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';

/** Frames under way from one guest to another, at most: what all send has room in a receiver's buffers. */
const WINDOW = 24;

/** Everybody sends numbered frames to everybody else, and to all at once, and knows what has to come. */
export class Talk {
  /** Frames that came. */
  received = 0;
  /** Frames may get lost: a sidecore has died. */
  lossy = false;
  readonly #guests: readonly NetDriver[];
  readonly #random: Random;
  /** By sender, then receiver: numbers of the next frame to send, and to come. The last row of columns is what goes to all. */
  readonly #sent: number[][];
  readonly #due: number[][][];

  constructor(guests: readonly NetDriver[], random: Random) {
    this.#guests = guests;
    this.#random = random;
    this.#sent = guests.map(() => [...guests, undefined].map(() => 0));
    this.#due = guests.map(() => guests.map(() => [0, 0]));
  }

  /** Sends and receives for a while. */
  work(ms: number): void {
    for (const end = performance.now() + ms; performance.now() < end; ) {
      for (const from of this.#guests.keys()) {
        for (const to of [...this.#guests.keys(), this.#guests.length]) if (to !== from) this.#send(from, to);
        this.#guests[from]!.tx.publish();
      }
      this.collect();
    }
  }

  #send(from: number, to: number): void {
    const guest = this.#guests[from]!;
    for (let count = this.#random.below(6); count > 0 && this.#underWay(from, to) < WINDOW; count--)
      if (guest.send(this.#frame(from, to, this.#sent[from]![to]!))) this.#sent[from]![to]!++;
  }

  #underWay(from: number, to: number): number {
    const all = to === this.#guests.length;
    const receivers = all ? [...this.#guests.keys()].filter((guest) => guest !== from) : [to];
    const due = Math.min(...receivers.map((receiver) => this.#due[from]![receiver]![all ? 1 : 0]!));
    return this.#sent[from]![to]! - due;
  }

  /** Looks at all that has come. */
  collect(): void {
    for (const [to, guest] of this.#guests.entries())
      for (let frame = guest.receive(); frame !== undefined; frame = guest.receive()) this.#check(to, frame);
  }

  #check(to: number, frame: Buffer): void {
    const from = this.#guests.findIndex(({ mac }) => mac.equals(frame.subarray(6, 12)));
    const all = frame.subarray(0, 6).equals(BROADCAST);
    if (!all && !this.#guests[to]!.mac.equals(frame.subarray(0, 6))) {
      assert.ok(this.lossy, 'a frame goes to whom it is for');
      return;
    }
    const due = this.#due[from]![to]!;
    const serial = frame.readUInt32BE(14);
    const kind = all ? 1 : 0;
    if (!this.lossy) assert.equal(serial, due[kind], `from ${from} to ${to}${all ? ' and all' : ''}`);
    due[kind] = Math.max(due[kind]!, serial + 1);
    expectSame([frame], [this.#frame(from, all ? this.#guests.length : to, serial)]);
    this.received++;
  }

  #frame(from: number, to: number, serial: number): Buffer {
    const destination = this.#guests[to]?.mac ?? BROADCAST;
    return makeFrame(destination, this.#guests[from]!.mac, 60 + ((serial * 41) % 900), serial);
  }

  /** All that was sent arrives. */
  async arrived(): Promise<void> {
    const receivers = [...this.#guests.keys(), this.#guests.length];
    await until(() => {
      this.collect();
      return this.#guests.every((_, from) => receivers.every((to) => to === from || this.#underWay(from, to) === 0));
    }, 'all that was sent arrives');
  }

  /** What is under way is forgotten. */
  forget(): void {
    for (const [from, row] of this.#due.entries())
      for (const [to, due] of row.entries()) {
        due[0] = this.#sent[from]![to]!;
        due[1] = this.#sent[from]![this.#guests.length]!;
      }
  }
}
