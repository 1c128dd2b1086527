/** Message header: request, flags, size of the payload; 32 bits each. vhost-user, "Message specification" */
export const HEADER_BYTES = 12;

/** Header flags. */
export const Flag = { VERSION: 1, VERSION_MASK: 3, REPLY: 4, NEED_REPLY: 8 } as const;

/** Bits of the 64-bit payload that carries a ring's descriptor. */
export const VRING_INDEX_MASK = 0xffn;
export const VRING_NO_FD = 0x100n;

/** Protocol features, as 64-bit masks. vhost-user, "Protocol features" */
export const PROTOCOL_FEATURES = {
  MQ: 1n << 0n,
  RARP: 1n << 2n,
  REPLY_ACK: 1n << 3n,
  NET_MTU: 1n << 4n,
  BACKEND_REQ: 1n << 5n,
  CONFIG: 1n << 9n,
  RESET_DEVICE: 1n << 13n,
  CONFIGURE_MEM_SLOTS: 1n << 15n,
  STATUS: 1n << 16n,
} as const;

const NETWORK_PROTOCOL_FEATURES = PROTOCOL_FEATURES.RARP | PROTOCOL_FEATURES.NET_MTU;

/** What this back end offers: all that it knows, and what is only about network cards only of these. */
export function offeredProtocolFeatures(isNetwork: boolean): bigint {
  const all = Object.values(PROTOCOL_FEATURES).reduce((sum, bit) => sum | bit, 0n);
  return isNetwork ? all : all & ~NETWORK_PROTOCOL_FEATURES;
}

/** Kinds of payload. Sizes in bytes: the exact one, or the least where the payload says how long it is. */
export const PAYLOADS = {
  none: { bytes: 0, exact: true },
  u64: { bytes: 8, exact: true },
  /** Ring index with a flag for "no descriptor"; the descriptor itself is ancillary data. */
  vringFd: { bytes: 8, exact: true },
  vringState: { bytes: 8, exact: true },
  vringAddress: { bytes: 40, exact: true },
  memoryTable: { bytes: 8, exact: false },
  memoryRegion: { bytes: 40, exact: true },
  config: { bytes: 12, exact: false },
} as const;

export type PayloadKind = keyof typeof PAYLOADS;

interface MessageRow {
  readonly id: number;
  readonly payload: PayloadKind;
  /** Descriptors that may come with it. */
  readonly fdsMax: number;
  /** Payload of its own reply; without one it is acknowledged only if the front end asks (REPLY_ACK). */
  readonly reply?: PayloadKind;
  /** Protocol feature without which it must not be sent. */
  readonly needs?: keyof typeof PROTOCOL_FEATURES;
}

/** The messages of a front end that this back end knows. vhost-user, "Front-end message types" */
export const MESSAGES = {
  GET_FEATURES: { id: 1, payload: 'none', fdsMax: 0, reply: 'u64' },
  SET_FEATURES: { id: 2, payload: 'u64', fdsMax: 0 },
  SET_OWNER: { id: 3, payload: 'none', fdsMax: 0 },
  RESET_OWNER: { id: 4, payload: 'none', fdsMax: 0 },
  SET_MEM_TABLE: { id: 5, payload: 'memoryTable', fdsMax: 32 },
  SET_VRING_NUM: { id: 8, payload: 'vringState', fdsMax: 0 },
  SET_VRING_ADDR: { id: 9, payload: 'vringAddress', fdsMax: 0 },
  SET_VRING_BASE: { id: 10, payload: 'vringState', fdsMax: 0 },
  GET_VRING_BASE: { id: 11, payload: 'vringState', fdsMax: 0, reply: 'vringState' },
  SET_VRING_KICK: { id: 12, payload: 'vringFd', fdsMax: 1 },
  SET_VRING_CALL: { id: 13, payload: 'vringFd', fdsMax: 1 },
  SET_VRING_ERR: { id: 14, payload: 'vringFd', fdsMax: 1 },
  GET_PROTOCOL_FEATURES: { id: 15, payload: 'none', fdsMax: 0, reply: 'u64' },
  SET_PROTOCOL_FEATURES: { id: 16, payload: 'u64', fdsMax: 0 },
  GET_QUEUE_NUM: { id: 17, payload: 'none', fdsMax: 0, reply: 'u64' },
  SET_VRING_ENABLE: { id: 18, payload: 'vringState', fdsMax: 0 },
  /** Six bytes of address, and two of nothing. */
  SEND_RARP: { id: 19, payload: 'u64', fdsMax: 0, needs: 'RARP' },
  NET_SET_MTU: { id: 20, payload: 'u64', fdsMax: 0, needs: 'NET_MTU' },
  SET_BACKEND_REQ_FD: { id: 21, payload: 'none', fdsMax: 1, needs: 'BACKEND_REQ' },
  GET_CONFIG: { id: 24, payload: 'config', fdsMax: 0, reply: 'config', needs: 'CONFIG' },
  SET_CONFIG: { id: 25, payload: 'config', fdsMax: 0, needs: 'CONFIG' },
  RESET_DEVICE: { id: 34, payload: 'none', fdsMax: 0, needs: 'RESET_DEVICE' },
  GET_MAX_MEM_SLOTS: { id: 36, payload: 'none', fdsMax: 0, reply: 'u64', needs: 'CONFIGURE_MEM_SLOTS' },
  ADD_MEM_REG: { id: 37, payload: 'memoryRegion', fdsMax: 1, needs: 'CONFIGURE_MEM_SLOTS' },
  REM_MEM_REG: { id: 38, payload: 'memoryRegion', fdsMax: 1, needs: 'CONFIGURE_MEM_SLOTS' },
  SET_STATUS: { id: 39, payload: 'u64', fdsMax: 0, needs: 'STATUS' },
  GET_STATUS: { id: 40, payload: 'none', fdsMax: 0, reply: 'u64', needs: 'STATUS' },
} as const satisfies Record<string, MessageRow>;

export type MessageName = keyof typeof MESSAGES;

/** A row, without the literal types of the table. */
export function messageRow(name: MessageName): MessageRow {
  return MESSAGES[name];
}

const NAMES = new Map<number, MessageName>(
  Object.entries(MESSAGES).map(([name, row]) => [row.id, name as MessageName]),
);

/** The message with this number, if it is one that we know. */
export function messageName(id: number): MessageName | undefined {
  return NAMES.get(id);
}

/** Messages of the back end, on its own channel. vhost-user, "Back-end message types" */
export const BACKEND_MESSAGES = { CONFIG_CHANGE: 2 } as const;
