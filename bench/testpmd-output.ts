/** What `show port stats` says of one port: frames a second since it was asked last. */
export interface PortStats {
  readonly port: number;
  readonly rxPps: number;
  readonly txPps: number;
}

/** Reads the answer to `show port stats all`. */
export function parsePortStats(text: string): PortStats[] {
  return text
    .split(/NIC statistics for port\s+/)
    .slice(1)
    .map((section) => ({
      port: Number.parseInt(section, 10),
      rxPps: field(section, 'Rx-pps'),
      txPps: field(section, 'Tx-pps'),
    }));
}

function field(section: string, name: string): number {
  const found = new RegExp(`^\\s*${name}:\\s+(\\d+)`, 'm').exec(section);
  if (found === null) throw new Error(`testpmd: no ${name} in its statistics:\n${section}`);
  return Number(found[1]);
}

/** The features that each of a front end's cards has negotiated, from the log of its driver at level debug. */
export function parseFeatures(log: string): bigint[] {
  return [...log.matchAll(/features after negotiate = ([0-9a-f]+)/g)].map((found) => BigInt(`0x${found[1]}`));
}
