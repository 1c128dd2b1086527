import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname, resolve } from 'node:path';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import { CAPTURE_FRAMES_MAX, CAPTURE_SECONDS_MAX, CAPTURE_SNAP_BYTES_MAX, DISK_BYTES_MAX } from '../limits.js';

/** What can be asked of a running daemon: HTTP over its control socket, JSON both ways. */
export interface ControlHandlers {
  /** GET /status */
  status(): Promise<unknown>;
  /** POST /resize */
  resize(body: z.output<typeof resizeBody>): Promise<unknown>;
  /** POST /capture: answers with pcapng while the capture runs; has answered nothing if it throws. */
  capture(body: z.output<typeof captureBody>, response: ServerResponse): Promise<void>;
  /** POST /capture/end */
  endCapture(body: z.output<typeof endCaptureBody>): Promise<unknown>;
}

const resizeBody = z.strictObject({
  disk: z.string(),
  sizeBytes: z.int().positive().max(DISK_BYTES_MAX).optional(),
});

const captureBody = z.strictObject({
  nic: z.string(),
  snapBytes: z.int().positive().max(CAPTURE_SNAP_BYTES_MAX),
  frames: z.int().positive().max(CAPTURE_FRAMES_MAX).optional(),
  seconds: z.number().positive().max(CAPTURE_SECONDS_MAX).optional(),
});

/** The number that the head of the capture's answer had. */
const endCaptureBody = z.strictObject({ id: z.int().positive() });

async function parse<Schema extends z.ZodType>(schema: Schema, what: string, incoming: IncomingMessage) {
  const { data, error } = schema.safeParse(await json(incoming));
  if (data !== undefined) return data;
  const { path, message } = error!.issues[0]!;
  throw new SidecoreError('CONFIG_INVALID', `not a request to ${what}: ${path.join('.')}: ${message}`);
}

/** How long a daemon may take for an answer, ms. */
const ANSWER_MS_MAX = 5000;

/** The daemon's end of the control socket. Only its owner may use it. */
export class ControlServer {
  readonly #path: string;
  readonly #server: Server;
  #listening = false;

  constructor(path: string, handlers: ControlHandlers) {
    this.#path = path;
    this.#server = createServer(async (incoming, response) => {
      let status = 200;
      let body: unknown;
      try {
        if (incoming.method === 'GET' && incoming.url === '/status') body = await handlers.status();
        else if (incoming.method === 'POST' && incoming.url === '/resize')
          body = await handlers.resize(await parse(resizeBody, 'resize', incoming));
        else if (incoming.method === 'POST' && incoming.url === '/capture')
          return await handlers.capture(await parse(captureBody, 'capture', incoming), response);
        else if (incoming.method === 'POST' && incoming.url === '/capture/end')
          body = await handlers.endCapture(await parse(endCaptureBody, 'end a capture', incoming));
        else status = 404;
      } catch (error) {
        // In the middle of an answer there is no other way to say so.
        if (response.headersSent) return void response.destroy();
        status = 400;
        const known = error instanceof SidecoreError ? error : new SidecoreError('CONFIG_INVALID', String(error));
        body = { code: known.code, message: known.message, remedy: known.remedy };
      }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body ?? {}));
    });
  }

  /** Listens; a socket that a dead daemon has left is replaced, one that is in use is an error. */
  async start(): Promise<void> {
    await requireNoDaemon(this.#path);
    rmSync(this.#path, { force: true });
    const umask = process.umask(0o077);
    try {
      await new Promise<void>((resolve, reject) => this.#server.once('error', reject).listen(this.#path, resolve));
    } catch (error) {
      throw new SidecoreError(
        'SOCKET_PERMISSION',
        `cannot listen on ${this.#path}: ${(error as NodeJS.ErrnoException).code}`,
        'Set `run_dir:` to a folder of your own.',
      );
    } finally {
      process.umask(umask);
    }
    this.#listening = true;
  }

  async stop(): Promise<void> {
    if (!this.#listening) return;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Throws if a daemon listens at this control socket. */
export async function requireNoDaemon(path: string): Promise<void> {
  if (!(await isListening(path))) return;
  throw new SidecoreError(
    'SOCKET_BUSY',
    `a daemon already runs in ${dirname(path)}`,
    'Stop it first, or give this one another `run_dir:`.',
  );
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    }).once('error', () => resolve(false));
  });
}

/** Asks a running daemon. Throws its error, or `DAEMON_UNREACHABLE`. */
export async function askDaemon<T>(path: string, method: 'GET' | 'POST', url: string, body?: unknown): Promise<T> {
  const incoming = await send(path, method, url, body, AbortSignal.timeout(ANSWER_MS_MAX));
  return (await answerOf(path, incoming)) as T;
}

/** Asks for an answer that comes bit by bit, for as long as it likes. Throws the daemon's error, or `DAEMON_UNREACHABLE`. */
export async function streamFromDaemon(path: string, url: string, body: unknown): Promise<IncomingMessage> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ANSWER_MS_MAX);
  const incoming = await send(path, 'POST', url, body, late.signal).finally(() => clearTimeout(timer));
  if (incoming.statusCode !== 200) await answerOf(path, incoming);
  return incoming;
}

/** Sends a request. Resolves when the head of its answer has come. */
function send(path: string, method: string, url: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const outgoing = request({ socketPath: path, method, path: url, headers, signal }, resolve);
    outgoing.once('error', (error) => reject(unreachable(path, error)));
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** The whole of an answer; throws the error that it says. */
async function answerOf(path: string, incoming: IncomingMessage): Promise<unknown> {
  const body = await json(incoming).catch((error) => {
    throw unreachable(path, error);
  });
  if (incoming.statusCode === 200) return body;
  const { code, message, remedy } = body as { code: SidecoreError['code']; message: string; remedy: string };
  throw new SidecoreError(
    code ?? 'DAEMON_UNREACHABLE',
    message ?? `the daemon answered ${incoming.statusCode}`,
    remedy,
  );
}

function unreachable(path: string, { name, code }: NodeJS.ErrnoException): SidecoreError {
  const where = resolve(path);
  const fail = (what: string, remedy: string) => new SidecoreError('DAEMON_UNREACHABLE', what, remedy);
  const whichOne = 'Is it running, and with this run directory? (--run-dir)';
  if (name === 'AbortError' || name === 'TimeoutError') {
    const remedy = 'See whether it hangs or its CPUs are overloaded; its log may say why.';
    return fail(`the daemon at ${where} does not answer within ${ANSWER_MS_MAX / 1000} s`, remedy);
  }
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return fail(`the daemon at ${where} may not be asked (${code})`, 'Run this as the user that runs the daemon.');
    case 'ENOENT':
    case 'ENOTDIR':
      return fail(`there is no daemon at ${where}`, whichOne);
    case 'ECONNREFUSED':
      return fail(`there is no daemon at ${where}, only a socket that one has left when it died`, whichOne);
    default:
      return fail(`cannot reach a daemon at ${where}: ${code}`, whichOne);
  }
}
