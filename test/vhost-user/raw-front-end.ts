/** A front end that says exactly what it is told to, and holds every answer against the standard. For the tests here. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectUnix } from '../../src/host/unix-socket.js';
import { encode, type RegionMessage } from '../../src/vhost-user/codec.js';
import { Connection, type Message } from '../../src/vhost-user/connection.js';
import { Flag, MESSAGES, type MessageName, offeredProtocolFeatures } from '../../src/vhost-user/messages.js';

const NOTHING = Buffer.alloc(0);
/** Long enough for any machine: only a lost answer takes this long. */
const ANSWER_TIMEOUT_MS = 20_000;

/** Gives a promise up after a time, with a word on what was waited for. */
export async function within<T>(promise: Promise<T>, what: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<T> {
  const timer = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: nothing within ${timeoutMs} ms`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
    late.catch(() => {});
  }
}

/** Looks again and again until something holds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, timeoutMs = ANSWER_TIMEOUT_MS) {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(2);
  }
}

export class RawFrontEnd {
  readonly connection: Connection;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  /** Connects, waiting for the socket to be there. */
  static async connect(path: string): Promise<RawFrontEnd> {
    let fd = -1;
    await until(() => (fd = connectUnix(path)) >= 0, `connect to ${path}`);
    return new RawFrontEnd(new Connection(fd));
  }

  /** Sends a message that is not answered. */
  async tell(name: MessageName, payload: Buffer = NOTHING, fds: readonly number[] = []): Promise<void> {
    await this.connection.send(MESSAGES[name].id, 0, payload, fds);
  }

  /** Sends a message with a reply of its own; returns that. */
  async ask(name: MessageName, payload: Buffer = NOTHING, flags = 0): Promise<Buffer> {
    await this.connection.send(MESSAGES[name].id, flags, payload);
    return (await this.reply(MESSAGES[name].id, name)).payload;
  }

  /** Sends a message with need_reply; returns whether the back end took it. REPLY_ACK must be negotiated. */
  async acknowledged(name: MessageName, payload: Buffer = NOTHING, fds: readonly number[] = []): Promise<boolean> {
    await this.connection.send(MESSAGES[name].id, Flag.NEED_REPLY, payload, fds);
    const { payload: answer } = await this.reply(MESSAGES[name].id, name);
    assert.equal(answer.length, 8, `acknowledgement of ${name}`);
    return answer.readBigUInt64LE(0) === 0n;
  }

  /** The next message, which must be the reply to this one. */
  async reply(id: number, what: string): Promise<Message> {
    const answer = await within(this.connection.receive(), `reply to ${what}`);
    assert.ok(answer !== undefined, `the back end closed the connection at ${what}`);
    assert.equal(answer.id, id, `reply to ${what}`);
    assert.equal(answer.flags, Flag.VERSION | Flag.REPLY, `flags of the reply to ${what}`);
    return answer;
  }

  /** Makes sure that the back end ends the connection, without another word. */
  async expectClosed(why: string): Promise<void> {
    const answer = await within(this.connection.receive(), `end of the connection after ${why}`);
    assert.equal(answer, undefined, `the connection goes on after ${why}`);
    this.close();
  }

  /** Settles both kinds of features; without a second argument there are no protocol features at all. */
  async negotiate(features: bigint, protocolFeatures?: bigint): Promise<void> {
    await this.tell('SET_OWNER');
    if (protocolFeatures !== undefined) await this.tell('SET_PROTOCOL_FEATURES', encode.u64(protocolFeatures));
    await this.tell('SET_FEATURES', encode.u64(features));
  }

  async shareMemory(regions: readonly RegionMessage[], fds: readonly number[]): Promise<void> {
    await this.tell('SET_MEM_TABLE', encode.memoryTable(regions), fds);
  }

  /** Waits until everything said so far has been heard. */
  async settle(): Promise<void> {
    await this.ask('GET_FEATURES');
  }

  close(): void {
    this.connection.close();
  }
}

/** All protocol features that the tests use. */
export const ALL_PROTOCOL_FEATURES = offeredProtocolFeatures(false);
