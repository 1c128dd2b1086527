/** A client of QEMU's machine protocol: one JSON object a line. */
import type { Socket } from 'node:net';

const REPLY_TIMEOUT_MS = 20_000;

export interface QmpEvent {
  readonly event: string;
  readonly data?: Record<string, unknown>;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: Error) => void;
}

export class Qmp {
  /** Every event so far, oldest first. */
  readonly events: QmpEvent[] = [];
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #partial = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => this.#receive(text));
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('QEMU closed its QMP socket'));
      this.#waiting.clear();
    });
  }

  /** Negotiates over a socket that QEMU has just connected. */
  static async open(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** Runs one command; its `return`, or an error with QEMU's description. */
  execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        finish();
      };
      const timer = setTimeout(
        () => settle(() => reject(new Error(`QMP ${command}: no reply after ${REPLY_TIMEOUT_MS} ms`))),
        REPLY_TIMEOUT_MS,
      );
      this.#waiting.set(id, {
        resolve: (value) => settle(() => resolve(value)),
        reject: (reason) => settle(() => reject(reason)),
      });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) {
      const message = JSON.parse(line);
      if (message.event !== undefined) this.events.push(message);
      else if (message.error !== undefined)
        this.#waiting.get(message.id)?.reject(new Error(`QMP: ${message.error.desc}`));
      else if (message.id !== undefined) this.#waiting.get(message.id)?.resolve(message.return);
    }
  }
}
