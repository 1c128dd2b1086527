/** How far a fault reaches: nothing outside that circle may notice it. */
export type BlastRadius = 'request' | 'queue' | 'session' | 'core' | 'process';

/**
 * Every error that this software reports, by stable code. The code is part of the interface: logs, `status` and
 * scripts carry it, so a row is never renamed.
 */
export const ERROR_CODES = {
  CONFIG_INVALID: 'process',
  CONFIG_UNREADABLE: 'process',
  FILTER_INVALID: 'process',
  SOCKET_BUSY: 'process',
  SOCKET_PERMISSION: 'process',
  SOCKET_INVALID: 'process',
  CPU_UNUSABLE: 'process',
  IMAGE_MISSING: 'process',
  IMAGE_PERMISSION: 'process',
  IMAGE_BUSY: 'process',
  IMAGE_INVALID: 'process',
  KEY_INVALID: 'process',
  MEMORY_EXHAUSTED: 'process',
  TAP_UNAVAILABLE: 'process',
  TAP_PERMISSION: 'process',
  TAP_NAME_TAKEN: 'process',
  TAP_BUSY: 'process',
  TAP_INVALID: 'process',
  BRIDGE_MISSING: 'process',
  DAEMON_UNREACHABLE: 'process',
  DEVICE_BUSY: 'process',
  CAPTURE_BUSY: 'process',
  CAPTURE_FILE: 'process',
  UNSUPPORTED_PLATFORM: 'process',
  SYSTEM_CALL_FAILED: 'process',

  CORE_LOST: 'process',

  CORE_DIED: 'core',
  CORE_STALLED: 'core',
  FILTER_STALLED: 'core',

  INTERNAL_ERROR: 'session',
  MESSAGE_INVALID: 'session',
  MESSAGE_UNKNOWN: 'session',
  MESSAGE_TRUNCATED: 'session',
  MESSAGE_FDS: 'session',
  MEMORY_TABLE_INVALID: 'session',
  MEMORY_UNSEALED: 'session',
  FEATURES_INVALID: 'session',
  PEER_CLOSED: 'session',
  CALL_BLOCKED: 'session',

  CONFIG_SPACE_INVALID: 'request',
  NETWORK_MESSAGE_INVALID: 'request',
  IO_FAILED: 'request',
  FILTER_FAILED: 'request',

  VRING_INVALID: 'queue',
  VRING_ADDRESS_INVALID: 'queue',
  AVAIL_INDEX_INVALID: 'queue',
  HEAD_OUT_OF_RANGE: 'queue',
  HEAD_IN_FLIGHT: 'queue',
  CHAIN_TOO_LONG: 'queue',
  NEXT_OUT_OF_RANGE: 'queue',
  INDIRECT_INVALID: 'queue',
  ADDRESS_INVALID: 'queue',
  DIRECTION_INVALID: 'queue',
  SEGMENTS_EXCEEDED: 'queue',
  POSITION_INVALID: 'queue',
  REQUEST_MALFORMED: 'queue',
  QUEUE_CRASHED_CORE: 'queue',
  QUEUE_NOT_TAKEN: 'queue',
} as const satisfies Record<string, BlastRadius>;

/** A stable error code. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** The one error class: a code, what happened, and what to do about it. */
export class SidecoreError extends Error {
  readonly code: ErrorCode;
  /** One sentence that tells the operator what to do; empty if there is nothing to do. */
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, remedy = '', options?: ErrorOptions) {
    super(message, options);
    this.name = 'SidecoreError';
    this.code = code;
    this.remedy = remedy;
  }

  get radius(): BlastRadius {
    return ERROR_CODES[this.code];
  }

  /** The one line that an operator reads. */
  get line(): string {
    return `${this.message} [${this.code}]${this.remedy === '' ? '' : `\n  ${this.remedy}`}`;
  }
}

/** What to do where the operating system gives no more file descriptors (EMFILE, ENFILE). */
export const MORE_DESCRIPTORS =
  'Allow more open files: `ulimit -n`, or LimitNOFILE= of the service. A disk takes 2, and 3 for each of its queues in use.';

/** An assertion about our own code, never about a guest. Stays on in production. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** What an error says, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
