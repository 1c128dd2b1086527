import assert from 'node:assert/strict';
import { it } from 'node:test';
import { scheduler as schedulerSchema } from '../daemon/config-scheduler.js';
import type { DaemonStatus } from '../daemon/daemon.js';
import { renderStatus } from './status-view.js';

type Disk = DaemonStatus['vms'][string][string];

const QUEUE: Disk['queues'][number] = {
  index: 0,
  size: 128,
  core: 0,
  phase: 'polled',
  fault: null,
  enabled: true,
  kicks: 2,
  requests: 1000,
  bytes_read: 4_096_000,
  bytes_written: 1_000_000,
  errors: 1,
  calls: 250,
  polls: 5000,
  batches: 100,
  bytes: 5_096_000,
  time_ns: 800_000,
  stuck: 4,
  wait_max_ns: 9000,
  limited: 7,
  retaken: 0,
  flushes: 3,
  calls_held: 0,
  calls_spared: 0,
};

const DISK: Disk = {
  socket: '/run/sidecore/web1.root.sock',
  role: 'server',
  backend: 'file',
  size_bytes: 10 * 2 ** 30,
  connected: true,
  sessions: 1,
  features: '0x0',
  protocol_features: '0x0',
  memory_regions: 2,
  filters: [],
  filters_changed: false,
  faults: {},
  last_fault: null,
  queues: [QUEUE],
};

const CORE: DaemonStatus['cores'][number] = {
  index: 0,
  cpus: [2],
  shared: false,
  quarantined: null,
  in_use: true,
  stalled: false,
  thread: 4711,
  deaths: 1,
  queues: 1,
  queues_polled: 1,
  queues_watched: 0,
  turns: 5,
  busy_ns: 30e9,
  empty_ns: 10e9,
  asleep_ns: 0,
  sleeps: 0,
  frames_crossed: 0,
  crossings_dropped: 0,
  arrivals_dropped: 0,
};

const STATUS: DaemonStatus = {
  version: '1.2.3',
  pid: 77,
  node: 'v20.0.0',
  mode: 'sidecore',
  scheduler: schedulerSchema.parse(undefined),
  weights: { web1: 1 },
  uptime_s: 3725,
  cores: [CORE],
  placement: { cores_in_use: 1, moved: 0, moves_failed: 0 },
  vms: { web1: { root: DISK } },
  nics: {},
  networks: {},
};

const WIDE = Number.POSITIVE_INFINITY;

it('shows cores, disks and queues since the start', () => {
  const last = {
    code: 'ADDRESS_INVALID',
    text: 'web1/data: queue 1 was stopped',
    at: '2026-01-02T03:04:05.678Z',
  } as const;
  const data: Disk = {
    ...DISK,
    backend: 'memory',
    size_bytes: 1.5 * 2 ** 20,
    faults: { ADDRESS_INVALID: 2, MESSAGE_FDS: 1 },
    last_fault: last,
    queues: [
      { ...QUEUE, requests: 0, bytes_read: 0, bytes_written: 0, errors: 0, kicks: 1, calls: 0 },
      { ...QUEUE, index: 1, phase: 'faulted', fault: 'ADDRESS_INVALID' },
    ],
  };
  const status: DaemonStatus = {
    ...STATUS,
    vms: { web1: { root: DISK, data, spare: { ...DISK, connected: false, queues: [] } } },
  };
  assert.equal(
    renderStatus({ status, at: 5 }, undefined, WIDE),
    `sidecore 1.2.3, process 77, policy fair, up 1 h 2 min

CORE  CPU  MODE      BUSY  EMPTY  ASLEEP  POLLED  WATCHED  DEATHS
   0    2  sidecore   75%    25%      0%       1        0       1

DISK        BACK END     SIZE  CORE  FRONT END  PHASE                FAULTS
web1/root   file       10 GiB     0  connected  polled               0
web1/data   memory    1.5 MiB     0  connected  1 polled, 1 faulted  3, last ADDRESS_INVALID at 2026-01-02T03:04:05.678Z
web1/spare  file       10 GiB     -  none       -                    0

QUEUE        REQUESTS  MB READ  MB WRITTEN  ERRORS  KICKS  CALLS  KICKS/REQ  CALLS/REQ  FAULT
web1/root 0      1000      4.1         1.0       1      2    250      0.002      0.250
web1/data 0         0      0.0         0.0       0      1      0          -          -
web1/data 1      1000      4.1         1.0       1      2    250      0.002      0.250  ADDRESS_INVALID
`,
  );
});

it('shows rates between two samples, and what a sleeping core has not yet counted', () => {
  const core = { ...CORE, cpus: [2, 3], busy_ns: 30.1e9, empty_ns: 10.1e9, queues_polled: 0, queues_watched: 1 };
  const queue = { ...QUEUE, requests: 3000, bytes_read: 8_096_000, kicks: 3, calls: 1250 };
  const status = {
    ...STATUS,
    mode: 'adaptive' as const,
    cores: [core],
    vms: { web1: { root: { ...DISK, queues: [queue] } } },
  };
  assert.equal(
    renderStatus({ status, at: 102 }, { status: STATUS, at: 100 }, WIDE),
    `sidecore 1.2.3, process 77, policy fair, up 1 h 2 min; rates over 2.0 s

CORE  CPU  MODE      BUSY  EMPTY  ASLEEP  POLLED  WATCHED  DEATHS
   0  2,3  adaptive    5%     5%     90%       0        1       1

DISK       BACK END    SIZE  CORE  FRONT END  PHASE   FAULTS
web1/root  file      10 GiB     0  connected  polled  0

QUEUE        REQUESTS/s  MB READ/s  MB WRITTEN/s  ERRORS/s  KICKS/s  CALLS/s  KICKS/REQ  CALLS/REQ  FAULT
web1/root 0        1000        2.0           0.0         0      0.5      500      0.001      0.500
`,
  );
});

it('shows which cores are not in use, which is the shared one, which does not answer, and the cores of a disk’s queues', () => {
  const parked = { ...CORE, in_use: false, queues_polled: 0 };
  const shared = { ...CORE, index: 2, cpus: [0, 1], shared: true };
  const queues = [2, null, 0, 2].map((core, index) => ({ ...QUEUE, index, core }));
  const status = {
    ...STATUS,
    cores: [
      CORE,
      { ...parked, index: 1, cpus: [3] },
      shared,
      { ...CORE, index: 3, cpus: [4], stalled: true },
      { ...CORE, index: 4, cpus: [0], quarantined: 'a/d' },
    ],
    vms: { web1: { root: { ...DISK, queues } } },
  };
  const text = renderStatus({ status, at: 0 }, undefined, WIDE);
  assert.match(
    text,
    /^ +0 +2 +sidecore .*\n +1 +3 +parked .*\n +2 +0,1 +shared .*\n +3 +4 +stalled .*\n +4 +0 +quarantine of a\/d /m,
  );
  assert.match(text, /^web1\/root +file +10 GiB +0,2 +connected /m);
});

it('counts a new session from zero, and a queue that was set up again never backwards', () => {
  const rates = (sessions: number, requests: number) => {
    const root = { ...DISK, sessions, queues: [{ ...QUEUE, requests }] };
    const text = renderStatus(
      { status: { ...STATUS, vms: { web1: { root } } }, at: 1 },
      { status: STATUS, at: 0 },
      WIDE,
    );
    return /web1\/root 0 +(\S+)/.exec(text)?.[1];
  };
  assert.equal(rates(1, 1500), '500');
  assert.equal(rates(2, 1500), '1500');
  assert.equal(rates(1, 10), '0');
});

it('fits a terminal', () => {
  for (const width of [120, 80, 60, 40, 20, 1]) {
    const lines = renderStatus({ status: STATUS, at: 0 }, undefined, width).split('\n').slice(1);
    for (const line of lines) assert.ok(line.length <= width, `${width}: ${line}`);
  }
  const narrow = renderStatus({ status: STATUS, at: 0 }, undefined, 60);
  assert.match(narrow, /^QUEUE +REQUESTS +MB READ +MB WRITTEN +ERRORS +FAULT$/m);
});

it('says so if there is nothing', () => {
  const text = renderStatus({ status: { ...STATUS, uptime_s: 61, vms: {} }, at: 0 }, undefined, WIDE);
  assert.match(text, /up 1 min 1 s\n/);
  assert.match(text, /\n\nneither disks nor network cards\n$/);
});

const NIC: DaemonStatus['nics'][string][string] = {
  mac: '52:54:00:00:00:01',
  network: 'lan',
  vlan: null,
  trunk: null,
  link_up: true,
  mtu: 1500,
  frames_in: 7,
  bytes_in: 700_000,
  frames_out: 5,
  bytes_out: 5_000_000,
  dropped_malformed: 1,
  dropped_link_down: 0,
  dropped_same_port: 0,
  dropped_no_buffer: 2,
  dropped_not_ready: 0,
  dropped_offload: 0,
  dropped_vlan: 0,
  dropped_filtered: 0,
  dropped_by_filter: 0,
  filters: [],
  filters_changed: false,
  software_offloads: 0,
  queues_lost: 0,
  socket: '/run/sidecore/web1.net0.sock',
  role: 'server',
  core: 0,
  connected: true,
  sessions: 1,
  features: '0x0',
  protocol_features: '0x0',
  memory_regions: 1,
  faults: {},
  last_fault: null,
  queues: [],
};

const PORT: DaemonStatus['networks'][string][string] = { ...NIC, type: 'tap', device: 'tap0', vlan: 10 };

/** The status's lines from the tables of cards and ports on. */
function networks(now: Partial<DaemonStatus>, before?: Partial<DaemonStatus>): string {
  const at = (more: Partial<DaemonStatus>, at: number) => ({ status: { ...STATUS, vms: {}, ...more }, at });
  const text = renderStatus(at(now, 2), before && at(before, 0), WIDE);
  return text.split('\n\n').slice(2).join('\n\n');
}

it('shows network cards and ports, from and to whom', () => {
  const nics = {
    web1: { net0: NIC, net1: { ...NIC, connected: false, link_up: false, vlan: 10 } },
    web2: { net0: { ...NIC, trunk: { vlans: [10, 20], native: 'none' as const } }, net1: { ...NIC, trunk: {} } },
  };
  assert.equal(
    networks({ nics, networks: { lan: { host: PORT } } }),
    `NETWORK CARD  NETWORK  VLAN                     MAC                LINK  FRONT END  PHASE  FROM GUEST  MB FROM  TO GUEST  MB TO  DROPPED
web1/net0     lan      -                        52:54:00:00:00:01  up    connected  -               7      0.7         5    5.0        3
web1/net1     lan      10                       52:54:00:00:00:01  down  none       -               7      0.7         5    5.0        3
web2/net0     lan      trunk 10,20 native none  52:54:00:00:00:01  up    connected  -               7      0.7         5    5.0        3
web2/net1     lan      trunk                    52:54:00:00:00:01  up    connected  -               7      0.7         5    5.0        3

NETWORK  PORT  TYPE      VLAN  CORE  FROM PORT  MB FROM  TO PORT  MB TO  DROPPED
lan      host  tap tap0  10       0          7      0.7        5    5.0        3
`,
  );
});

it('shows rates of network cards and ports between two samples', () => {
  const later = { frames_in: 2007, bytes_in: 3_700_000, frames_out: 6, bytes_out: 5_000_000, dropped_no_buffer: 12 };
  const text = networks(
    { nics: { web1: { net0: { ...NIC, ...later } } }, networks: { lan: { host: { ...PORT, ...later }, new: PORT } } },
    { nics: { web1: { net0: NIC } }, networks: { lan: { host: PORT } } },
  );
  assert.match(
    text,
    /FROM GUEST\/s +MB FROM\/s +TO GUEST\/s +MB TO\/s +DROPPED\/s\n.* connected +- +1000 +1\.5 +0\.5 +0\.0 +5\.0\n/,
  );
  assert.match(text, /FROM PORT\/s .*\n.* tap0 +10 +0 +1000 +1\.5 +0\.5 +0\.0 +5\.0\n/);
});

it('the phases of a card are those of queues that were set up and that a core polls or watches', () => {
  const phase = (...queues: [phase: string, size: number][]) => {
    const shown = queues.map(([phase, size], index) => ({ ...QUEUE, index, phase, size }));
    const text = networks({ nics: { web1: { net0: { ...NIC, queues: shown } } } });
    return / connected {2}(.+?) {2,}\d/.exec(text)?.[1];
  };
  assert.equal(phase(['passive', 256], ['polled', 256], ['stopped', 0]), 'polled');
  assert.equal(phase(['passive', 256], ['watched', 256], ['polled', 64]), '1 watched, 1 polled');
  assert.equal(phase(['stopped', 0], ['stopped', 0]), '-');
});

it('shows kicks and calls of every queue of a card, by the second and by the request', () => {
  const queue = (index: number, requests: number, calls: number) => ({
    ...QUEUE,
    index,
    requests,
    calls,
    kicks: 2,
    errors: 0,
  });
  const nic = (queues: (typeof QUEUE)[], sessions = 1) => ({ nics: { web1: { net0: { ...NIC, sessions, queues } } } });
  const text = networks(nic([queue(0, 3000, 500), queue(1, 2000, 20)]), nic([queue(0, 1000, 100), queue(1, 1000, 10)]));
  assert.match(text, /KICKS\/s +CALLS\/s +KICKS\/REQ +CALLS\/REQ/);
  assert.match(text, /web1\/net0 0 +1000 .* 0 +200 +0\.000 +0\.200\n/);
  assert.match(text, /web1\/net0 1 +500 .* 0 +5\.0 +0\.000 +0\.010\n/);
  // Another front end counts from zero.
  assert.match(networks(nic([queue(0, 3000, 500)], 2), nic([queue(0, 1000, 100)])), /web1\/net0 0 +1500 .* 250 /);
});
