/** What is printed for each VMM, word by word. The sources of these words are named beside each VMM. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VMMS } from './index.js';
import { shellWord, type VmmDisk, type VmmNic, type VmmVm } from './vmm.js';

const disk = (name: string, more: Partial<VmmDisk> = {}): VmmDisk => ({
  name,
  socket: `/run/sidecore/web1.${name}.sock`,
  role: 'server',
  queues: 1,
  cache: 'writeback',
  ...more,
});

const vm = (disks: readonly VmmDisk[], more: Partial<VmmVm> = {}): VmmVm => ({
  name: 'web1',
  memoryMib: 1536,
  unsealedMemory: 'refuse',
  socketsShared: false,
  disks,
  nics: [],
  ...more,
});

const TWO_DISKS = vm([disk('root', { queues: 4 }), disk('my-data', { cache: 'writethrough' })]);
/** A path with everything that any of the syntaxes takes for its own. */
const ODD_PATH = `/run/a,b "c" 'd' [e] &<f>\\g.sock`;
const ODD = vm([disk('root', { socket: ODD_PATH })]);

describe('qemu', () => {
  const qemu = VMMS['qemu']!;

  it('gets sealed, shared memory, and a chardev and a device for each disk', () => {
    const { text, json, notes } = qemu.arguments(TWO_DISKS);
    assert.equal(
      text,
      `-m 1536M \\
-object memory-backend-memfd,id=sidecore-memory,size=1536M,share=on \\
-machine memory-backend=sidecore-memory \\
-chardev socket,id=sidecore-root-socket,path=/run/sidecore/web1.root.sock \\
-device vhost-user-blk-pci,id=sidecore-root,chardev=sidecore-root-socket,num-queues=4 \\
-chardev socket,id=sidecore-my-data-socket,path=/run/sidecore/web1.my-data.sock \\
-device vhost-user-blk-pci,id=sidecore-my-data,chardev=sidecore-my-data-socket,num-queues=1
`,
    );
    assert.deepEqual((json['args'] as string[]).slice(0, 4), [
      '-m',
      '1536M',
      '-object',
      'memory-backend-memfd,id=sidecore-memory,size=1536M,share=on',
    ]);
    assert.deepEqual(notes, [
      'these replace a -m of your own; the rest (-machine q35, -accel kvm, ...) stays as it is',
      'QEMU does not connect again: stop the VM before you stop or restart the daemon, or its disks hang until the VM is restarted',
    ]);
    assert.doesNotMatch(text, /reconnect/);
    assert.equal(qemu.comment('note'), '# note');
  });

  it('waits where the disk is a client', () => {
    const { text, notes } = qemu.arguments(vm([disk('root', { role: 'client' })]));
    assert.match(
      text,
      /-chardev socket,id=sidecore-root-socket,path=\/run\/sidecore\/web1\.root\.sock,server=on,wait=off \\\n/,
    );
    assert.equal(notes.at(-1), 'QEMU waits at the sockets with server=on until sidecore has connected');
  });

  it('takes commas twice', () => {
    const args = qemu.arguments(ODD).json['args'] as string[];
    assert.equal(args[7], `socket,id=sidecore-root-socket,path=/run/a,,b "c" 'd' [e] &<f>\\g.sock`);
  });
});

describe('cloud-hypervisor', () => {
  const cloudHypervisor = VMMS['cloud-hypervisor']!;

  it('gets shared memory and a --disk for each disk', () => {
    const { text, json } = cloudHypervisor.arguments(TWO_DISKS);
    assert.equal(
      text,
      `--memory size=1536M,shared=on \\
--disk vhost_user=on,socket=/run/sidecore/web1.root.sock,num_queues=4,id=sidecore-root \\
--disk vhost_user=on,socket=/run/sidecore/web1.my-data.sock,num_queues=1,id=sidecore-my-data
`,
    );
    assert.deepEqual((json['args'] as string[]).slice(0, 2), ['--memory', 'size=1536M,shared=on']);
  });

  it('is said to need trust, unless it has it, and CPUs for its queues', () => {
    assert.deepEqual(cloudHypervisor.arguments(TWO_DISKS).notes, [
      "needs `unsealed_memory: allow` under vms.web1: Cloud Hypervisor's guest memory cannot be sealed, and sidecore refuses it otherwise",
      'needs --cpus boot=4 or more: Cloud Hypervisor gives a device no more queues, or pairs of them, than CPUs',
    ]);
    assert.deepEqual(cloudHypervisor.arguments(vm([disk('root')], { unsealedMemory: 'allow' })).notes, []);
  });

  it('takes odd paths in quotes, quotes twice', () => {
    const args = cloudHypervisor.arguments(ODD).json['args'] as string[];
    assert.equal(args[3], `vhost_user=on,socket="/run/a,b ""c"" 'd' [e] &<f>\\g.sock",num_queues=1,id=sidecore-root`);
  });
});

describe('firecracker', () => {
  const firecracker = VMMS['firecracker']!;

  it('gets a request for each disk; its cache_type hides FLUSH where every write has to be durable', () => {
    const { text, json } = firecracker.arguments(TWO_DISKS);
    assert.deepEqual(json, {
      drives: [
        { drive_id: 'root', socket: '/run/sidecore/web1.root.sock', is_root_device: false, cache_type: 'Writeback' },
        { drive_id: 'my_data', socket: '/run/sidecore/web1.my-data.sock', is_root_device: false, cache_type: 'Unsafe' },
      ],
    });
    assert.equal(
      text.split('\n')[0],
      `curl --unix-socket "$API_SOCKET" -X PUT http://localhost/drives/root -H 'Content-Type: application/json' -d '{"drive_id":"root","socket":"/run/sidecore/web1.root.sock","is_root_device":false,"cache_type":"Writeback"}'`,
    );
  });

  it('is said what it does not do', () => {
    assert.deepEqual(firecracker.arguments(TWO_DISKS).notes, [
      'guest memory is shared by itself; set "is_root_device" to true for the disk from which the guest boots',
      'Firecracker uses one queue of a disk, whatever `queues:` says (root)',
      '"Unsafe" hides FLUSH from the guest; with `cache: writethrough` sidecore makes every write durable instead',
      'Firecracker does not connect again: after a restart of sidecore the VM has to be restarted too',
    ]);
  });

  it('has ids without hyphens, and different ones', () => {
    const { drives } = firecracker.arguments(vm([disk('a-b'), disk('a_b'), disk('c-d')])).json as {
      drives: { drive_id: string }[];
    };
    assert.deepEqual(
      drives.map(({ drive_id }) => drive_id),
      ['a_b_0', 'a_b_1', 'c_d'],
    );
  });
});

describe('crosvm', () => {
  const crosvm = VMMS['crosvm']!;

  it('gets a --vhost-user for each disk', () => {
    const { text, notes } = crosvm.arguments(TWO_DISKS);
    assert.equal(
      text,
      `--vhost-user type=block,socket=/run/sidecore/web1.root.sock,max-queue-size=1024 \\
--vhost-user type=block,socket=/run/sidecore/web1.my-data.sock,max-queue-size=1024
`,
    );
    assert.deepEqual(notes, [
      'guest memory is shared by itself; queues are as many as `queues:` says',
      'crosvm ends when a device of its VM goes: after a restart of sidecore the VM has to be restarted too',
    ]);
  });

  it('takes odd paths in quotes, with backslashes', () => {
    const args = crosvm.arguments(ODD).json['args'] as string[];
    assert.equal(args[1], `type=block,socket="/run/a,b \\"c\\" 'd' [e] &<f>\\\\g.sock",max-queue-size=1024`);
  });
});

describe('libvirt', () => {
  const libvirt = VMMS['libvirt']!;

  it('gets the parts of a domain', () => {
    const { text, json } = libvirt.arguments(TWO_DISKS);
    assert.equal(
      text,
      `<domain>
  <memory unit='MiB'>1536</memory>
  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>
  <devices>
    <disk type='vhostuser' device='disk' snapshot='no'>
      <driver name='qemu' type='raw' queues='4'/>
      <source type='unix' path='/run/sidecore/web1.root.sock'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='vhostuser' device='disk' snapshot='no'>
      <driver name='qemu' type='raw' queues='1'/>
      <source type='unix' path='/run/sidecore/web1.my-data.sock'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>
`,
    );
    assert.deepEqual(json, { xml: text });
  });

  it('is said that QEMU needs the sockets, unless they have an owner', () => {
    const note =
      'QEMU runs as a user of its own under libvirt: give it the sockets, as in `socket: {group: kvm, mode: "0660"}`';
    assert.ok(libvirt.arguments(TWO_DISKS).notes.includes(note));
    assert.ok(!libvirt.arguments({ ...TWO_DISKS, socketsShared: true }).notes.includes(note));
    assert.equal(libvirt.comment('a --b'), '<!-- a - -b -->');
  });

  it('takes odd paths as XML, and goes on after vdz', () => {
    assert.ok(libvirt.arguments(ODD).text.includes(`path='/run/a,b "c" &apos;d&apos; [e] &amp;&lt;f&gt;\\g.sock'`));
    const { text } = libvirt.arguments(vm(Array.from({ length: 28 }, (_, index) => disk(`d${index}`))));
    assert.deepEqual(
      [...text.matchAll(/dev='(\w+)'/g)].slice(-3).map(([, target]) => target),
      ['vdz', 'vdaa', 'vdab'],
    );
  });
});

it('some wait for a device that is a client, and none is told to connect again', () => {
  const waiting = (kind: 'disks' | 'nics') => Object.keys(VMMS).filter((name) => VMMS[name]!.canListen[kind]);
  assert.deepEqual(waiting('disks'), ['qemu']);
  assert.deepEqual(waiting('nics').sort(), ['cloud-hypervisor', 'libvirt', 'qemu']);
  for (const vmm of Object.values(VMMS)) assert.doesNotMatch(vmm.arguments(TWO_DISKS).text, /reconnect/);
});

it('words for a shell are quoted where they have to be', () => {
  assert.equal(shellWord('a=b,c=/d.e@f:g%h+i-j_k'), 'a=b,c=/d.e@f:g%h+i-j_k');
  assert.equal(shellWord(''), "''");
  assert.equal(shellWord("it's $x"), `'it'\\''s $x'`);
});

describe('network cards', () => {
  const nic = (name: string, more: Partial<VmmNic> = {}): VmmNic => ({
    name,
    socket: `/run/sidecore/web1.${name}.sock`,
    role: 'server',
    queuePairs: 1,
    mac: '52:54:00:00:00:01',
    mtu: 1500,
    ...more,
  });
  const only = (more: Partial<VmmNic> = {}) => vm([], { nics: [nic('net0', more)] });
  const LARGE = only({ queuePairs: 2, mtu: 9000, role: 'client' });
  const last = (name: string, guest: VmmVm, count: number) =>
    (VMMS[name]!.arguments(guest).json['args'] as string[]).slice(-count);

  it('of QEMU are a chardev, a netdev and a device each', () => {
    assert.deepEqual(last('qemu', only(), 6), [
      '-chardev',
      'socket,id=sidecore-net-net0-socket,path=/run/sidecore/web1.net0.sock',
      '-netdev',
      'vhost-user,id=sidecore-net-net0-back,chardev=sidecore-net-net0-socket,queues=1',
      '-device',
      'virtio-net-pci,id=sidecore-net-net0,netdev=sidecore-net-net0-back,mac=52:54:00:00:00:01',
    ]);
    assert.deepEqual(last('qemu', LARGE, 6), [
      '-chardev',
      'socket,id=sidecore-net-net0-socket,path=/run/sidecore/web1.net0.sock,server=on,wait=off',
      '-netdev',
      'vhost-user,id=sidecore-net-net0-back,chardev=sidecore-net-net0-socket,queues=2',
      '-device',
      'virtio-net-pci,id=sidecore-net-net0,netdev=sidecore-net-net0-back,mac=52:54:00:00:00:01,mq=on,vectors=6,host_mtu=9000',
    ]);
    const notes = VMMS['qemu']!.arguments(only()).notes.join('\n');
    assert.match(notes, /has no link; with reconnect=1 .+ in its -chardev \(id=sidecore-net-net0-socket\), or/);
    assert.match(notes, /without KVM, QEMU 7\.2 crashes .+ each -device virtio-net-pci needs vectors=0/);
    assert.match(notes, /VHOST_USER_PROTOCOL_F_CONFIG .+ harmless/);
    assert.doesNotMatch(notes, /disks hang/);
    assert.doesNotMatch(VMMS['qemu']!.arguments(LARGE).notes.join('\n'), /has no link/);
    assert.doesNotMatch(VMMS['qemu']!.arguments(TWO_DISKS).notes.join('\n'), /vectors/);
  });

  it('of Cloud Hypervisor say rings, not pairs, and its own end', () => {
    assert.deepEqual(last('cloud-hypervisor', only(), 2), [
      '--net',
      'vhost_user=on,socket=/run/sidecore/web1.net0.sock,num_queues=2,mac=52:54:00:00:00:01,id=sidecore-net-net0',
    ]);
    assert.deepEqual(last('cloud-hypervisor', LARGE, 2), [
      '--net',
      'vhost_user=on,socket=/run/sidecore/web1.net0.sock,num_queues=4,mac=52:54:00:00:00:01,mtu=9000,vhost_mode=server,id=sidecore-net-net0',
    ]);
  });

  it('of crosvm are sockets', () => {
    assert.deepEqual(last('crosvm', only(), 2), ['--vhost-user', 'type=net,socket=/run/sidecore/web1.net0.sock']);
  });

  it('of libvirt are interfaces', () => {
    const { text } = VMMS['libvirt']!.arguments(LARGE);
    assert.match(
      text,
      /<devices>\n {4}<interface type='vhostuser'>\n {6}<mac address='52:54:00:00:00:01'\/>\n {6}<source type='unix' path='\/run\/sidecore\/web1.net0.sock' mode='server'\/>\n {6}<model type='virtio'\/>\n {6}<driver queues='2'\/>\n {6}<mtu size='9000'\/>\n {4}<\/interface>\n/,
    );
  });

  it('are none of Firecracker’s', () => {
    const firecracker = VMMS['firecracker']!;
    const { json, notes } = firecracker.arguments(vm([disk('root')], { nics: [nic('net0')] }));
    assert.equal((json['drives'] as unknown[]).length, 1);
    assert.match(notes.join('\n'), /no vhost-user network cards: net0/);
    assert.throws(() => firecracker.arguments(only()), {
      code: 'CONFIG_INVALID',
      message: 'Firecracker has no vhost-user network cards, and web1 has nothing else',
    });
  });

  it('alone bring no notes about disks', () => {
    for (const [name, vmm] of Object.entries(VMMS))
      if (name !== 'firecracker') assert.doesNotMatch(vmm.arguments(only()).notes.join('\n'), /disk|vda/, name);
  });
});
