/**
 * What front ends say to a vhost-user back end, as data: one file per front end, each from that front end's public source.
 * A replayer turns the symbols (rings, descriptors, indices) into real ones and checks the answers.
 *
 * Addresses, sizes and offsets are plain numbers: all lie below 2^53. Feature sets are 64-bit masks.
 */
import { type Feature, features, PROTOCOL_BITS, type ProtocolFeature } from './features.js';

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
  | 'SEND_RARP'
  | 'NET_SET_MTU'
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

/** One region of guest memory. Regions with the same `file` share one file. Sizes and offsets in bytes. */
export interface Region {
  readonly guestAddress: number;
  readonly size: number;
  readonly userAddress: number;
  readonly mmapOffset: number;
  readonly file: string;
  /** It may be unplugged: drivers keep no buffers in it that are there to stay. */
  readonly removable?: boolean;
}

/** A station's address, six bytes. */
export type Mac = readonly [number, number, number, number, number, number];

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
  /** SEND_RARP: six bytes, which two more follow. */
  | { readonly mac: Mac }
  /** NET_SET_MTU. */
  | { readonly mtu: number }
  /** GET_INFLIGHT_FD and SET_INFLIGHT_FD; the latter sends back the sizes of the former's answer. The payload has 24 bytes. */
  | { readonly queues: number; readonly queueSize: number; readonly area: 'none' | 'returned' }
  /** SET_LOG_BASE, with a descriptor: 16 bytes. */
  | { readonly logSize: number; readonly logOffset: number };

/**
 * What descriptor goes along:
 * - `memory`: the file of a region; a table has one for each region, in order, even where regions share a file;
 * - `kick`: the ring's eventfd; `kick-signalled`: the same, already readable when it arrives; `kick-if-waiting`: readable if
 *   something is available that is not used;
 * - `call`: the eventfd that the driver listens to; `call-unheard`: one that nobody listens to; `call-shared`: one eventfd
 *   for several rings;
 * - `none`: no descriptor, and the payload says so.
 */
export type FdSource =
  | 'memory'
  | 'kick'
  | 'kick-signalled'
  | 'kick-if-waiting'
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

/** What the guest's driver does at this point of the conversation, and what it finds. */
export type DriverStep =
  /** Of a disk: I/O on the rings that are up. */
  | { readonly driver: 'write-and-read' }
  /** Of a card: frames cross both ways on the queue pairs in use, and arrive as they were. */
  | { readonly driver: 'exchange' }
  /**
   * Of a card: frames set out both ways on the queue pairs in use, up or not, and what is said next happens under them. The next
   * exchange waits for them: the guest's arrive, each once; of those for the guest, some may have come when its rings were down.
   */
  | { readonly driver: 'set-out' }
  /** Of a card: it uses so many queue pairs from now on, and offers buffers in those that are new. */
  | { readonly driver: 'use-pairs'; readonly pairs: number }
  /** Of a card whose front end has no control queue of its own: class, command and data, which the device does. VIRTIO 1.3, 5.1.6.5 */
  | { readonly driver: 'command'; readonly bytes: readonly number[] }
  /** It forgets its rings: the next time, they are new and empty. */
  | { readonly driver: 'reset' };

/** One step of a recorded conversation, from the front end's side. */
export type Step =
  | SendStep
  | DriverStep
  /** The others in a card's network hear that this address is where the card is now. */
  | { readonly announced: Mac }
  /** The connection ends. Steps after it run on a new one, with guest memory and rings as they were. */
  | { readonly disconnect: true };

/**
 * Whether guest memory can be cut short: `sealed` against shrinking by the VMM; `refused`: not sealed, and the back end's
 * F_ADD_SEALS fails.
 */
export type MemorySeal = 'sealed' | 'refused';

/** What is served to the front end: a disk, or a network card with so many queue pairs, of which the driver uses some at first. */
export type ReplayDevice =
  | { readonly kind: 'disk' }
  | { readonly kind: 'card'; readonly queuePairs: number; readonly pairsInUse: number };

export interface Replay {
  readonly name: string;
  /** Repository, files, and the version or commit that was read. */
  readonly source: string;
  readonly ackFeatures: (offered: bigint) => bigint;
  readonly ackProtocolFeatures: (offered: bigint) => bigint;
  readonly memory: MemorySeal;
  readonly device: ReplayDevice;
  /** Rings that the device has. */
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

/** Every region that is ever shown to the back end. */
export function allRegions({ steps }: Replay): Region[] {
  return steps.flatMap((step) => {
    if (!('send' in step) || step.payload === undefined) return [];
    return 'regions' in step.payload ? step.payload.regions : 'region' in step.payload ? [step.payload.region] : [];
  });
}

/** One descriptor for each region of a table. */
export function memoryFds(regions: readonly Region[]): FdSource[] {
  return regions.map(() => 'memory');
}

/** Ring indices from 0. */
export function indices(queues: number): number[] {
  return Array.from({ length: queues }, (_, index) => index);
}
