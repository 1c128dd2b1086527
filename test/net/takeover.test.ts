/**
 * Sidecores that die while network cards are served, and others that take their places: frames may be lost, and those that were
 * crossing may come twice, but none is wrong or astray, and no buffer is lost.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NetDriver } from '../../src/guest/net-driver.js';
import { encode } from '../../src/vhost-user/codec.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { expectSame, makeFrame } from '../support/frames.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { chainsOut, introduce, send } from './guests.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const KILLS = Number(process.env.KILLS ?? 6);
const VMS = ['a', 'b', 'c'];
/** A death comes within this time, in the middle of the guests' work. */
const KILL_WITHIN_US = 3000;
const WORK_MS = 10;

/** What guests say to each other, each frame told from the others by its number. */
class Talk {
  readonly #guests: readonly NetDriver[];
  readonly #random: Random;
  /** By sender, then receiver: frames sent, and the number of the last that was received. */
  readonly #sent: number[][];
  readonly #last: number[][];
  /** Frames that were received since this was set to zero, by sender and receiver. */
  #heard: number[][] = [];
  received = 0;
  repeated = 0;

  constructor(guests: readonly NetDriver[], random: Random) {
    this.#guests = guests;
    this.#random = random;
    this.#sent = guests.map(() => guests.map(() => 0));
    this.#last = guests.map(() => guests.map(() => -1));
  }

  /** Sends and receives for a while. */
  work(ms: number): void {
    for (const end = performance.now() + ms; performance.now() < end; ) {
      for (const [number, guest] of this.#guests.entries()) {
        for (let count = this.#random.below(8); count > 0; count--) {
          const to = (number + 1 + this.#random.below(this.#guests.length - 1)) % this.#guests.length;
          const serial = this.#sent[number]![to]!;
          if (guest.send(this.#frame(number, to, serial))) this.#sent[number]![to] = serial + 1;
        }
        guest.tx.publish();
      }
      this.collect();
    }
  }

  /** Works until every guest has heard of every other one. */
  async workUntilHeard(): Promise<void> {
    const { length } = this.#guests;
    this.#heard = this.#guests.map(() => this.#guests.map(() => 0));
    const all = () => this.#heard.every((row) => row.filter((count) => count > 0).length === length - 1);
    await until(() => {
      this.work(1);
      return all();
    }, 'everybody is heard by everybody');
  }

  /** Looks at all that has come. */
  collect(): void {
    for (const [to, guest] of this.#guests.entries()) {
      for (let frame = guest.receive(); frame !== undefined; frame = guest.receive()) this.#check(to, frame);
    }
  }

  #check(to: number, frame: Buffer): void {
    const station = (at: number) => this.#guests.findIndex(({ mac }) => mac.equals(frame.subarray(at, at + 6)));
    const [meantFor, from] = [station(0), station(6)];
    const serial = frame.readUInt32BE(14);
    assert.ok(from >= 0 && meantFor >= 0 && serial < this.#sent[from]![meantFor]!, 'what arrives was sent');
    expectSame([frame], [this.#frame(from, meantFor, serial)]);
    // A new thread does not know yet who is where, and sends to all.
    if (meantFor !== to) return;
    this.received++;
    // One who is heard of again says so with the same frame.
    if (serial <= this.#last[from]![to]!) this.repeated++;
    this.#last[from]![to] = Math.max(serial, this.#last[from]![to]!);
    if (this.#heard.length > 0) this.#heard[from]![to]!++;
  }

  #frame(from: number, to: number, serial: number): Buffer {
    return makeFrame(this.#guests[to]!.mac, this.#guests[from]!.mac, 60 + ((serial * 41) % 1400), serial);
  }
}

/** Has a guest's queues served anew: the deaths that they saw are forgotten then. */
async function forgive({ frontEnd, rx, tx }: NetDriver): Promise<void> {
  for (const [index, { callFd }] of [rx, tx].entries())
    await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
}

describe('sidecores that die while they serve network cards', { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
  for (const mode of ['sidecore', 'adaptive', 'baseline'] as const) {
    it(`${KILLS} times are replaced, and the network goes on: ${mode} (SEED=${SEED})`, async (test) => {
      const vms = Object.fromEntries(VMS.map((vm) => [vm, { nics: { d: {} } }]));
      const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode, vms });
      const guests = await Promise.all(VMS.map((vm) => NetDriver.connect({ socket: daemon.socket(vm) })));
      test.after(() => guests.forEach((guest) => guest.close()));
      await introduce(guests);
      const random = new Random(SEED);
      const talk = new Talk(guests, random);
      const { length: cores } = (await daemon.status()).cores;
      for (let kill = 0; kill < KILLS; kill++) {
        await talk.workUntilHeard();
        const killed = daemon.kill(kill % cores, random.below(KILL_WITHIN_US));
        talk.work(WORK_MS);
        await killed;
        await talk.workUntilHeard();
        for (const guest of guests) await forgive(guest);
      }
      await talk.workUntilHeard();
      // All that is under way arrives, and all that was sent is given back.
      for (const guest of guests) {
        await until(() => {
          talk.collect();
          return chainsOut(guest, guest.tx) === 0;
        }, 'all that was sent is given back');
      }
      await sleep(50);
      talk.collect();
      assert.ok(talk.repeated <= 32 * KILLS, `${talk.repeated} frames came twice`);
      test.diagnostic(`${talk.received} frames were received, ${talk.repeated} of them came twice`);
      // Every receive buffer is there.
      const before = (await daemon.status()).nics;
      for (const [number, guest] of guests.entries()) {
        const from = guests[(number + 1) % guests.length]!;
        const frames = Array.from({ length: guest.rx.ring.size }, (_, i) => makeFrame(guest.mac, from.mac, 60, i));
        for (const frame of frames) await send(from, frame);
        const received: Buffer[] = [];
        await until(() => chainsOut(guest, guest.rx) === 0, 'all buffers are used');
        for (let frame = guest.receive(); frame !== undefined; frame = guest.receive()) received.push(frame);
        expectSame(received, frames);
      }
      const after = await daemon.status();
      assert.equal(
        after.cores.reduce((sum, { deaths }) => sum + deaths, 0),
        KILLS,
      );
      for (const vm of VMS) {
        const { queues, faults, dropped_no_buffer } = after.nics[vm]!.d!;
        assert.deepEqual([queues.filter(({ fault }) => fault !== null), faults], [[], {}]);
        assert.equal(dropped_no_buffer, before[vm]!.d!.dropped_no_buffer);
      }
    });
  }
});
