import { InvalidArgumentError } from 'commander';

/** Reads `VM/DISK` or `VM/NIC`, as `status` shows it. */
export function deviceLabel(what: 'DISK' | 'NIC' | 'DISK or VM/NIC'): (text: string) => string {
  return (text) => {
    if (/^[^/]+\/[^/]+$/.test(text)) return text;
    throw new InvalidArgumentError(`Write VM/${what}, as \`sidecore status\` shows it.`);
  };
}
