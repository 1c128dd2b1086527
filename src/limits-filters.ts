/** Limits of filters; `limits.ts` has all others, and these too. */

// --- filters --------------------------------------------------------------------------------------------------

/** Filters of one device: more than anybody has a use for, and each costs every request a little. */
export const FILTERS_MAX = 16;
/** Bytes of a text that a sidecore leaves for the daemon about a filter: a message and a path. */
export const FILTER_NOTE_BYTES = 1008;
/** Who has been at such a text for so long, ms, has died of it: it takes microseconds. */
export const FILTER_NOTE_MS_MAX = 1000;
/** Counters and histograms of a filter, and its own shared memory, bytes: there is as much for each disk, and a histogram takes 5 KiB for each queue. */
export const FILTER_COUNTERS_MAX = 64;
export const FILTER_HISTOGRAMS_MAX = 8;
export const FILTER_SHARED_BYTES_MAX = 2 ** 28;
/** Operations of its own that a filter may have at once for one queue, and jobs of its helper. */
export const FILTER_OPERATIONS_MAX = 512;
export const FILTER_JOBS_MAX = 64;
/** Bytes of a filter's buffers for one queue: they are mapped, and take up room only once used. */
export const FILTER_BUFFER_BYTES_MAX = 2 ** 26;
/** How long what is in flight of a disk may take to end when its filters are changed, ms. */
export const HOLD_MS_MAX = 10_000;
/** How long a filter's own function may keep a disk held, s, if it does not say: as long as it may keep a request. */
export const FILTER_HOLD_S = 30;
/** How long a filter's module may run before it says what it defines, on the main thread, ms. */
export const FILTER_LOAD_MS_MAX = 1000;
/** How long files of filters are left alone after one of them was saved, before they are read, ms: editors write more than one, or twice. */
export const FILTER_SAVE_MS = 100;
/** Longest that this may last while they are saved again and again, ms. */
export const FILTER_SAVE_MS_MAX = 1000;
/** Folders that are watched for one filter's files. */
export const FILTER_FOLDERS_MAX = 64;
/** How long a filter may keep a request, s, and how long its calls may take on average, us, unless its configuration says otherwise. */
export const FILTER_DEFER_S = 30;
export const FILTER_TIME_US = 100;
/** Lines of requests that may share one throttle's budget, two for each queue: each is looked at where several wait. */
export const THROTTLE_LINES_MAX = 1024;
/** How long a queue that is to become empty may wait for what is throttled, s, before the rest goes on without having been paid for. */
export const THROTTLE_HURRY_S_MAX = 5;
/** Records that a trace keeps for each queue, of 40 bytes. */
export const TRACE_RECORDS_MAX = 2 ** 20;
/** Bytes of a file that a trace is followed into, unless whoever asks says otherwise: how much comes is up to the guest. */
export const TRACE_FILE_BYTES = 2 ** 30;
/** Bytes of a file that a card's frames are copied to, likewise. */
export const MIRROR_FILE_BYTES = 2 ** 30;
/** Rules of a filter that makes faults: each costs each request a look. */
export const FAULT_RULES_MAX = 32;
/** Bytes of a filter's module with all that it imports. */
export const FILTER_TEXT_BYTES_MAX = 2 ** 23;

/**
 * Frames that one frame filter may keep, and their bytes in all: a tenth of a second of 20,000 frames a second. The memory is there
 * for each filter that keeps any.
 */
export const FRAMES_DEFERRED_MAX = 2048;
export const FRAMES_DEFERRED_BYTES_MAX = 2 ** 22;

/** Bytes or frames in a second to which a card may be limited: 100 Gbit/s and some; and how long of that may come at once, ms. */
export const RATE_MAX = 2e10;
export const RATE_BURST_MS_MAX = 10_000;
/** Longest delay that a bad line is given, ms; and frames that may overtake one that is held back. */
export const IMPAIR_DELAY_MS_MAX = 60_000;
export const IMPAIR_GAP_MAX = 64;
/** Frames that a trace holds, and bytes of each of them. */
export const TRACE_FRAMES_MAX = 2 ** 16;
export const TRACE_BYTES_MAX = 256;

/** How long a filter that keeps its sidecore may keep others waiting, ms, if the configuration does not say; and what it may say. */
export const FILTER_STALL_MS = 10;
export const FILTER_STALL_MS_MIN = 2;
export const FILTER_STALL_MS_MAX = 1000;
/** How much of that is kept for another thread to take over, ms; the rest a filter may take. And what it may take in any case. */
export const FILTER_TAKE_OVER_MS = 4;
export const FILTER_ALLOWANCE_MS_MIN = 2;
/**
 * Time for which its thread waits in a system call counts one part in so many: V8 waits there as well, for helpers of its own that may
 * have to wait for a CPU.
 */
export const FILTER_WAITS_COUNT = 8;
/** What it may take while its thread is cold, whose code is not compiled yet; and how long that is, from its first queue on, s. */
export const FILTER_COLD_MS_MAX = 50;
export const FILTER_COLD_S = 1;
/** What it may take while it is made, if that is longer: its module is read, compiled and run for the first time. */
export const FILTER_MAKING_MS_MAX = 250;
/**
 * What the JavaScript of a sidecore may have in memory, MiB, for filters that keep what they make: the thread ends then, and not the
 * process. Without filters it has a few.
 */
export const CORE_HEAP_MIB_MAX = 512;

// --- firewall -------------------------------------------------------------------------------------------------

/** Rules of one firewall: four times what a large security group has. Each set of them takes 512 bytes. */
export const FIREWALL_RULES_MAX = 4096;
/** Addresses, ports and so on in one list of a rule. */
export const FIREWALL_LIST_MAX = 256;
/** Prefixes in all rules of one firewall: bounds its tables to some tens of MiB, and the time to make them to a second or so. */
export const FIREWALL_PREFIXES_MAX = 8192;
/** Connections of one port that are remembered, and fragmented packets under way. 64 bytes each. */
export const FIREWALL_CONNECTIONS_MAX = 2 ** 18;
/** Slots in which a connection may be: bounds how long a look takes. */
export const FIREWALL_PROBES_MAX = 8;

/**
 * Iterations of PBKDF2 that the header of an encrypted image may ask for, all key slots in use and their digests together: about a
 * minute. cryptsetup and QEMU make as many as take two seconds for each.
 */
export const LUKS_ITERATIONS_MAX = 2 ** 27;
/** First sector of the data in such an image: cryptsetup leaves 2 MiB, or what it is told; this is 1 GiB. */
export const LUKS_PAYLOAD_SECTOR_MAX = 2 ** 21;
/** Bytes of a passphrase: what QEMU and cryptsetup take is less than 8 MiB, what anybody has is far less. */
export const LUKS_PASSPHRASE_BYTES_MAX = 2 ** 16;
