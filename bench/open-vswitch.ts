import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { SidecoreError } from '../src/errors.js';
import { ALL_CPUS, BackEndProcess } from './back-ends.js';

const DAEMON = '/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk';
const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';
/** How many huge pages the kernel keeps, 2 MiB each. */
const HUGE_PAGES = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
const HUGE_PAGES_NEEDED = 640;
const HUGE_PAGE_ATTEMPTS = 10;
const READY_MS_MAX = 20_000;

const execute = promisify(execFile);

/** Open vSwitch on DPDK, with one bridge that learns addresses; all its state is in one folder. Kept in its own processes. */
export class OpenVSwitch extends BackEndProcess {
  readonly #folder: string;
  readonly #database: BackEndProcess;
  readonly #returnHugePages: () => void;

  private constructor(folder: string, database: BackEndProcess, returnHugePages: () => void) {
    const files = ['log-file', 'pidfile', 'unixctl'].map((name) => `--${name}=${join(folder, `vswitchd.${name}`)}`);
    // Its bridge is a network device too: not among the host's.
    const args = ['-c', ALL_CPUS, 'unshare', '--net', DAEMON, `unix:${join(folder, 'db.sock')}`, ...files];
    super('Open vSwitch', 'taskset', args, { env: environment(folder) });
    this.#folder = folder;
    this.#database = database;
    this.#returnHugePages = returnHugePages;
  }

  /**
   * Starts database and switch, with a port for each guest, for which it waits at `socket(0)` and so on.
   *
   * @param keep - is given each process as it starts
   */
  static async start(
    folder: string,
    cpu: number,
    otherCpu: number,
    ports: number,
    keep: <P extends BackEndProcess>(process: P) => P,
  ): Promise<OpenVSwitch> {
    const returnHugePages = await takeHugePages();
    const [database, socket] = [join(folder, 'conf.db'), join(folder, 'db.sock')];
    await run(folder, 'ovsdb-tool', 'create', database, SCHEMA);
    const server = ['-c', ALL_CPUS, 'ovsdb-server', database, `--remote=punix:${socket}`];
    server.push(`--pidfile=${join(folder, 'ovsdb.pid')}`, `--log-file=${join(folder, 'ovsdb.log')}`);
    const databaseServer = keep(new BackEndProcess('ovsdb-server', 'taskset', server, { env: environment(folder) }));
    await databaseServer.ready([socket]);
    const control = (...args: string[]) => run(folder, 'ovs-vsctl', `--db=unix:${socket}`, '--timeout=20', ...args);
    const other = (key: string, value: string) => `other_config:${key}=${value}`;
    await control('--no-wait', 'init');
    await control(
      '--no-wait',
      ...['set', 'Open_vSwitch', '.', other('dpdk-init', 'true'), other('dpdk-socket-mem', '512')],
      ...[other('pmd-cpu-mask', mask(cpu)), other('dpdk-lcore-mask', mask(otherCpu))],
      other('dpdk-extra', '"--no-pci --in-memory --single-file-segments"'),
    );
    const self = keep(new OpenVSwitch(folder, databaseServer, returnHugePages));
    await control('add-br', 'br0', '--', 'set', 'bridge', 'br0', 'datapath_type=netdev');
    for (let i = 0; i < ports; i++) {
      const options = `options:vhost-server-path=${self.socket(i)}`;
      await control('add-port', 'br0', `g${i}`, '--', 'set', 'Interface', `g${i}`, 'type=dpdkvhostuserclient', options);
    }
    for (const deadline = Date.now() + READY_MS_MAX; Date.now() < deadline; await sleep(100)) {
      // Its answer is an error until there is a bridge.
      const threads = await self.appctl('dpif-netdev/pmd-rxq-show').catch(() => '');
      if (threads.includes(`core_id ${cpu}:`) && threads.includes(`g${ports - 1} `)) return self;
    }
    throw new SidecoreError('DAEMON_UNREACHABLE', `Open vSwitch did not come up:\n${self.output.slice(-2000)}`);
  }

  /** Where a guest that waits for connections is looked for. */
  socket(port: number): string {
    return join(this.#folder, `g${port}.sock`);
  }

  /** Asks the running switch. */
  appctl(...args: string[]): Promise<string> {
    const target = join(this.#folder, 'vswitchd.unixctl');
    return run(this.#folder, 'ovs-appctl', '--timeout=10', '-t', target, ...args);
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#database.stop();
    this.#returnHugePages();
  }
}

/** Runs one of its tools; returns what it says. */
async function run(folder: string, command: string, ...args: string[]): Promise<string> {
  try {
    return (await execute(command, args, { env: environment(folder) })).stdout;
  } catch (error) {
    throw new SidecoreError('DAEMON_UNREACHABLE', `Open vSwitch: ${(error as Error).message}`);
  }
}

/** All that would be in /var or /run goes into the folder. */
function environment(folder: string): NodeJS.ProcessEnv {
  return { ...process.env, OVS_RUNDIR: folder, OVS_LOGDIR: folder, OVS_DBDIR: folder, RUNTIME_DIRECTORY: folder };
}

const mask = (cpu: number): string => `0x${(1n << BigInt(cpu)).toString(16)}`;

/** Has the kernel keep more huge pages. Returns what gives them back; the end of this process does it too. */
async function takeHugePages(): Promise<() => void> {
  const pages = () => Number(readFileSync(HUGE_PAGES, 'utf8'));
  const wanted = pages() + HUGE_PAGES_NEEDED;
  let taken = true;
  const give = () => {
    if (taken) writeFileSync(HUGE_PAGES, String(Math.max(0, pages() - HUGE_PAGES_NEEDED)));
    taken = false;
  };
  process.once('exit', give);
  // The kernel may have to move memory about, and gives up soon.
  for (let attempt = 0; pages() < wanted && attempt < HUGE_PAGE_ATTEMPTS; attempt++) {
    if (attempt > 0) await sleep(500);
    writeFileSync(HUGE_PAGES, String(wanted));
  }
  if (pages() < wanted) {
    const found = pages() - (wanted - HUGE_PAGES_NEEDED);
    give();
    const lacking = `${found} of ${HUGE_PAGES_NEEDED} huge pages of 2 MiB for Open vSwitch`;
    throw new SidecoreError('MEMORY_EXHAUSTED', lacking, 'Free memory, or leave its rows out (--only).');
  }
  return give;
}
