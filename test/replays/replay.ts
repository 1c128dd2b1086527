/**
 * What front ends say to a vhost-user back end, as data: one file per front end, each from that front end's public source.
 * A replayer turns the symbols (rings, descriptors, indices) into real ones and checks the answers.
 *
 * Addresses, sizes and offsets are plain numbers: all lie below 2^53. Feature sets are 64-bit masks.
 */

/** A front end's message, without its VHOST_USER_ prefix. */
export type MessageName =
  | 'GET_FEATURES'
  | 'SET_FEATURES'
  | 'SET_OWNER'
  | 'SET_MEM_TABLE'
  | 'SET_LOG_BASE'
  | 'SET_VRING_NUM'
  | 'SET_VRING_ADDR'
  | 'SET_VRING_BASE'
  | 'GET_VRING_BASE'
  | 'SET_VRING_KICK'
  | 'SET_VRING_CALL'
  | 'SET_VRING_ERR'
  | 'GET_PROTOCOL_FEATURES'
  | 'SET_PROTOCOL_FEATURES'
  | 'GET_QUEUE_NUM'
  | 'SET_VRING_ENABLE'
  | 'SET_BACKEND_REQ_FD'
  | 'GET_CONFIG'
  | 'SET_CONFIG'
  | 'GET_INFLIGHT_FD'
  | 'SET_INFLIGHT_FD'
  | 'RESET_DEVICE'
  | 'GET_MAX_MEM_SLOTS'
  | 'ADD_MEM_REG'
  | 'REM_MEM_REG'
  | 'SET_STATUS'
  | 'GET_STATUS'
  | 'GET_SHMEM_CONFIG';

/** Protocol features that decide which messages a front end sends, by bit. vhost-user, "Protocol features" */
export const PROTOCOL_BITS = {
  MQ: 0,
  LOG_SHMFD: 1,
  REPLY_ACK: 3,
  BACKEND_REQ: 5,
  CONFIG: 9,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  DEVICE_STATE: 19,
  SHMEM: 22,
} as const;

export type ProtocolFeature = keyof typeof PROTOCOL_BITS;

/** Feature bits that a driver or a front end acknowledges. VIRTIO 1.3, 5.2.3 and 6; vhost-user, "Feature bits" */
export const FEATURE_BITS = {
  SIZE_MAX: 1,
  SEG_MAX: 2,
  GEOMETRY: 4,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
  NOTIFY_ON_EMPTY: 24,
  /** The back end writes down which guest pages it dirties. */
  LOG_ALL: 26,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  PROTOCOL_FEATURES: 30,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  ORDER_PLATFORM: 36,
  NOTIFICATION_DATA: 38,
  RING_RESET: 40,
  /** Not in a published standard: crosvm's number for it. */
  SUSPEND: 42,
} as const;

export type Feature = keyof typeof FEATURE_BITS;

/** Features by name, as a mask. */
export function features(...names: readonly Feature[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(FEATURE_BITS[name])), 0n);
}

/** Protocol features by name, as a mask. */
export function protocolFeatures(...names: readonly ProtocolFeature[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(PROTOCOL_BITS[name])), 0n);
}

/** What Linux's virtio_blk driver takes of what it is offered. drivers/block/virtio_blk.c and drivers/virtio/virtio_ring.c */
export const LINUX_DRIVER = features(
  'SIZE_MAX',
  'SEG_MAX',
  'GEOMETRY',
  'RO',
  'BLK_SIZE',
  'FLUSH',
  'TOPOLOGY',
  'CONFIG_WCE',
  'MQ',
  'DISCARD',
  'WRITE_ZEROES',
  'INDIRECT_DESC',
  'EVENT_IDX',
  'VERSION_1',
  'ACCESS_PLATFORM',
  'RING_PACKED',
  'ORDER_PLATFORM',
);

/** One region of guest memory. Regions with the same `file` share one file. Sizes and offsets in bytes. */
export interface Region {
  readonly guestAddress: number;
  readonly size: number;
  readonly userAddress: number;
  readonly mmapOffset: number;
  readonly file: string;
}

/**
 * Where the ring starts: a number, or
 * - `returned`: what the last GET_VRING_BASE of this ring answered;
 * - `avail-index`, `used-index`: what stands in the ring in guest memory at this moment.
 */
export type Base = number | 'returned' | 'avail-index' | 'used-index';

export type Payload =
  /** SET_FEATURES: what `Replay.ackFeatures` says, cut down to `only` and with `plus` added. */
  | { readonly features: 'acked'; readonly only?: bigint; readonly plus?: bigint }
  /** SET_PROTOCOL_FEATURES: what `Replay.ackProtocolFeatures` says. */
  | { readonly protocolFeatures: 'acked' }
  /** SET_VRING_NUM and, with 0 or 1, SET_VRING_ENABLE. */
  | { readonly index: number; readonly num: number }
  /** SET_VRING_BASE; GET_VRING_BASE, where the number means nothing. */
  | { readonly index: number; readonly base: Base }
  /** SET_VRING_ADDR: the user addresses of this ring's three parts. Flag 1 asks to log writes to the used ring. */
  | { readonly index: number; readonly flags: number; readonly ring: 'queue' }
  /** SET_VRING_KICK, _CALL and _ERR; with the descriptor `none`, the NOFD flag is set. */
  | { readonly index: number }
  /** SET_MEM_TABLE. */
  | { readonly regions: readonly Region[] }
  /** ADD_MEM_REG and REM_MEM_REG. */
  | { readonly region: Region }
  /** GET_CONFIG, followed by `size` zero bytes; SET_CONFIG, followed by `data`. */
  | { readonly offset: number; readonly size: number; readonly flags: number; readonly data?: readonly number[] }
  | { readonly status: number }
  /** GET_INFLIGHT_FD and SET_INFLIGHT_FD; the latter sends back the sizes of the former's answer. The payload has 24 bytes. */
  | { readonly queues: number; readonly queueSize: number; readonly area: 'none' | 'returned' }
  /** SET_LOG_BASE, with a descriptor: 16 bytes. */
  | { readonly logSize: number; readonly logOffset: number };

/**
 * What descriptor goes along:
 * - `memory`: the file of a region; a table has one for each region, in order, even where regions share a file;
 * - `kick`: the ring's eventfd, and `kick-signalled`: the same, already readable when it arrives;
 * - `call`: the eventfd that the driver listens to; `call-unheard`: one that nobody listens to; `call-shared`: one eventfd
 *   for several rings;
 * - `none`: no descriptor, and the payload says so.
 */
export type FdSource =
  | 'memory'
  | 'kick'
  | 'kick-signalled'
  | 'call'
  | 'call-unheard'
  | 'call-shared'
  | 'err'
  | 'backend-channel'
  | 'inflight'
  | 'log'
  | 'none';

/** When a step is part of the conversation: by what was negotiated. */
export interface Condition {
  readonly with?: readonly ProtocolFeature[];
  readonly without?: readonly ProtocolFeature[];
  /** A feature that the back end offers. */
  readonly offered?: Feature;
}

export interface SendStep {
  readonly send: MessageName;
  readonly payload?: Payload;
  readonly fds?: readonly FdSource[];
  /** The header's need_reply flag, which front ends set only once REPLY_ACK is negotiated: see `negotiatedSteps`. */
  readonly needReply?: boolean;
  /** This message is answered, by a reply of its own or because of need_reply, and the front end waits for it. */
  readonly reply?: boolean;
  readonly when?: Condition;
  readonly note?: string;
}

/** One step of a recorded conversation, from the front end's side. */
export type Step =
  | SendStep
  /** At this point the guest's driver does I/O on the rings that are up. */
  | { readonly driver: 'write-and-read' }
  /** The guest's driver forgets its rings: the next time, they are new and empty. */
  | { readonly driver: 'reset' }
  /** The connection ends. Steps after it run on a new one, with guest memory and rings as they were. */
  | { readonly disconnect: true };

/**
 * Whether guest memory can be cut short: `sealed` against shrinking by the VMM; `refused`: not sealed, and the back end's
 * F_ADD_SEALS fails.
 */
export type MemorySeal = 'sealed' | 'refused';

export interface Replay {
  readonly name: string;
  /** Repository, files, and the version or commit that was read. */
  readonly source: string;
  readonly ackFeatures: (offered: bigint) => bigint;
  readonly ackProtocolFeatures: (offered: bigint) => bigint;
  readonly memory: MemorySeal;
  readonly queues: number;
  readonly queueSize: number;
  readonly steps: readonly Step[];
}

/** Messages with a reply of their own, whatever need_reply says. vhost-user, "Communication" */
const OWN_REPLIES: ReadonlySet<MessageName> = new Set<MessageName>([
  'GET_FEATURES',
  'GET_PROTOCOL_FEATURES',
  'GET_QUEUE_NUM',
  'GET_VRING_BASE',
  'GET_CONFIG',
  'GET_INFLIGHT_FD',
  'GET_MAX_MEM_SLOTS',
  'GET_STATUS',
  'GET_SHMEM_CONFIG',
  'SET_LOG_BASE',
]);

export function hasOwnReply(name: MessageName): boolean {
  return OWN_REPLIES.has(name);
}

/**
 * The steps that this front end takes with a back end of these features, with need_reply only where it may be set.
 *
 * @param offered - the answer to GET_FEATURES
 * @param offeredProtocol - the answer to GET_PROTOCOL_FEATURES
 */
export function negotiatedSteps(replay: Replay, offered: bigint, offeredProtocol: bigint): Step[] {
  const negotiated = replay.ackProtocolFeatures(offeredProtocol);
  const has = (feature: ProtocolFeature) => (negotiated & (1n << BigInt(PROTOCOL_BITS[feature]))) !== 0n;
  const steps: Step[] = [];
  for (const step of replay.steps) {
    if (!('send' in step)) {
      steps.push(step);
      continue;
    }
    const { when } = step;
    if (!(when?.with ?? []).every(has) || (when?.without ?? []).some(has)) continue;
    if (when?.offered !== undefined && (offered & features(when.offered)) === 0n) continue;
    const needReply = step.needReply === true && has('REPLY_ACK');
    steps.push({ ...step, needReply, reply: hasOwnReply(step.send) || needReply });
  }
  return steps;
}

/** A message with a reply of its own. */
export function ask(send: MessageName, rest: Omit<SendStep, 'send' | 'reply'> = {}): SendStep {
  return { send, reply: true, ...rest };
}

/** A message that is acknowledged if REPLY_ACK was negotiated. */
export function acknowledged(send: MessageName, rest: Omit<SendStep, 'send' | 'reply' | 'needReply'> = {}): SendStep {
  return { send, needReply: true, reply: true, ...rest };
}

/** A message that nobody answers. */
export function tell(send: MessageName, rest: Omit<SendStep, 'send' | 'reply' | 'needReply'> = {}): SendStep {
  return { send, ...rest };
}

/** One descriptor for each region of a table. */
export function memoryFds(regions: readonly Region[]): FdSource[] {
  return regions.map(() => 'memory');
}

/** Ring indices from 0. */
export function indices(queues: number): number[] {
  return Array.from({ length: queues }, (_, index) => index);
}
