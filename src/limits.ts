/**
 * Every limit of the system, with its unit and its reason. Nothing that a guest or a front end supplies is used
 * before it was held against one of these.
 */

// --- vhost-user -----------------------------------------------------------------------------------------------

/** File descriptors in one message. Most front ends send at most 8, those built on rust-vmm up to 32. */
export const MESSAGE_FDS_MAX = 32;
/** Payload of one message, bytes. The largest that is sent, a memory table of 32 regions, has 1032. */
export const MESSAGE_PAYLOAD_BYTES_MAX = 4096;
/** Memory slots offered by GET_MAX_MEM_SLOTS: QEMU's largest number of RAM slots. */
export const MEMORY_REGIONS_MAX = 509;
/** Guest memory of one device, bytes. */
export const MEMORY_BYTES_MAX = 2 ** 40;
/**
 * Address space of guests' memory, and of filters' buffers, that stays empty after they have gone, for each thread: stretches, and bytes.
 * A filter that has kept a view sees zeroes there, not another guest's data, and does not end the daemon.
 */
export const RETIRED_MAPS_MAX = 64;
export const RETIRED_BYTES_MAX = 2 ** 43;
/** Bytes of device configuration space in one GET_CONFIG or SET_CONFIG. VHOST_USER_MAX_CONFIG_SIZE. */
export const CONFIG_SPACE_BYTES_MAX = 256;
/**
 * Messages to one device that are answered as they come, and those a second after that, whoever connects to it. To have a ring
 * served counts as four, a connection as sixteen.
 * A start-up takes a few hundred; without a bound one front end could take a fifth of a sidecore by having rings set up anew.
 */
export const SESSION_MESSAGES_BURST = 4096;
export const SESSION_MESSAGES_PER_SECOND = 1000;
/** How long a second front end may wait for the first to leave before it is refused, ms. */
export const SECOND_FRONT_END_GRACE_MS = 1000;
/**
 * How long a device's socket is left alone after a front end made a sidecore wait for it, ms: the first time, and at most; each
 * time is twice as long as the one before.
 */
export const PENALTY_MS = 1000;
export const PENALTY_MS_MAX = 60_000;
/** Pause between two attempts of the client role, ms. */
export const CONNECT_RETRY_MS = 500;

// --- guest memory ---------------------------------------------------------------------------------------------

/**
 * Bytes of guest memory behind one typed array. An element index of 2^31 or more leaves V8's fast path
 * (up to a hundred times slower), so windows stay well below it.
 */
export const WINDOW_BYTES = 2 ** 30;
/** Guest physical addresses are held in doubles, so they stay below 2^52, x86's and Arm's own limit. */
export const GUEST_ADDRESS_HIGH_MAX = 2 ** 20;

// --- virtqueues -----------------------------------------------------------------------------------------------

/** Entries of a ring. VIRTIO 1.3, 2.7 and 2.8: at most 32768, a power of two if it is split. */
export const QUEUE_SIZE_MAX = 32768;
/** Queues of one device: QEMU's, and more than guests have CPUs. */
export const QUEUES_MAX = 64;
/** Policy round-robin: requests taken from one queue in one turn. */
export const BATCH_REQUESTS_MAX = 64;
/**
 * Requests taken before what is complete is published, within a turn. The guest goes on with these while the next are served; a
 * whole turn at once would have the two wait for each other in turn.
 */
export const PUBLISH_REQUESTS = 16;
/** Requests of 32 KiB and more that are shown together, within a turn: so few that a driver with eight in flight goes on with them. */
export const PUBLISH_LARGE_REQUESTS = 4;
/** Bytes after which they are shown, however few they are: about 12 us of copying at 22 GB/s. */
export const PUBLISH_BYTES = 2 ** 18;
/** Bytes after which a turn of policy round-robin, and of a ring between sidecores, ends: the paper's figure, about 50 us of copying. */
export const BATCH_BYTES_MAX = 2 ** 19;
/**
 * What one delivery of a frame, or of a segment of one, counts in that besides its bytes: about as long as it takes by the general
 * way. So a guest that floods, or has its frames cut up, has fewer of them sent in its turn.
 */
export const DELIVERY_WORK_BYTES = 2048;
/**
 * Data segments of one request, as told to the driver (seg_max): what a chain through a 128-entry queue holds.
 */
export const DATA_SEGMENTS_MAX = 126;
/**
 * Pieces of memory in one chain. Twice the data segments, because a segment that crosses windows or regions is
 * cut, and header and status byte.
 */
export const CHAIN_SEGMENTS_MAX = 2 * DATA_SEGMENTS_MAX + 4;

// --- virtio-blk -----------------------------------------------------------------------------------------------

/**
 * Largest data segment, bytes, as told to the driver (size_max). SeaBIOS 1.16 multiplies it with seg_max, divides by 512 and
 * keeps 16 bits of that: were they zero, it would never finish a read.
 */
export const SEGMENT_BYTES_MAX = 2 ** 15;
/** Data of one request, bytes: what full segments come to, just below 4 MiB. Bounds the time that one request takes. */
export const REQUEST_BYTES_MAX = DATA_SEGMENTS_MAX * SEGMENT_BYTES_MAX;
/**
 * Ranges in one DISCARD, WRITE_ZEROES or SECURE_ERASE. With the sectors below it bounds how long one such request to a disk in
 * memory holds up the other guests: about 2 ms.
 */
export const RANGES_MAX = 4;
/** Sectors in one range of DISCARD: 16 MiB, whose pages may have to be given back one by one. */
export const DISCARD_SECTORS_MAX = 2 ** 15;
/** Sectors in one range of WRITE_ZEROES: 1 MiB, since it may have to be written out. */
export const WRITE_ZEROES_SECTORS_MAX = 2 ** 11;
/** Sectors in one range of SECURE_ERASE: 1 MiB, since it is overwritten. */
export const SECURE_ERASE_SECTORS_MAX = 2 ** 11;
/** Largest disk, bytes: the offsets that a double holds exactly. */
export const DISK_BYTES_MAX = 2 ** 52;

// --- filters: limits-filters.ts -------------------------------------------------------------------------------

export * from './limits-filters.js';

// --- virtio-net -----------------------------------------------------------------------------------------------

/** Payload of a frame, bytes: IPv4's least, and what 16 bits hold. */
export const MTU_MIN = 68;
export const MTU_MAX = 65535;
/** Shortest and longest Ethernet frame that is passed on, bytes, without checksum: a header; 64 KiB, a header and two tags. */
export const FRAME_BYTES_MIN = 14;
export const FRAME_BYTES_MAX = 65_535 + 14 + 8;
/** First bytes of a frame in which all its headers must lie, bytes. Ethernet, two tags, IPv4 and TCP have at most 142. */
export const FRAME_HEADERS_BYTES_MAX = 256;
/** VLAN tags that are looked through: a customer's and a provider's. IEEE 802.1ad */
export const VLAN_TAGS_MAX = 2;
/** IPv6 extension headers that are looked through. RFC 8200, 4.1 names six, and one of them twice. */
export const EXTENSION_HEADERS_MAX = 7;
/** Buffers that one frame may be spread over: 64 KiB in the 1.5 KiB buffers of the smallest drivers. */
export const RX_BUFFERS_MAX = 64;
/**
 * Descriptors of buffers for one frame, after which no other buffer is taken for it: four times what a driver needs for the above.
 * Bounds how long a guest that fills its ring with empty ones holds up those who send to it.
 */
export const RX_DESCRIPTORS_MAX = 256;
/**
 * Segments of one frame. What 64 KiB come to in segments of 128 bytes; the smallest that networks ask for has 524. Bounds the
 * time that one frame takes.
 */
export const GSO_SEGMENTS_MAX = 512;
/**
 * Least payload of a TCP segment with the options of its header, bytes: Linux's TCP_MIN_SND_MSS. Cutting up takes time by the segment,
 * and nobody needs smaller ones.
 */
export const TCP_SEGMENT_BYTES_MIN = 48;
/** Datagrams that one frame may be cut into: Linux's UDP_MAX_SEGMENTS. They may be of any size. */
export const UDP_SEGMENTS_MAX = 128;
/** Addresses that a driver may name as those it wants frames for, besides its own: QEMU's figure. More mean all. */
export const CONTROL_MACS_MAX = 64;
/** As much as is looked at of a command: class and number, and a table of addresses in two parts that is longer than we remember. */
export const CONTROL_BYTES_MAX = 4096;
/** Queue pairs of one network card. */
export const QUEUE_PAIRS_MAX = 8;

/**
 * Bytes of the ring by which frames cross from one sidecore to another: sixteen of the longest frames, or about ten thousand of
 * the shortest. What does not fit is dropped.
 */
export const CROSSING_BYTES = 2 ** 20;
/** Bytes of all rings between sidecores together, more or less: where there are many, each is smaller. */
export const CROSSINGS_BYTES = 2 ** 26;
/** Bytes of the smallest of them: the longest frame has room in an empty ring wherever that begins. */
export const CROSSING_BYTES_MIN = 2 ** 18;
/** Slots of a switch's table of addresses: a power of two, four times the addresses of a large host, so that few windows are full. 0.9 MB. */
export const MAC_SLOTS = 2 ** 16;
/** Addresses learned on one port: a guest with containers has hundreds. Bounds what a flood of addresses takes up. */
export const MAC_PORT_ENTRIES_MAX = 1024;
/** How long an address is remembered after its last frame, s. IEEE 802.1Q, 8.8.3, table 8-6 recommends it. */
export const MAC_AGE_S = 300;
/** Slots in which an address may be, from the one that its hash says: all are in one or two cache lines. */
export const MAC_PROBES_MAX = 8;
/** Ports that a table of addresses tells apart. */
export const MAC_PORTS_MAX = 4096;
/** Networks of a daemon: what ten bits of a crossing's record can name, and each sidecore has an address table for each. */
export const NETWORKS_MAX = 1024;

// --- ports of a network that are no guests' -------------------------------------------------------------------

/** Payload of a TAP device's frame, bytes: what 16 bits hold, less an Ethernet header. The kernel's own limit. */
export const TAP_MTU_MAX = 65521;
/** Queues of one TAP device. There are no more pairs that a frame could come by. */
export const TAP_QUEUES_MAX = QUEUE_PAIRS_MAX;
/** Addresses learned on a TAP device, behind which a whole network may be: a quarter of the table. */
export const TAP_ADDRESSES_MAX = 16_384;
/** Frames read from one queue of a TAP device in one turn, as many as are switched together. */
export const TAP_READS_MAX = 32;
/** Frames on their way to one TAP device: what sixteen guests send in one turn. More are dropped. */
export const TAP_WRITES_MAX = 1024;
/** Frames of a generator, bytes, without the checksum that is sent after them: Ethernet's least, and that of an MTU of 9000. */
export const GENERATOR_FRAME_BYTES_MIN = 60;
export const GENERATOR_FRAME_BYTES_MAX = 9014;

// --- captures -------------------------------------------------------------------------------------------------

/** Captures at once in one daemon, one of a card: each has a ring, and is read by the main thread. */
export const CAPTURES_MAX = 16;
/** What one capture may have recorded and not passed on, bytes; a power of two. Some milliseconds of a fast card. */
export const CAPTURE_RING_BYTES = 2 ** 23;
/** Longest piece of a frame that is recorded, bytes: what readers of captures take, and longer than any frame. */
export const CAPTURE_SNAP_BYTES_MAX = 2 ** 18;
/** Frames after which a capture may be told to end: what a double counts exactly. */
export const CAPTURE_FRAMES_MAX = Number.MAX_SAFE_INTEGER;
/** Seconds after which a capture may be told to end: what a timer takes. */
export const CAPTURE_SECONDS_MAX = 2_000_000;
/** How long a daemon that stops waits for those who read its captures, ms. */
export const CAPTURE_END_MS_MAX = 2000;

// --- scheduler ------------------------------------------------------------------------------------------------

/** Requests of one piece of work, between whose pieces a scheduler decides: a burst of frames, two publications of a disk. */
export const PIECE_REQUESTS = 32;
/**
 * Bytes of one piece of work: about 7 us of copying. Longer requests of a disk in memory are divided. Together with a request's own
 * time it bounds how long a piece is, and so how long a queue waits that is given its turn out of order.
 */
export const PIECE_BYTES = 2 ** 16;
/** What a descriptor counts in a queue's work, bytes, beyond the few that every request has: about as long as it takes to follow it. */
export const DESCRIPTOR_WORK_BYTES = 256;
/** Queues that a look for stuck ones takes in, so that it takes no longer however many there are. */
export const STUCK_LOOKS_MAX = 8;
/** Policy elvis: turns out of their order in one round. Bounds a round in which all take each other for stuck. */
export const RESCUES_MAX = 32;
/** Weight of a VM: its share of a sidecore's time, against those of others. */
export const WEIGHT_MAX = 1000;

// --- sidecore -------------------------------------------------------------------------------------------------

/** Requests that one sidecore has in flight in its back ends; more wait in their rings. */
export const REQUESTS_IN_FLIGHT_MAX = 4096;
/** Requests of one device in flight, over all its queues, so that one guest cannot take all of the above. */
export const DEVICE_REQUESTS_IN_FLIGHT_MAX = 512;
/** What each queue of a device may have in flight however many there are. */
export const QUEUE_REQUESTS_IN_FLIGHT_MIN = 8;
/** Requests in flight that every queue of a sidecore may have, whatever the others have. */
export const QUEUE_REQUESTS_RESERVED = 2;
/** Entries of a sidecore's io_uring. A full ring is submitted and goes on. */
export const IO_URING_ENTRIES = 1024;
/** Queues on one sidecore. */
export const CORE_QUEUES_MAX = 1024;
/** Deaths of a sidecore while it served the same queue before that queue is stopped for good. */
export const QUEUE_CRASHES_MAX = 3;
/**
 * Queues and cards that are moved between sidecores in one round for balance, and cards of a network that move in one freeze: each makes
 * guests wait for about a millisecond.
 */
export const BALANCE_MOVES_MAX = 4;
/**
 * How long a move waits until nothing is under way, ms: requests of a queue, and frames of a frozen network. After that all stays where it
 * is. Once anything has moved, the network waits until its rings are served again, at worst until a sidecore that died is replaced.
 */
export const MOVE_WAIT_MS_MAX = 100;
/**
 * How long a sidecore may make no progress, or leave unanswered what it can answer at once, ms. After that it is stalled: until it answers
 * nothing is placed on it or moved, and a round of balancing waits no longer for it. Ten times what a move waits, and longer than any
 * time slice of others on its CPU.
 */
export const CORE_ANSWER_MS_MAX = 1000;
/** How long a sidecore's thread may take until it begins, ms, before the same: with many devices in mode baseline they start together. */
export const CORE_START_MS_MAX = 10_000;

// --- notification ---------------------------------------------------------------------------------------------

/** Pause between two looks for the kicks of queues that are not polled, while others are, ns: a look takes about 400 ns. */
export const KICK_LOOK_NS = 50_000;
/** Turns awake between two looks for idle queues, and for kicks. */
export const HOUSEKEEPING_TURNS = 32;
/** Bytes that queues move within a turn between two looks at what the kernel has finished: about 6 us of copying at 22 GB/s. */
export const INTERLUDE_BYTES = 2 ** 17;
/** The same between two looks for kicks, which take a system call: about 50 us. */
export const KICK_LOOK_BYTES = 2 ** 20;
/** What a request counts in both besides its bytes. */
export const REQUEST_WORK_BYTES = 1024;
/** Polled queues of which one look tells whether they are idle, at most: so that hundreds cost the others little. */
export const IDLE_LOOKS_MAX = 32;
/**
 * How long a call may wait for more completions, ns: in all, and since the last one. Whoever waits for a call before going on brings no
 * more, and is held up for the second only. docs/notification.md has the measurements.
 */
export const CALL_WAIT_NS_MAX = 50_000;
export const CALL_QUIET_NS_MAX = 10_000;
/** Completions for which a call waits at most. */
export const CALL_COMPLETIONS_MAX = 32;
/** Calls that are sent at once after waits that brought nothing, at most: so seldom is a wait tried in vain. */
export const CALL_WAITS_SPARED_MAX = 256;

// --- log ------------------------------------------------------------------------------------------------------

/** Devices that one line of the log names: what a line of a terminal has room for. */
export const LOG_DEVICES_MAX = 5;

// --- simulator ------------------------------------------------------------------------------------------------

/** Guests and sidecores of one simulation: a large host, and as many idle guests again. What takes a minute to simulate. */
export const SIM_GUESTS_MAX = 512;
export const SIM_CORES_MAX = 64;
/** Requests of one simulated guest in flight: a ring of the usual size. */
export const SIM_DEPTH_MAX = 256;
