import { chmodSync, chownSync, lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SidecoreError } from '../errors.js';
import { EPOLLIN } from '../host/epoll.js';
import { close } from '../host/libc.js';
import { reactor } from '../host/reactor.js';
import { acceptUnix, connectUnix, listenUnix, peerPid } from '../host/unix-socket.js';
import { CONNECT_RETRY_MS, PENALTY_MS, PENALTY_MS_MAX, SECOND_FRONT_END_GRACE_MS } from '../limits.js';
import { Pace } from './pace.js';
import { Session, type SessionSetup } from './session.js';

/** Where a device meets its front end. */
export interface EndpointOptions {
  readonly path: string;
  /** `server` waits for the VMM; `client` goes to a VMM that waits. */
  readonly role: 'server' | 'client';
  /** Of the socket file, server role only. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Told of who comes and goes: one line each. */
  readonly onChange?: (kind: 'connected' | 'left' | 'waits', text: string) => void;
}

/**
 * The socket of one device and the session of whoever is connected to it. It stays up while front ends come and go; one
 * of them is served at a time.
 */
export class Endpoint {
  readonly options: EndpointOptions;
  /** The session of the connected front end. */
  session: Session | undefined;
  /** Sessions so far. */
  sessions = 0;
  readonly #setup: SessionSetup;
  readonly #pace = new Pace();
  readonly #stopping = new AbortController();
  #sessionDone: Promise<void> = Promise.resolve();
  #penaltyMs = PENALTY_MS;
  #penalty: Promise<void> = Promise.resolve();
  #listenFd = -1;
  #inode = 0;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: EndpointOptions, setup: SessionSetup) {
    this.options = options;
    this.#setup = setup;
  }

  /** Listens, or starts to look for the VMM. Throws if the socket cannot be had. */
  start(): void {
    if (this.options.role === 'client') {
      this.#loop = this.#connectForever(connectUnix(this.options.path));
      return;
    }
    this.#listen();
    this.#loop = this.#acceptForever();
  }

  /** Ends the session and takes the socket away. Resolves when no sidecore serves the device any more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    reactor().cancel(this.#listenFd);
    this.session?.close();
    await this.#loop;
    await this.#sessionDone;
    if (this.#listenFd < 0) return;
    close(this.#listenFd);
    this.#listenFd = -1;
    // Another daemon may have replaced it by now.
    const file = statSync(this.options.path, { throwIfNoEntry: false });
    if (file?.ino === this.#inode) rmSync(this.options.path);
  }

  /** Makes the socket under another name and moves it into place: nobody ever meets it half made. */
  #listen(): void {
    const { path, mode, uid, gid } = this.options;
    requireFreePath(path);
    const draft = `${path}~`;
    rmSync(draft, { force: true });
    this.#listenFd = listenUnix(draft);
    try {
      if (mode !== undefined) chmodSync(draft, mode);
      if (uid !== undefined || gid !== undefined) chownSync(draft, uid ?? -1, gid ?? -1);
      renameSync(draft, path);
    } catch (error) {
      throw new SidecoreError(
        'SOCKET_PERMISSION',
        `cannot set up ${path}: ${error instanceof Error ? error.message : error}`,
        'Run as a user that may give files away (root), or leave `socket.owner` and `socket.group` out.',
      );
    }
    this.#inode = statSync(path).ino;
  }

  async #acceptForever(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#penalty;
      if (this.#stopping.signal.aborted) return;
      await reactor().wait(this.#listenFd, EPOLLIN);
      const fd = this.#stopping.signal.aborted ? -1 : acceptUnix(this.#listenFd);
      if (fd < 0) continue;
      // Whoever reconnects may be here before its old connection's end is.
      if (this.session !== undefined) await this.#waitForEnd(SECOND_FRONT_END_GRACE_MS);
      if (this.session === undefined) this.#sessionDone = this.#converse(fd);
      else this.#refuse(fd);
    }
  }

  /** Waits for the session to end, but not for long. */
  async #waitForEnd(timeoutMs: number): Promise<void> {
    const timer = new AbortController();
    await Promise.race([this.#sessionDone, sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
  }

  #refuse(fd: number): void {
    const pid = peerPid(fd);
    close(fd);
    this.#setup.onFault('SOCKET_BUSY', `a second front end (process ${pid}) was turned away: one is connected already`);
  }

  /** @param first - what the first attempt gave; that it was made says that the path is a possible one */
  async #connectForever(first: number): Promise<void> {
    const { signal } = this.#stopping;
    const { path, onChange } = this.options;
    if (first < 0) onChange?.('waits', `waits for a VMM to listen on ${path}`);
    for (let fd = first; !signal.aborted; fd = connectUnix(path)) {
      if (fd >= 0) await this.#converse(fd);
      await this.#penalty;
      await sleep(CONNECT_RETRY_MS, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
    }
  }

  async #converse(fd: number): Promise<void> {
    const session = new Session(this.#setup, fd, this.#pace);
    this.session = session;
    this.sessions++;
    if (this.#stopping.signal.aborted) session.close();
    const pid = peerPid(fd);
    const { onChange } = this.options;
    onChange?.('connected', `front end connected (process ${pid})`);
    await session.run();
    this.session = undefined;
    onChange?.('left', `front end left (process ${pid})`);
    if (session.obstructive) this.#penalty = this.#keepAway();
  }

  /** Whoever comes now waits. */
  async #keepAway(): Promise<void> {
    const { signal } = this.#stopping;
    await sleep(this.#penaltyMs, undefined, { signal }).catch(() => {});
    this.#penaltyMs = Math.min(2 * this.#penaltyMs, PENALTY_MS_MAX);
  }
}

/** Refuses a path on which somebody listens, or which is no socket. One that a dead process has left is no hindrance. */
function requireFreePath(path: string): void {
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file === undefined) return;
  if (!file.isSocket()) {
    throw new SidecoreError(
      'SOCKET_INVALID',
      `${path} exists and is no socket`,
      'Choose another path, or remove the file.',
    );
  }
  const fd = connectUnix(path);
  if (fd < 0) return;
  close(fd);
  throw new SidecoreError(
    'SOCKET_BUSY',
    `another process listens on ${path}`,
    'Stop it (is a sidecore daemon running already?), or choose another path.',
  );
}
