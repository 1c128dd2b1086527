/** The firewall in a whole daemon: two built-in guests, of which one has it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { NetDriver } from '../../src/guest/net-driver.js';
import { Daemon } from '../support/daemon.js';
import { arp, ethernet, ip, TCP, type TcpOptions, tcp } from '../support/packets.js';
import { connectGuest, introduce, next, send } from './guests.js';

const MAC = { a: '52:54:00:00:00:0a', b: '52:54:00:00:00:0b' } as const;
const ADDRESS = { a: '10.0.0.1', b: '10.0.0.2' } as const;
type Name = keyof typeof MAC;

const segment = (from: Name, ports: [number, number], more: TcpOptions, source: string = ADDRESS[from]) => {
  const to = from === 'a' ? 'b' : 'a';
  return ethernet({ from: MAC[from], to: MAC[to] }, ...ip(source, ADDRESS[to], tcp(...ports, more), { protocol: 6 }));
};

/** Sends frames, of which only the last arrives. */
async function lastOnly(from: NetDriver, to: NetDriver, frames: readonly Buffer[], what: string): Promise<void> {
  for (const frame of frames) await send(from, frame);
  const came = await next(to, what);
  assert.ok(came.equals(frames.at(-1)!), `${what}: ${came.toString('hex')}`);
}

it('a guest behind a firewall is reached where that is allowed, and answered, and is nobody else', async (test) => {
  const options = {
    spoof_guard: { addresses: [ADDRESS.b] },
    rules: [
      { in: 'accept', protocol: 'tcp', port: 22, name: 'ssh' },
      { in: 'accept', ether_type: 0x88b5 },
    ],
  };
  const vms = {
    a: { nics: { net0: { mac: MAC.a } } },
    b: { nics: { net0: { mac: MAC.b, filters: [{ use: 'firewall', options }] } } },
  };
  const daemon = await Daemon.start(test, { cores: [1], vms });
  const connect = (vm: string) => connectGuest(test, { socket: daemon.socket(vm, 'net0') });
  const [a, b] = [await connect('a'), await connect('b')];
  await introduce([a, b]);

  const syn = { flags: TCP.SYN, sequence: 1 };
  await lastOnly(
    a,
    b,
    [segment('a', [5000, 23], syn), segment('a', [5000, 22], syn)],
    'a connects to a port that is open',
  );
  const answer = { flags: TCP.SYN | TCP.ACK, sequence: 8, acknowledgment: 2 };
  await lastOnly(b, a, [segment('b', [22, 5000], answer)], 'and gets an answer');
  await lastOnly(a, b, [segment('a', [5000, 22], { acknowledgment: 9 })], 'it is a connection');

  await lastOnly(
    a,
    b,
    [segment('a', [80, 6000], {}), segment('a', [5000, 22], {})],
    'a connection that b has not begun',
  );
  await lastOnly(b, a, [segment('b', [6000, 80], syn)], 'b begins it');
  await lastOnly(a, b, [segment('a', [80, 6000], answer)], 'so a may answer');

  const forged = [
    segment('b', [6000, 80], {}, '10.0.0.3'),
    ethernet({ from: MAC.b }, 0x0806, arp(2, MAC.b, ADDRESS.a)),
    ethernet({ from: MAC.b }, 0x0806, arp(2, MAC.a, ADDRESS.b)),
    ethernet({ from: MAC.a }, 0x0806, arp(2, MAC.a, ADDRESS.a)),
  ];
  await lastOnly(b, a, [...forged, ethernet({ from: MAC.b }, 0x0806, arp(2, MAC.b, ADDRESS.b))], 'b says who it is');

  const [filter] = (await daemon.status()).nics.b!.net0!.filters;
  const { counters, in_service, state } = filter!;
  assert.ok(in_service);
  const { in_dropped_default, out_spoofed_address, out_spoofed_arp, out_spoofed_mac, in_accepted } = counters;
  assert.deepEqual([in_dropped_default, out_spoofed_address, out_spoofed_arp, out_spoofed_mac], [2, 1, 2, 1]);
  assert.equal(in_accepted, 2);
  assert.deepEqual(state, {
    connections: 2,
    rules: [
      { name: 'ssh', hits: 1 },
      { name: 'rule 2', hits: 1 },
    ],
  });
});
