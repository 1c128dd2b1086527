/**
 * Network cards move from sidecore to sidecore while their guests talk to each other: no frame is lost, comes twice, or overtakes
 * another from the same guest.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { NetDriver } from '../../src/guest/net-driver.js';
import { encode } from '../../src/vhost-user/codec.js';
import { KillableDaemon } from '../sidecore/killable-daemon.js';
import { BROADCAST, expectSame, makeFrame } from '../support/frames.js';
import { Random } from '../support/seed.js';
import { until } from '../vhost-user/raw-front-end.js';
import { NEEDS_TWO_CPUS, TWO_CPUS } from '../vhost-user/test-daemon.js';
import { introduce } from './guests.js';

const SEED = Number(process.env.SEED ?? 20_261_128);
const MOVES = Number(process.env.MOVES ?? 150);
const KILLS = Number(process.env.KILLS ?? 6);
const VMS = ['a', 'b', 'c', 'd'];
/** Frames under way from one guest to another, at most: what all send has room in a receiver's buffers. */
const WINDOW = 24;
const WORK_MS_MAX = 3;
const KILL_WITHIN_US = 1500;

/** Everybody sends numbered frames to everybody else, and to all at once, and knows what has to come. */
class Talk {
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

async function start(test: TestContext, mode: string) {
  const vms = Object.fromEntries(VMS.map((vm) => [vm, { nics: { n: {} } }]));
  const daemon = await KillableDaemon.start(test, { cores: TWO_CPUS, mode, balance: false, vms });
  const guests = await Promise.all(VMS.map((vm) => NetDriver.connect({ socket: daemon.socket(vm, 'n') })));
  test.after(() => guests.forEach((guest) => guest.close()));
  await introduce(guests);
  const random = new Random(SEED);
  const talk = new Talk(guests, random);
  /** Has one or two cards move, or try to, while everybody talks. Returns how many have. */
  const move = async () => {
    const labels = new Set([`${random.pick(VMS)}/n`, `${random.pick(VMS)}/n`]);
    const moved = daemon.move(...[...labels].map((label) => ({ label, to: random.below(2) })));
    talk.work(random.below(1000 * WORK_MS_MAX) / 1000);
    return (await moved).filter((done) => done).length;
  };
  const dropped = async () => {
    const { nics, cores } = await daemon.status();
    const cards = VMS.map((vm) => Object.entries(nics[vm]!.n!).filter(([key]) => key.startsWith('dropped_')));
    const crossings = cores.map(({ crossings_dropped, arrivals_dropped }) => [crossings_dropped, arrivals_dropped]);
    return { cards, crossings };
  };
  // Somebody may have said hello before another was there.
  const before = await dropped();
  const nothingDropped = async () => assert.deepEqual(await dropped(), before);
  return { daemon, guests, random, talk, move, nothingDropped };
}

describe('network cards that move between sidecores', { timeout: 240_000, skip: NEEDS_TWO_CPUS }, () => {
  for (const mode of ['sidecore', 'adaptive']) {
    it(`lose nothing, and keep the order: ${mode} (SEED=${SEED})`, async (test) => {
      const { talk, move, nothingDropped } = await start(test, mode);
      let moved = 0;
      for (let asked = 0; moved < MOVES && asked < 10 * MOVES; asked++) moved += await move();
      assert.ok(moved >= MOVES, `${moved} moves`);
      await talk.arrived();
      await nothingDropped();
      test.diagnostic(`${talk.received} frames, ${moved} moves`);
    });
  }

  it(`while front ends stop and start their rings (SEED=${SEED})`, async (test) => {
    const { guests, talk, move, random } = await start(test, 'adaptive');
    // A card whose ring is stopped loses what comes.
    talk.lossy = true;
    let moved = 0;
    for (let round = 0; round < MOVES; round++) {
      const { frontEnd, rx, tx } = random.pick(guests);
      const index = random.below(2);
      const { callFd } = index === 0 ? rx : tx;
      const touched = frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
      moved += await move();
      await touched;
      talk.forget();
    }
    assert.ok(moved > MOVES / 10, `${moved} moves`);
    for (const { frontEnd } of guests) await frontEnd.readConfig(0, 6);
    talk.work(50);
    talk.forget();
    talk.lossy = false;
    talk.work(50);
    await talk.arrived();
  });

  it(`and sidecores that die meanwhile (SEED=${SEED})`, async (test) => {
    const { daemon, guests, talk, move, random } = await start(test, 'sidecore');
    talk.lossy = true;
    for (let kill = 0; kill < KILLS; kill++) {
      const killed = daemon.kill(random.below(2), random.below(KILL_WITHIN_US));
      for (let i = 0; i < 4; i++) await move();
      await killed;
      talk.forget();
      for (const { frontEnd, rx, tx } of guests)
        for (const [index, { callFd }] of [rx, tx].entries())
          await frontEnd.send('SET_VRING_CALL', encode.vringFd({ index, noFd: false }), [callFd]);
    }
    await until(
      async () => (await daemon.status()).cores.reduce((sum, { deaths }) => sum + deaths, 0) === KILLS,
      'all are replaced',
    );
    let moved = 0;
    while (moved < 10) moved += await move();
    await until(() => {
      const before = talk.received;
      talk.work(5);
      talk.forget();
      return talk.received > before;
    }, 'the network goes on');
    await introduce(guests);
    talk.forget();
    talk.lossy = false;
    for (let i = 0; i < 10; i++) await move();
    await talk.arrived();
  });
});
