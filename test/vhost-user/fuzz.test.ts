/**
 * Thousands of messages that make no sense, from front ends that come and go in the middle of them. Whatever they say, the
 * daemon keeps nothing of theirs, its log stays short, and another guest of the same sidecore is served without a fault.
 *
 * SEED=… chooses other messages; BURSTS=… more of them.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SidecoreError } from '../../src/errors.js';
import { receiveWithFds, sendWithFds } from '../../src/host/unix-socket.js';
import { Random } from '../support/seed.js';
import { type RandomMessage, RandomMessages, randomBytes } from './random-messages.js';
import { HealthyGuest, TestDaemon } from './test-daemon.js';
import { FEATURES, LAYOUTS, TestGuest } from './test-guest.js';

const SEED = Number(process.env.SEED ?? 20_261_122);
const BURSTS = Number(process.env.BURSTS ?? 600);
const MESSAGES_MAX = 60;
/** How long a message may wait for room in the socket. */
const PATIENCE_MS = 20_000;
/** Kinds of faults, times disks: each is logged at most once in ten seconds. */
const LOG_LINES_MAX = 60;
const LOG_PAUSE_MS = 10_000;

describe(`a front end that sends anything at all (SEED=${SEED})`, { timeout: 300_000 }, () => {
  for (const mode of ['adaptive', 'sidecore'] as const) {
    it(`harms nobody but itself, mode ${mode}`, async (test) => {
      const served = await TestDaemon.start(
        test,
        {
          hostile: { disks: { a: { queues: 2 }, b: { queues: 1, read_only: true } } },
          trusted: { unsealed_memory: 'allow', disks: { a: { queues: 2 } } },
          other: { disks: { d: {} } },
        },
        mode,
      );
      const sockets = [served.socket('hostile', 'a'), served.socket('hostile', 'b'), served.socket('trusted', 'a')];
      const healthy = await HealthyGuest.start(test, served.socket('other'));
      healthy.run();
      const before = await served.heldAtRest();
      const start = Date.now();
      const random = new Random(SEED);
      let messages = 0;
      for (let burst = 0; burst < BURSTS / 2; burst++) {
        const said: string[] = [];
        try {
          messages += await sendBurst(random.pick(sockets), new Random(random.word()), said);
          healthy.run(2);
          assert.ok(served.daemon.running, 'the daemon runs');
          await served.expectHeld(before, 'nothing is left of the burst');
        } catch (error) {
          const story = said.slice(-10).join('\n');
          throw new Error(`SEED=${SEED}, burst ${burst}; last:\n${story}\n${served.daemon.log.slice(-2000)}`, {
            cause: error,
          });
        }
      }
      healthy.finish();
      test.diagnostic(`${messages} messages`);
      const lines = served.daemon.log.split('\n').length;
      const linesMax = LOG_LINES_MAX * (1 + (Date.now() - start) / LOG_PAUSE_MS);
      assert.ok(lines <= linesMax, `${lines} lines in the log, at most ${linesMax} were to be expected`);
      const { cores } = await served.status();
      assert.deepEqual(
        cores.map(({ deaths }) => deaths),
        [0],
        'no sidecore died',
      );
      assert.equal(await served.daemon.stop(), 0, served.daemon.log);
    });
  }
});

/** One connection's worth of nonsense; returns how many messages the back end listened to. */
async function sendBurst(socket: string, random: Random, said: string[]): Promise<number> {
  const layout = random.pick([LAYOUTS.split, LAYOUTS.packed]);
  const guest = new TestGuest({ queues: 2, features: FEATURES | layout });
  const messages = new RandomMessages(random, guest);
  try {
    await guest.connect(socket);
    await prepare(guest, random);
    const count = random.below(MESSAGES_MAX);
    for (let sent = 0; sent < count; sent++) {
      const message = messages.next();
      said.push(message.text);
      if (!(await send(guest.front.connection.fd, message, random))) return sent;
      if (random.chance(0.2)) stirRings(guest, random);
    }
    return count;
  } catch (error) {
    // Also the beginning of a sound front end is not sound for every disk: some have one queue only.
    if (error instanceof SidecoreError && error.code === 'PEER_CLOSED') return 0;
    throw error;
  } finally {
    messages.close();
    guest.close();
  }
}

/** Some front ends begin like a sound one: what comes then finds rings at work. */
async function prepare(guest: TestGuest, random: Random): Promise<void> {
  if (random.chance(0.2)) return;
  await guest.negotiate();
  if (random.chance(0.2)) return;
  await guest.shareMemory();
  if (random.chance(0.2)) return;
  for (const queue of guest.queues.slice(0, random.below(3))) {
    await guest.setUpQueue(queue);
    await guest.arm(queue);
    await guest.enable(queue);
  }
  stirRings(guest, random);
}

/** The guest works on its rings, soundly or not, whatever its front end is saying. */
function stirRings(guest: TestGuest, random: Random): void {
  const { ram, queues } = guest;
  const queue = random.pick(queues);
  if (random.chance(0.5)) {
    queue.submitWrites(1 + random.below(8));
    return;
  }
  const { ring } = queue.driver;
  const at = random.pick([ring.descriptors, ring.available, ring.used, 0]) + random.below(256);
  randomBytes(random, random.below(32)).copy(ram.bytes, at);
}

/** False when the back end has closed the connection. Answers are read and forgotten. */
async function send(fd: number, { bytes, fds }: RandomMessage, random: Random): Promise<boolean> {
  const piece = random.chance(0.9) ? bytes.length : 1 + random.below(bytes.length);
  const deadline = Date.now() + PATIENCE_MS;
  for (let sent = 0; sent < bytes.length; ) {
    const count = sendWithFds(fd, bytes.subarray(sent, Math.min(bytes.length, sent + piece)), sent === 0 ? fds : []);
    if (count < 0) return false;
    sent += count;
    if (count === 0) assert.ok(Date.now() < deadline, 'the back end reads on');
    if (count === 0 || sent < bytes.length) await turn();
  }
  if (random.chance(0.3)) await turn();
  const answer = receiveWithFds(fd, 4096);
  return answer.bytes === undefined || answer.bytes.length > 0;
}
