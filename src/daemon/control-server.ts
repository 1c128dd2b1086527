import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname, resolve } from 'node:path';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { SidecoreError } from '../errors.js';
import { explain } from '../filter/explain.js';
import {
  CAPTURE_FRAMES_MAX,
  CAPTURE_SECONDS_MAX,
  CAPTURE_SNAP_BYTES_MAX,
  DISK_BYTES_MAX,
  HOLD_MS_MAX,
} from '../limits.js';

const vmDevice = z.string();
/** Of a filter: its place, name or module. */
const which = z.string();
/** How long what is in flight may take to end. */
const waitMsMax = z.number().positive().max(HOLD_MS_MAX).optional();
/** Folder from which paths start. */
const base = z.string();
/** What a configuration says of a filter, some of it; the device's kind knows the keys. */
const filter = z.record(z.string(), z.unknown());

/** What can be asked of a running daemon: HTTP over its control socket, JSON both ways. By method and path. */
const REQUESTS = {
  status: { method: 'GET', path: '/status', body: z.undefined() },
  resize: {
    method: 'POST',
    path: '/resize',
    body: z.strictObject({ disk: vmDevice, sizeBytes: z.int().positive().max(DISK_BYTES_MAX).optional() }),
  },
  /** Answers with pcapng while the capture runs; has answered nothing if it throws. */
  capture: {
    method: 'POST',
    path: '/capture',
    body: z.strictObject({
      nic: vmDevice,
      snapBytes: z.int().positive().max(CAPTURE_SNAP_BYTES_MAX),
      frames: z.int().positive().max(CAPTURE_FRAMES_MAX).optional(),
      seconds: z.number().positive().max(CAPTURE_SECONDS_MAX).optional(),
    }),
  },
  /** `id` is the number that the head of the capture's answer had. */
  endCapture: { method: 'POST', path: '/capture/end', body: z.strictObject({ id: z.int().positive() }) },
  listFilters: { method: 'POST', path: '/filters/list', body: z.strictObject({ device: vmDevice.optional() }) },
  addFilter: {
    method: 'POST',
    path: '/filters/add',
    body: z.strictObject({
      device: vmDevice,
      filter,
      at: z.int().min(0).optional(),
      before: which.optional(),
      after: which.optional(),
      base,
      waitMsMax,
    }),
  },
  removeFilter: {
    method: 'POST',
    path: '/filters/remove',
    body: z.strictObject({ device: vmDevice, which, base: base.optional(), waitMsMax }),
  },
  /** Without `use`, by itself, loaded anew. */
  replaceFilter: {
    method: 'POST',
    path: '/filters/replace',
    body: z.strictObject({ device: vmDevice, which, filter, base, waitMsMax }),
  },
  /** Its options are merged over those that it has. */
  setFilter: {
    method: 'POST',
    path: '/filters/set',
    body: z.strictObject({ device: vmDevice, which, filter, base: base.optional(), waitMsMax }),
  },
  askFilter: {
    method: 'POST',
    path: '/filters/ask',
    body: z.strictObject({
      device: vmDevice,
      which,
      base: base.optional(),
      command: z.string(),
      given: z.record(z.string(), z.string()),
    }),
  },
  link: { method: 'POST', path: '/link', body: z.strictObject({ nic: vmDevice, up: z.boolean() }) },
} as const;

type RequestName = keyof typeof REQUESTS;

/** One handler for each. Gives what is answered; one that has answered by itself gives nothing. */
export type ControlHandlers = {
  readonly [Name in RequestName]: (
    body: z.output<(typeof REQUESTS)[Name]['body']>,
    response: ServerResponse,
  ) => Promise<unknown>;
};

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

/** Undefined if the handler has answered by itself. */
async function answer(
  incoming: IncomingMessage,
  response: ServerResponse,
  handlers: ControlHandlers,
): Promise<Reply | undefined> {
  for (const [name, { method, path, body }] of Object.entries(REQUESTS)) {
    if (incoming.method !== method || incoming.url !== path) continue;
    const { data, error } = body.safeParse(method === 'POST' ? await bodyOf(incoming, path) : undefined, {
      error: explain,
    });
    if (error !== undefined) {
      const { path: keys, message } = error.issues[0]!;
      throw notARequest(path, keys.length === 0 ? message : `${keys.join('.')} ${message}`, body);
    }
    const handler = handlers[name as RequestName] as (body: unknown, response: ServerResponse) => Promise<unknown>;
    const answered = await handler(data, response);
    return answered === undefined ? undefined : { status: 200, body: answered };
  }
  return { status: 404, body: {} };
}

async function bodyOf(incoming: IncomingMessage, path: string): Promise<unknown> {
  return json(incoming).catch(() => {
    throw notARequest(path, 'what was sent is no JSON');
  });
}

function notARequest(path: string, why: string, body?: z.ZodType): SidecoreError {
  const keys = body instanceof z.ZodObject ? `It has the keys ${Object.keys(body.shape).join(', ')}.` : '';
  return new SidecoreError('CONFIG_INVALID', `not a request for ${path}: ${why}`, keys || 'Send a JSON object.');
}

/** How long a daemon may take for an answer, if the question says nothing else, ms. */
export const ANSWER_MS_MAX = 5000;

/** The daemon's end of the control socket. Only its owner may use it. */
export class ControlServer {
  readonly #path: string;
  readonly #server: Server;
  #listening = false;

  constructor(path: string, handlers: ControlHandlers) {
    this.#path = path;
    this.#server = createServer(async (incoming, response) => {
      let reply: Reply | undefined;
      let text = '';
      try {
        reply = await answer(incoming, response, handlers);
        // What filters say of themselves may be anything.
        text = JSON.stringify(reply?.body);
      } catch (error) {
        // In the middle of an answer there is no other way to say so.
        if (response.headersSent) return void response.destroy();
        const known = error instanceof SidecoreError ? error : new SidecoreError('CONFIG_INVALID', String(error));
        reply = { status: 400, body: {} };
        text = JSON.stringify({ code: known.code, message: known.message, remedy: known.remedy });
      }
      if (reply !== undefined) response.writeHead(reply.status, { 'content-type': 'application/json' }).end(text);
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

/**
 * Asks a running daemon. Throws its error, or `DAEMON_UNREACHABLE`.
 *
 * @param answerMsMax - how long it may take; infinite for as long as it likes
 */
export async function askDaemon<T>(
  path: string,
  method: 'GET' | 'POST',
  url: string,
  body?: unknown,
  answerMsMax: number = ANSWER_MS_MAX,
): Promise<T> {
  const signal = answerMsMax === Number.POSITIVE_INFINITY ? undefined : AbortSignal.timeout(answerMsMax);
  const incoming = await send(path, method, url, body, signal, answerMsMax);
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
function send(
  path: string,
  method: string,
  url: string,
  body: unknown,
  signal: AbortSignal | undefined,
  answerMsMax = ANSWER_MS_MAX,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const options = { socketPath: path, method, path: url, headers, ...(signal && { signal }) };
    const outgoing = request(options, resolve);
    outgoing.once('error', (error) => reject(unreachable(path, error, answerMsMax)));
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

function unreachable(path: string, { name, code }: NodeJS.ErrnoException, answerMsMax = ANSWER_MS_MAX): SidecoreError {
  const where = resolve(path);
  const fail = (what: string, remedy: string) => new SidecoreError('DAEMON_UNREACHABLE', what, remedy);
  const whichOne = 'Is it running, and with this run directory? (--run-dir)';
  if (name === 'AbortError' || name === 'TimeoutError') {
    const remedy = 'See whether it hangs or its CPUs are overloaded; its log may say why.';
    return fail(`the daemon at ${where} does not answer within ${answerMsMax / 1000} s`, remedy);
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
